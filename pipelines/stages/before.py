"""What a dedup holds its rows against beside themselves: what the run has kept before, and the standing index.

A round's rows are compared with all that earlier rounds kept. Each of those leaves a segment of an index beside its
rows, in ``before/`` of its stage's directory, made once for all later rounds: they read keys, never texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipelines.bound import beside
from pipelines.dedup.found import Segment
from pipelines.dedup.index import outdated
from pipelines.errors import RunStopped
from pipelines.rows import digest
from pipelines.stages.stage import Stage
from pipelines.store.dataset import Dataset, Datasets, committed
from pipelines.store.decisions import VECTORS, decided_already
from pipelines.store.files import Folder, folder
from pipelines.store.record import parsed, record

#: Folder of the segments of what a stage kept, in its directory.
BEFORE = "before"
#: Committed parts of a stage: its directory's URL, and the rows of each.
Kept = tuple[str, Mapping[int, int]]


def settle_segments(stage: Stage, kept: Kept, state: str, vectors: Sequence[str]) -> list[Segment]:
    """The segments of what one stage kept, as a later dedup ``stage`` needs them; made now unless they are there.

    ``state`` is a word for what it kept; ``vectors`` are URLs of directories with vectors that the run made of it.
    """
    url, counts = kept
    place = folder(url).sub(BEFORE).sub(digest(stage.node["dedup"], state)[:24])
    name = "segments.json"
    if name not in place.names():
        write = beside(stage.node["dedup"], "segment")
        assert write is not None  # every dedup has one
        made = write(Dataset.of(folder(url), dict(counts)), place, **encoded_in(vectors))
        place.replace(name, record(name, {"segments": [list(one) for one in made]}))
    segments = parsed(f"{place.url}/{name}", place.read(name))["segments"]
    return [(place.sub(part).url, rows, seal) for part, rows, seal in segments]


def remember_stage(stage: Stage, target_url: str, kept: Sequence[Kept], state: str, vectors: Sequence[str]) -> None:
    """Add what a run kept at its end to the standing index that a dedup stage checked against."""
    every = Datasets(tuple(Dataset.of(folder(url), dict(counts)) for url, counts in kept))
    remember = beside(stage.node["dedup"], "remember")
    assert remember is not None  # only a stage that has an index comes here
    if index_has_grown(folder(target_url), stage, every):
        raise RunStopped(
            f"dedup.against={stage.index}: another run added to the index after this one decided; run the same command "
            "again, and it decides again"
        )
    remember(every, run=every.origin, state=state, **encoded_in(vectors))


def index_has_grown(target: Folder, stage: Stage, rows: Dataset | Datasets) -> bool:
    """Whether other runs have added to a stage's index after it decided and before the run of ``rows`` was in it."""
    decided = decided_already(target) if stage.index else None
    if decided is None or stage.index is None:
        return False
    found = decided["stats"]["against"]
    return outdated(stage.index, found["kind"], rows.origin, found["segments"])


def vectors_in(target: Folder, stage: Stage) -> list[str]:
    """Where the vectors lie that a dedup stage has made; [] for one that compares none."""
    place = target.sub(VECTORS)
    return [place.url] if stage.encodes and committed(place) else []


def encoded_in(vectors: Sequence[str]) -> dict[str, Datasets]:
    """Vectors as the argument ``encoded``; nothing where there are none."""
    places = [folder(url) for url in vectors]
    each = tuple(Dataset.of(place, dict.fromkeys(committed(place), 0)) for place in places)
    return {"encoded": Datasets(each)} if each else {}
