"""A stage's plan: its shards as fixed slices of the rows that it takes.

It lies in the stage's directory as ``plan-000.json``, frozen when the stage first starts and extended
(``plan-001.json``, ...) when its input has grown or failed rows are retried: ``{"shards": [{"index": 0, "slices":
[[0, 0, 512]], "rows": 512}, ...]}``: shard 0 is rows 0 to 511 of part 0 of the input.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipelines.errors import Damaged
from pipelines.store.dataset import Shard
from pipelines.store.files import Folder, base
from pipelines.store.record import parsed, record

_PLAN = re.compile(r"^plan-(\d{3,})\.json$")


def taken(parts: Iterable[tuple[int, int]], take: tuple[int, int] | None) -> list[tuple[int, int, int]]:
    """Of parts, given as (part, rows), the slices with the rows that ``take`` (first, how many) names; None names all.

    Parts without any such row are left out, unless all are taken. Where no part has one (a source that was decided
    again may have fewer than it had), the first stands for the empty dataset.
    """
    parts = list(parts)
    first, last = (take[0], sum(take)) if take else (0, None)
    slices: list[tuple[int, int, int]] = []
    before = 0
    for part, rows in parts:
        start, stop = max(0, first - before), rows if last is None else min(rows, last - before)
        if start < stop or take is None:
            slices.append((part, start, stop))
        before += rows
    return slices or [(part, 0, 0) for part, _ in parts[:1]]


def slice_parts(parts: Iterable[tuple[int, int, int]], shard_rows: int, number: int) -> list[Shard]:
    """Cut slices of parts, (part, first, after), into shards of ``shard_rows`` rows, numbered from ``number``.

    Every row lands in exactly one shard, in order; only the last shard is shorter. Parts without any row make one
    empty shard, so that the stage's dataset is empty and still typed.
    """
    parts = list(parts)
    shards: list[Shard] = []
    slices: list[tuple[int, int, int]] = []
    filled = 0
    for part, first, after in parts:
        start = first
        while start < after:
            stop = min(after, start + shard_rows - filled)
            slices.append((part, start, stop))
            filled += stop - start
            start = stop
            if filled == shard_rows:
                shards.append(Shard(number + len(shards), tuple(slices), filled))
                slices, filled = [], 0
    if filled or (parts and not shards):
        shards.append(Shard(number + len(shards), tuple(slices or [(parts[0][0], 0, 0)]), filled))
    return shards


@dataclass(frozen=True)
class Plan:
    """A stage's frozen shards, in order of index.

    Attributes:
        covered: the parts of its input that they cover.
        source: the directory that these are in.
        uses: directories of stages whose things made it was given, where it is made of them.
    """

    shards: tuple[Shard, ...]
    covered: frozenset[int]
    source: str
    uses: tuple[str, ...] = ()

    @staticmethod
    def load(stage: Folder) -> Plan | None:
        """The plan of a stage that has started, or None; RunStopped when a file of it is damaged."""
        files = sorted((int(m.group(1)), m.group(0)) for m in map(_PLAN.match, stage.names()) if m)
        if not files:
            return None
        shards: list[Shard] = []
        covered: set[int] = set()
        source, uses = "", tuple[str, ...]()
        for place, (number, name) in enumerate(files):
            if number != place:
                raise Damaged(f"{stage.url}/plan-{place:03d}.json is missing; put it back")
            content = parsed(f"{stage.url}/{name}", stage.read(name))
            source, uses = content["source"], tuple(content.get("uses", ()))
            shards += [Shard.from_json(s) for s in content["shards"]]
            covered.update(content["covers"])
        return Plan(tuple(shards), frozenset(covered), source, uses)

    @staticmethod
    def extend(
        stage: Folder, source: Folder, shards: Sequence[Shard], covers: Iterable[int], uses: Sequence[str] = ()
    ) -> Plan:
        """Append shards (and the input parts that they cover) to the plan of a stage; returns the whole plan."""
        number = sum(1 for name in stage.names() if _PLAN.match(name))
        content = {
            "source": base(source),
            "uses": list(uses),
            "covers": sorted(covers),
            "shards": [s.to_json() for s in shards],
        }
        if not stage.create(f"plan-{number:03d}.json", record("plan.json", content)):
            raise FileExistsError(f"{stage.url}/plan-{number:03d}.json was written by another driver")
        plan = Plan.load(stage)
        assert plan is not None  # it was written in the line above
        return plan
