"""Carry out one stage: freeze its shards, decide where it must see all rows, hand out what is not committed yet.

Whatever an earlier start committed is found by listing the stage's directory, so resuming costs as much as there are
shards, not rows.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa

from pipelines.bound import beside, bind
from pipelines.dedup.found import Segment
from pipelines.dedup.workers import Workers
from pipelines.errors import RunStopped
from pipelines.rows import canonical
from pipelines.stages.before import Kept, encoded_in, index_has_grown, vectors_in
from pipelines.stages.columns import refuse_absent
from pipelines.stages.stage import Stage
from pipelines.store.commit import read_side
from pipelines.store.dataset import Dataset, Shard, committed
from pipelines.store.decisions import VECTORS, decided_already, write_decisions
from pipelines.store.files import Folder, base, folder
from pipelines.store.ledger import Entry, read_entry
from pipelines.store.made import made, making
from pipelines.store.manifest import Manifest
from pipelines.store.plan import Plan, slice_parts, taken

#: The part of a stage's input that rows of its own settings lie in.
NO_PART = -1
#: Folder of what deciding does not hold in memory.
SPILL = "spill"
#: Rows of a shard of vectors: a minute on a CPU, seconds on a GPU.
ENCODED_ROWS = 4096


def refuse_unready(stages: Sequence[Stage], manifest: Manifest) -> None:
    """UserError for what a dedup stage lacks here, or in its rows, before anything is generated for it."""
    refuse_absent(stages, manifest)
    for stage in stages:
        if stage.kind == "dedup" and (refuse := beside(stage.node["dedup"], "refuse")) is not None:
            refuse(manifest.rows)


def settle_plan(
    stages: Folder,
    stage: Stage,
    source: Dataset,
    shard_rows: int,
    so_far: Sequence[str] = (),
    uses: Mapping[str, str] | None = None,
) -> tuple[Folder, Plan]:
    """The directory and the frozen shards of a stage over ``source``; written now if the stage has not started.

    A row-wise stage whose input has grown by parts gets further shards for them. An all-row stage decided over all
    rows there were, so over a grown input, or where its standing index has grown before the run was in it, or what the
    run had kept before (``so_far``, a word for each dataset of it) is another, it decides again, in a directory of the
    next generation; and so does whatever reads that one, or is made with what it has made (``uses``, directories of
    stages by argument). A stage that takes some rows of its input takes no further
    ones when that grows.
    """
    parts = list(zip(source.parts, source.counts, strict=True))
    if stage.kind == "rows":
        parts = [(NO_PART, 0)]
    # A flow goes on with what its rows were shown: what it asked cost too much to ask again.
    used = tuple((uses or {}).values()) if stage.kind in ("map", "make") else ()
    generation = 0
    while True:
        target = stages.sub(stage.folder(generation))
        plan = Plan.load(target)
        new = [(p, n) for p, n in parts if plan is None or (p not in plan.covered and stage.take is None)]
        if plan is None:
            break
        grown = any(rows for _, rows in new)
        later = Plan.load(stages.sub(stage.folder(generation + 1))) if stage.decides else None
        decided_again = later is not None and later.source == plan.source
        again = stage.decides and (grown or decided_again or _compared_with_others(target, stage, source, so_far))
        if plan.source == base(source.folder) and plan.uses == used and not again:
            break
        generation += 1
    if plan is None and committed(target):
        raise RunStopped(f"{target.url} has committed shards and no plan of them; put plan-000.json back, or delete it")
    if plan is None and stage.kind == "rows":
        # Only now: they may be read from a whole corpus, and a stage that has begun has them in its plan.
        parts = new = [(NO_PART, len(bind(stage.node["rows"])()))]
    if new:
        # Parts without a row need a shard only where they are all there is: an empty dataset is typed, too.
        slices = taken(new, stage.take)
        rows = max(shard_rows, source.rows, *(n for _, n in parts)) if stage.kind == "rows" else shard_rows
        shards = slice_parts(slices, rows, len(plan.shards) if plan else 0) if plan is None or grown else []
        plan = Plan.extend(target, source.folder, shards, [p for p, _, _ in slices], used)
    assert plan is not None  # a source has at least one part, so a new plan was just written
    return target, plan


def _compared_with_others(target: Folder, stage: Stage, source: Dataset, so_far: Sequence[str]) -> bool:
    """Whether a stage has decided, and what its rows were held against is another now."""
    decided = decided_already(target)
    if decided is None:
        return False
    return decided["so_far"] != list(so_far) or index_has_grown(target, stage, source)


def settle_vectors(target: Folder, source: Dataset) -> tuple[Folder, Plan, dict[int, Entry]]:
    """The directory, frozen shards and committed entries of a stage's vectors: a dataset of their own."""
    place = target.sub(VECTORS)
    plan = Plan.load(place)
    if plan is None:
        shards = slice_parts(taken(zip(source.parts, source.counts, strict=True), None), ENCODED_ROWS, 0)
        plan = Plan.extend(place, source.folder, shards, source.parts)
    return place, plan, {shard: read_entry(place, shard) for shard in committed(place)}


def settle_retries(
    target: Folder, plan: Plan, source: Folder, entries: Mapping[int, Entry], shard_rows: int
) -> tuple[Plan, int]:
    """Add retry shards for all quarantined rows that no planned shard takes up yet; the plan, and how many rows."""
    last: dict[str, tuple[int, str]] = {}
    for _, entry in sorted(entries.items()):
        table = read_side(target, entry, "failed")
        for row in table.select(["row_id", "error"]).to_pylist() if table is not None else ():
            last[row["row_id"]] = (entry.shard, row["error"])
    # A row is outstanding when the shard it failed in last is not settled by a later one.
    settled = {(home, row) for shard in plan.shards for home, ids in shard.settles for row in ids}
    outstanding = sorted((home, row) for row, (home, _) in last.items() if (home, row) not in settled)
    shards: list[Shard] = []
    for start in range(0, len(outstanding), shard_rows):
        chunk = outstanding[start : start + shard_rows]
        homes: dict[int, list[str]] = {}
        for home, row in chunk:
            homes.setdefault(home, []).append(row)
        slices = tuple(s for home in homes for s in plan.shards[home].slices)
        shards.append(
            Shard(
                index=len(plan.shards) + len(shards),
                slices=tuple(dict.fromkeys(slices)),
                rows=len(chunk),
                ids=tuple(row for _, row in chunk),
                settles=tuple((home, tuple(ids)) for home, ids in homes.items()),
                kinds=tuple(sorted(Counter(last[row][1] for _, row in chunk).items())),
            )
        )
    if shards:
        plan = Plan.extend(target, source, shards, [])
    return plan, len(outstanding)


def decide_stage(
    target_url: str,
    source_url: str,
    counts: Mapping[int, int],
    stage: Stage,
    workers: Workers | None = None,
    so_far: Sequence[str] = (),
    before: Sequence[Segment] = (),
    kept: Sequence[Kept] = (),
    alike: Sequence[Kept] = (),
) -> str:
    """Make and publish the decisions of an all-row stage; runs in a process of its own. Returns the phase ledger.

    ``so_far`` is a word for each dataset that the run has kept before, ``kept`` are these, ``before`` the segments of
    all of them, and ``alike`` are those that the same stages kept in earlier rounds.
    What memory does not hold goes through ``spill/``, which is deleted once the decisions are there.
    """
    target = folder(target_url)
    ledger = decided_already(target)
    if ledger is None:
        source = Dataset.of(folder(source_url), dict(counts))
        plan = Plan.load(target)
        assert plan is not None  # settle_plan ran before
        spill = target.sub(SPILL)
        decide = bind(stage.node[stage.kind])
        vectors = encoded_in(vectors_in(target, stage))
        earlier, rounds = ([Dataset.of(folder(url), dict(counts)) for url, counts in some] for some in (kept, alike))
        more = {"before": before, "kept": earlier, "alike": rounds}
        offered = {"spill": spill.url, "workers": workers, **more, **vectors}
        known = inspect.signature(decide).parameters
        found = decide(source, **{name: value for name, value in offered.items() if name in known})
        ledger = write_decisions(target, source, plan.shards, found.blocks, found.stats, so_far)
    # Its own, and what other settings or an earlier generation left when they were given up.
    stages = folder(target_url.rstrip("/").rpartition("/")[0])
    for name in stages.folders():
        if name.partition("-")[2].startswith(f"{stage.name}-"):
            stages.sub(name).sub(SPILL).clear()
    return canonical(ledger)


def make_stage(
    target_url: str, source_url: str, counts: Mapping[int, int], stage: Stage, uses: Mapping[str, str]
) -> None:
    """Have a stage make what it makes, and publish it with the decision that every row stays; in a process of its own.

    ``uses`` are arguments with the directories of stages whose things made they are given.
    """
    target = folder(target_url)
    source = Dataset.of(folder(source_url), dict(counts))
    plan = Plan.load(target)
    assert plan is not None  # settle_plan ran before
    stages = target_url.rstrip("/").rpartition("/")[0]
    given = {argument: made(f"{stages}/{name}") for argument, name in uses.items()}
    told = making(target, lambda place: bind(stage.node["make"])(place, source, **given))
    nothing = pa.table([pa.nulls(0, pa.int64()), *[pa.nulls(0, pa.string())] * 2], names=["row", "id", "reason"])
    write_decisions(target, source, plan.shards, [nothing], told)


def pending(plan: Plan, done: Mapping[int, Entry]) -> list[Shard]:
    """The planned shards that are not committed."""
    return [shard for shard in plan.shards if shard.index not in done]


def waves(shards: Sequence[Shard], size: int) -> Iterator[Sequence[Shard]]:
    """Shards in bounded groups: Ray Data's bookkeeping grows with the descriptors it is given at once."""
    for start in range(0, len(shards), size):
        yield shards[start : start + size]
