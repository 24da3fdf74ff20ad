"""From a pilot to any size: what each stage will take, by what it took in a small run of the same recipe (``plan``).

Per stage of the pilot: items kept, model calls and tokens a row, bytes a kept row, texts encoded a second. These times
the rows that the stage will see are rows, tokens, bytes and hours. A hop that the pilot did not make is taken for its
last one. What grows with size is not in it: the more rows there are, the fewer are new.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from rich.table import Table

from pipelines.dedup.found import Footprint
from pipelines.errors import UserError
from pipelines.report.sample import evenly
from pipelines.stages.before import encoded_in
from pipelines.stages.stage import Stage, beside, bind
from pipelines.store.dataset import Dataset, committed, part_name
from pipelines.store.decisions import VECTORS
from pipelines.store.files import Folder, folder
from pipelines.store.ledger import counts_of, read_entry
from pipelines.store.record import read_record
from pipelines.store.survey import StageNow, finished, source_of, survey
from pipelines.summary import step_of
from pipelines.towards import busy_seconds

#: Parts of which sizes are looked at, of each stage.
_PARTS = 16
#: Share of a node's memory that the input of deciding may take.
_INPUT = 0.4
GIB = 2**30


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


#: A selection that the pilot did not make: only its limit, if it has one, is known.
_ALL_STAY = Step(rows_in=1, kept=1, calls=0, prompt_tokens=0, completion_tokens=0, seconds=0.0, stored=0.0)


@dataclass(frozen=True)
class Pilot:
    """A finished run as a measure."""

    url: str
    engine: str
    steps: Mapping[str, Step]

    def step(self, name: str) -> Step:
        """The stage of this name; of a hop that was not made, the last one that was.

        Raises:
            UserError: the pilot has none such.
        """
        if name in self.steps:
            return self.steps[name]
        block, dot, inner = name.partition(".")
        alike = [one for one in self.steps if dot and one.startswith(block.rstrip("0123456789"))]
        alike = [one for one in alike if one.endswith(f".{inner}")]
        if not alike:
            raise UserError(f"forecast.pilot={self.url}: has no stage {name}; take a pilot with this recipe's stages")
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
        groups.setdefault(step_of(one.record.name), []).append(one)
    nodes = {step_of(stage.name): stage.node for stage in stages}
    found = {name: _step(now, group, nodes.get(name)) for name, group in groups.items()}
    return Pilot(place.url, recorded["engine"]["kind"], found)


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
        rows_in=sum(entry.rows_in for entry in entries),
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


def forecast(config: Mapping[str, Any], stages: Sequence[Stage], rows: int) -> dict[str, Any]:
    """What the stages will take over ``rows`` seeds, by ``forecast.pilot``.

    Returns:
        ``stages``: for each ``name``, ``rows``, ``kept``, ``calls``, ``prompt_tokens``, ``completion_tokens``,
        ``gib`` written, ``device_hours``; of a dedup ``index_gib`` (a segment of what is kept), ``exchange_gib`` (what
        goes through files between its tasks where one node's memory does not hold it) and ``partitions``.
        ``totals``: ``rows`` of the result, tokens, ``gib``, ``device_hours`` and ``hours``. ``by``: the speeds.
    """
    asked = config["forecast"]
    pilot = pilot_of(asked["pilot"], config, stages)
    flows = [step for name, step in pilot.steps.items() if step.calls]
    generated = sum(step.completion_tokens for step in flows)
    speed = asked["tokens_per_second"] or generated / max(1e-3, sum(step.seconds for step in flows))
    encoding = asked["texts_per_second"] or max((step.texts_per_second for step in pilot.steps.values()), default=0.0)
    made: dict[int, float] = {0: float(rows)}
    known = 0.0  # rows of the result so far, that a dedup is held against
    told: list[dict[str, Any]] = []
    for stage in stages:
        step = _ALL_STAY if stage.kind == "select" and stage.name not in pilot.steps else pilot.step(stage.name)
        taken = float(len(bind(stage.node["rows"])())) if stage.kind == "rows" else made[stage.source]
        scale = taken / step.rows_in if step.rows_in else 0.0
        most = stage.node.get("select", {}).get("rows")
        made[stage.number] = kept = min(step.kept * scale, most or float("inf"))
        told.append(
            {
                "name": stage.name,
                "kind": stage.kind,
                "rows": round(taken),
                "kept": round(kept),
                "calls": round(step.calls * scale),
                "prompt_tokens": round(step.prompt_tokens * scale),
                "completion_tokens": round(step.completion_tokens * scale),
                "gib": kept * step.stored / GIB,
                "device_hours": step.completion_tokens * scale / max(speed, 1e-9) / 3600,
                **_deciding(stage, step, taken, kept, known, asked["node_gib"] * GIB, encoding),
            }
        )
        known += kept if stage.output else 0.0
    totals = {key: sum(one[key] for one in told) for key in ("calls", "prompt_tokens", "completion_tokens", "gib")}
    hours = sum(one["device_hours"] for one in told)
    return {
        "pilot": pilot.url,
        "pilot_engine": pilot.engine,
        "stages": told,
        "totals": {"rows": round(known), **totals, "device_hours": hours, "hours": hours / asked["devices"]},
        "by": {
            "tokens_per_second": round(speed, 1),
            "texts_per_second": round(encoding, 1) or None,
            "devices": asked["devices"],
        },
    }


def _deciding(
    stage: Stage, step: Step, rows: float, kept: float, known: float, memory: float, encoding: float
) -> dict[str, Any]:
    """What a dedup takes beside its rows; {} for another stage."""
    if step.footprint is None:
        return {}
    needed = rows * step.footprint.in_memory
    found: dict[str, Any] = {
        "index_gib": kept * step.footprint.in_index / GIB,
        "partitions": max(1, ceil(needed / (memory * _INPUT))),
        # Written as segments once, and read once for buckets and once for the sets of candidates; the segments of what
        # was kept before are read, too.
        "exchange_gib": (3 * rows + 2 * known) * step.footprint.in_index / GIB if needed > memory * _INPUT else 0.0,
    }
    if stage.encodes and encoding:
        found["device_hours"] = rows / encoding / 3600
    return found


def notes(result: Mapping[str, Any]) -> Iterable[str]:
    """Sentences about the limits of a forecast."""
    if result["pilot_engine"] == "simulated":
        yield "forecast.pilot is a simulated run: its yields and tokens are no model's"
    yield "yields are those of the pilot; the more rows there are, the fewer are new"
    large = [one for one in result["stages"] if one["kind"] == "dedup" and one.get("partitions", 1) > 1]
    if names := [one["name"] for one in large if "embedding" in one["name"]]:
        yield (
            f"{', '.join(names)}: vectors of more rows than a node's memory holds are searched from a file by one "
            "process, which takes longer than this table says"
        )


def render(result: Mapping[str, Any]) -> Table:
    """The forecast for a terminal."""
    table = Table(title=f"by {result['pilot']}", title_justify="left")
    for column in (
        "stage",
        "rows",
        "kept",
        "calls",
        "tokens out",
        "GiB",
        "device hours",
        "index GiB",
        "exchange GiB",
        "partitions",
    ):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for one in result["stages"]:
        table.add_row(
            one["name"],
            f"{one['rows']:,}",
            f"{one['kept']:,}",
            f"{one['calls']:,}" if one["calls"] else "",
            f"{one['completion_tokens']:,}" if one["completion_tokens"] else "",
            f"{one['gib']:,.1f}",
            f"{one['device_hours']:,.1f}" if one["device_hours"] else "",
            f"{one['index_gib']:,.1f}" if "index_gib" in one else "",
            f"{one['exchange_gib']:,.1f}" if one.get("exchange_gib") else "",
            f"{one['partitions']:,}" if "partitions" in one else "",
        )
    return table
