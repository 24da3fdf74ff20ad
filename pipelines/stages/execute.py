"""Carry out one stage: freeze its shards, decide where it must see all rows, hand out what is not committed yet.

Whatever an earlier start committed is found by listing the stage's directory, so resuming costs as much as there are
shards, not rows.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from pipelines.dedup.index import outdated
from pipelines.dedup.workers import Workers
from pipelines.errors import RunStopped
from pipelines.rows import canonical
from pipelines.stages.stage import Stage, beside, bind
from pipelines.store.commit import read_side
from pipelines.store.dataset import Dataset, Plan, Shard, committed, slice_parts
from pipelines.store.decisions import VECTORS, decided_already, write_decisions
from pipelines.store.files import Folder, base, folder
from pipelines.store.ledger import Entry, read_entry

#: Folder of what deciding does not hold in memory.
SPILL = "spill"
#: Rows of a shard of vectors: a minute on a CPU, seconds on a GPU.
ENCODED_ROWS = 4096


def refuse_unready(stages: Sequence[Stage], rows: int) -> None:
    """UserError for what a dedup stage lacks here, before anything is generated for it; ``rows`` are the input's."""
    for stage in stages:
        if stage.kind == "dedup" and (refuse := beside(stage.node["dedup"], "refuse")) is not None:
            refuse(rows)


def settle_plan(stages: Folder, stage: Stage, source: Dataset, shard_rows: int) -> tuple[Folder, Plan]:
    """The directory and the frozen shards of a stage over ``source``; written now if the stage has not started.

    A row-wise stage whose input has grown by parts gets further shards for them. An all-row stage decided over all
    rows there were, so over a grown input, or where its standing index has grown before the run was in it, it decides
    again, in a directory of the next generation; and so does whatever reads that one.
    """
    generation = 0
    while True:
        target = stages.sub(stage.folder(generation))
        plan = Plan.load(target)
        new = [
            (p, n) for p, n in zip(source.parts, source.counts, strict=True) if plan is None or p not in plan.covered
        ]
        if plan is None:
            break
        grown = any(rows for _, rows in new)
        later = Plan.load(stages.sub(stage.folder(generation + 1))) if stage.kind == "dedup" else None
        decided_again = later is not None and later.source == plan.source
        again = stage.kind == "dedup" and (grown or decided_again or _index_has_grown(target, stage, source))
        if plan.source == base(source.folder) and not again:
            break
        generation += 1
    if plan is None and committed(target):
        raise RunStopped(f"{target.url} has committed shards and no plan of them; put plan-000.json back, or delete it")
    if new:
        # Parts without a row need a shard only where they are all there is: an empty dataset is typed, too.
        shards = slice_parts(new, shard_rows, len(plan.shards) if plan else 0) if plan is None or grown else []
        plan = Plan.extend(target, source.folder, shards, [p for p, _ in new])
    assert plan is not None  # a source has at least one part, so a new plan was just written
    return target, plan


def _index_has_grown(target: Folder, stage: Stage, source: Dataset) -> bool:
    """Whether other runs have added to a stage's index after it decided and before this run was in it."""
    decided = decided_already(target) if stage.index else None
    if decided is None or stage.index is None:
        return False
    found = decided["stats"]["against"]
    return outdated(stage.index, found["kind"], source.origin, found["segments"])


def settle_vectors(target: Folder, source: Dataset) -> tuple[Folder, Plan, dict[int, Entry]]:
    """The directory, frozen shards and committed entries of a stage's vectors: a dataset of their own."""
    place = target.sub(VECTORS)
    plan = Plan.load(place)
    if plan is None:
        shards = slice_parts(zip(source.parts, source.counts, strict=True), ENCODED_ROWS, 0)
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
    target_url: str, source_url: str, counts: Mapping[int, int], stage: Stage, workers: Workers | None = None
) -> str:
    """Make and publish the decisions of a dedup stage; runs in a process of its own. Returns the phase ledger.

    What memory does not hold goes through ``spill/``, which is deleted once the decisions are there.
    """
    target = folder(target_url)
    ledger = decided_already(target)
    if ledger is None:
        source = Dataset.of(folder(source_url), dict(counts))
        plan = Plan.load(target)
        assert plan is not None  # settle_plan ran before
        spill = target.sub(SPILL)
        decide = bind(stage.node["dedup"])
        offered = {"spill": spill.url, "workers": workers, **_vectors(target, stage)}
        taken = inspect.signature(decide).parameters
        found = decide(source, **{name: value for name, value in offered.items() if name in taken})
        ledger = write_decisions(target, source, plan.shards, found.blocks, found.stats)
    # Its own, and what other settings or an earlier generation left when they were given up.
    stages = folder(target_url.rstrip("/").rpartition("/")[0])
    for name in stages.folders():
        if name.partition("-")[2].startswith(f"{stage.name}-"):
            stages.sub(name).sub(SPILL).clear()
    return canonical(ledger)


def remember_stage(stage: Stage, target_url: str, last_url: str, counts: Mapping[int, int], state: str) -> None:
    """Add what a run kept at its end to the standing index that a dedup stage checked against."""
    kept, remember = Dataset.of(folder(last_url), dict(counts)), beside(stage.node["dedup"], "remember")
    assert remember is not None  # only a stage that has an index comes here
    if _index_has_grown(folder(target_url), stage, kept):
        raise RunStopped(
            f"dedup.against={stage.index}: another run added to the index after this one decided; run the same command "
            "again, and it decides again"
        )
    remember(kept, run=kept.origin, state=state, **_vectors(folder(target_url), stage))


def _vectors(target: Folder, stage: Stage) -> dict[str, Dataset]:
    """The vectors that a stage has made, as the argument ``encoded``; nothing for one that compares none."""
    parts = committed(target.sub(VECTORS)) if stage.encodes else []
    return {"encoded": Dataset.of(target.sub(VECTORS), dict.fromkeys(parts, 0))} if parts else {}


def pending(plan: Plan, done: Mapping[int, Entry]) -> list[Shard]:
    """The planned shards that are not committed."""
    return [shard for shard in plan.shards if shard.index not in done]


def waves(shards: Sequence[Shard], size: int) -> Iterator[Sequence[Shard]]:
    """Shards in bounded groups: Ray Data's bookkeeping grows with the descriptors it is given at once."""
    for start in range(0, len(shards), size):
        yield shards[start : start + size]
