"""A finished small run as a measure for larger ones: what each of its stages kept, asked, wrote and took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.bound import beside
from pipelines.dedup.found import Footprint
from pipelines.errors import UserError
from pipelines.names import StageName
from pipelines.report.sample import evenly
from pipelines.stages.before import encoded_in
from pipelines.stages.stage import Stage
from pipelines.store.dataset import Dataset, committed, part_name
from pipelines.store.decisions import VECTORS
from pipelines.store.files import Folder, folder
from pipelines.store.ledger import counts_of, read_entry
from pipelines.store.record import read_record
from pipelines.store.survey import StageNow, finished, source_of, survey
from pipelines.towards import busy_seconds

#: Parts of which sizes are looked at, of each stage.
_PARTS = 16
#: Keys of a recipe that a forecast goes by, or that follow from others which a user gives.
_FOLLOWING = ("stages", "hops", "max_new_per_hop", "taxonomy", "limit_by")


@dataclass(frozen=True)
class Step:
    """What a stage of the pilot came to, all rounds of it together.

    Attributes:
        stored: bytes of a kept row, with what lies beside it (rejected rows, calls, vectors).
        texts_per_second: texts encoded, of an embedding dedup; 0 for another stage.
    """

    rows_in: int
    kept: int
    calls: int
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    stored: float
    footprint: Footprint | None = None
    texts_per_second: float = 0.0


@dataclass(frozen=True)
class Pilot:
    """A finished run as a measure; ``others`` are the recipe's settings that were others in it."""

    url: str
    engine: str
    steps: Mapping[str, Step]
    others: tuple[str, ...]

    def step(self, name: str) -> Step:
        """The stage of this name; of a hop that was not made, the last one that was.

        Raises:
            UserError: the pilot has none such.
        """
        if name in self.steps:
            return self.steps[name]
        wanted = StageName.read(name)
        named = [(one, StageName.read(one)) for one in self.steps]
        alike = [one for one, made in named if wanted.block and (made.block, made.own) == (wanted.block, wanted.own)]
        if not alike:
            raise UserError(
                f"forecast.pilot={self.url}: has no stage {name}; take a pilot that has one: a small run without target"
            )
        return self.steps[alike[-1]]


def pilot_of(url: str, config: Mapping[str, Any], stages: Sequence[Stage]) -> Pilot:
    """A finished run of the recipe of ``config``, measured; ``stages`` say how it is deduplicated.

    Raises:
        UserError: there is no such run, it is not finished, or of another recipe.
    """
    place = folder(url)
    now = survey(place)
    if not finished(place, now):
        raise UserError(f"forecast.pilot={url}: is not finished; run its command to the end first")
    recorded = read_record(place, "config.yaml")
    if recorded["recipe"]["name"] != config["recipe"]["name"]:
        raise UserError(
            f"forecast.pilot={url}: holds a run of recipe {recorded['recipe']['name']}, and this is "
            f"{config['recipe']['name']}"
        )
    groups: dict[str, list[StageNow]] = {}
    for one in now:
        groups.setdefault(StageName.read(one.record.name).step, []).append(one)
    nodes = {stage.called.step: stage.node for stage in stages}
    found = {name: _step(now, group, nodes.get(name)) for name, group in groups.items()}
    return Pilot(place.url, recorded["engine"]["kind"], found, differences(recorded["recipe"], config["recipe"]))


def differences(then: Mapping[str, Any], here: Mapping[str, Any]) -> tuple[str, ...]:
    """The knobs of a recipe that had other values in the pilot; of tables only the names."""
    return tuple(
        f"recipe.{key} (a table)" if isinstance(value, Mapping) else f"recipe.{key}={then.get(key)} (here {value})"
        for key, value in here.items()
        if key not in _FOLLOWING and then.get(key) != value
    )


def _step(every: Sequence[StageNow], group: Sequence[StageNow], node: Mapping[str, Any] | None) -> Step:
    entries = [entry for one in group for entry in one.entries.values()]
    largest = max(group, key=lambda one: sum(entry.rows_in for entry in one.entries.values()))
    footprint, per_second = None, 0.0
    if node is not None and "dedup" in node and any(entry.rows_in for entry in largest.entries.values()):
        source = source_of(every, largest)
        counts = counts_of(source.entries)
        vectors = largest.record.folder.sub(VECTORS)
        measure = beside(node["dedup"], "footprint")
        assert measure is not None  # every dedup has one
        made = encoded_in([vectors.url] if committed(vectors) else [])
        footprint = measure(Dataset.of(source.record.folder, counts), **made)
        encoding = [read_entry(vectors, part) for part in committed(vectors)]
        if encoding:
            per_second = sum(entry.rows_in for entry in encoding) / max(busy_seconds(encoding), 1e-3)
    kept = sum(entry.items_kept for entry in entries)
    return Step(
        # A row that was asked for several samples counts as several.
        rows_in=sum(entry.rows_in * one.record.draws for one in group for entry in one.entries.values()),
        kept=kept,
        calls=sum(entry.calls for entry in entries),
        prompt_tokens=sum(entry.prompt_tokens for entry in entries),
        completion_tokens=sum(entry.completion_tokens for entry in entries),
        seconds=busy_seconds(entries) if entries else 0.0,
        stored=sum(_bytes(one) for one in group) / max(1, kept),
        footprint=footprint,
        texts_per_second=per_second,
    )


def _bytes(stage: StageNow) -> float:
    """Bytes of a stage's parts, what lies beside them, and its vectors, by some of the parts."""
    place, entries = stage.record.folder, list(stage.entries.values())
    sides = sum(file.size for entry in entries for file in entry.files.values())
    return sides + _parts(place, [entry.shard for entry in entries]) + _parts(*_vectors(place))


def _vectors(place: Folder) -> tuple[Folder, list[int]]:
    vectors = place.sub(VECTORS)
    return vectors, committed(vectors)


def _parts(place: Folder, parts: Sequence[int]) -> float:
    some = [parts[at] for at in evenly(len(parts), _PARTS)] if parts else []
    return sum(_size(place, part_name(part)) for part in some) * len(parts) / max(1, len(some))


def _size(place: Folder, name: str) -> int:
    with place.open(name) as file:
        return file.seek(0, 2)
