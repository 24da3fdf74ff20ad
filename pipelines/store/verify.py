"""Prove a run's accounts from its files alone: every input row and every item is somewhere, once.

For each shard the ids of its input rows must be the disjoint union of the rows with kept items, the rejected and the
failed ones; both ledger equations must hold; every byte of a part must be under its seal, and of a side file under the
checksum that the footer names; ``ledger/`` must say what the footers say. From stage to stage, the plan must cut the
frozen input, and then every kept row, into shards without gap or overlap. ``data/`` and ``removed/`` must hold what the
stages decided.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.errors import RunStopped
from pipelines.store import made
from pipelines.store.commit import SIDES, read_sealed, read_side
from pipelines.store.compare import compared
from pipelines.store.dataset import Shard, committed, part_name, read_shard
from pipelines.store.decisions import VECTORS, decision_files
from pipelines.store.files import Folder, base, folder
from pipelines.store.ledger import Entry, entry_in, read_cache, totals
from pipelines.store.plan import Plan, taken
from pipelines.store.record import read_record
from pipelines.store.survey import StageNow, StageRecord, complete, finished, outputs, stage_records, state_now

#: What a damaged file can make the readers raise.
_DAMAGE = (ValueError, OSError, KeyError, TypeError, pa.ArrowException)


def verify(run: str) -> dict[str, Any]:
    """Check a run directory.

    Returns:
        ``ok``; ``complete`` (False for a run that has not reached its end, which is no defect); ``defects``, a
        sentence each; ``stages``, the ledger's totals recomputed from the footers; ``leftovers``, files of attempts
        that no footer names (harmless).
    """
    place = folder(run)
    defects = list(_damaged_records(place))
    seen: list[StageNow] = []
    leftovers = 0
    try:
        stages = stage_records(place)
    except RunStopped as error:
        stages = []
        defects.append(str(error))
    for stage in stages:
        # What other stages have taken up was committed, whatever is there now.
        takers = [one.plan.covered for one in stages if one.source == stage.number and not one.born and one.plan]
        taken_up = frozenset[int]().union(*takers)
        now, left = _check_stage(place, stage, None if stage.born else seen[stage.source], taken_up, defects)
        seen.append(now)
        leftovers += left
    if not defects and complete(seen):
        _check_published(place, seen, defects)
    return {
        "ok": not defects,
        "complete": not defects and finished(place, seen),
        "run": place.url,
        "defects": defects,
        "stages": {now.record.name: asdict(totals(now.entries.values())) for now in seen},
        "pending_shards": sum((now.planned or 0) - len(now.entries) for now in seen),
        "leftovers": leftovers,
    }


def _damaged_records(place: Folder) -> Iterator[str]:
    """Records that are missing or not as they were written."""
    present = place.names()
    if "stages.json" not in present:
        return  # no run, which is said elsewhere
    wanted = ["manifest.json", "config.yaml", "stages.json"]
    if "metadata.json" in present:
        wanted += ["metadata.json", "stats.json"]
    for name in wanted:
        try:
            read_record(place, name)
        except FileNotFoundError:
            yield f"{name} is missing"
        except RunStopped as error:
            yield str(error)


def _check_stage(
    place: Folder, stage: StageRecord, before: StageNow | None, taken_up: frozenset[int], defects: list[str]
) -> tuple[StageNow, int]:
    """Check every shard of a stage; what is committed of it, and the number of leftover files."""

    def defect(text: str) -> None:
        defects.append(f"stage {stage.name}: {text}")

    present = committed(stage.folder)
    plan = stage.plan or Plan.load(stage.folder)  # a stage may have begun since the run was looked at
    if plan is None and (taken_up or present):
        defect("the plan that froze its shards (plan-000.json) is missing")
    for text in _gaps(place, plan, before, stage.take) if plan is not None and stage.kind != "rows" else ():
        defect(text)
    planned = {shard.index: shard for shard in plan.shards} if plan else {}
    cache = read_cache(place, stage.folder)
    for index in sorted((taken_up | set(cache)) - set(present)):
        defect(f"{part_name(index)} is missing: a shard that was committed is gone")
    for index in sorted(set(present) - set(planned)) if plan is not None else ():
        defect(f"{part_name(index)} is not in the stage's plan")
    entries: dict[int, Entry] = {}
    ids: list[pa.ChunkedArray] = []
    turned_away: list[pa.Array] = []
    for index in present:
        try:
            kept = read_sealed(stage.folder, part_name(index))
            entry = entry_in(kept.schema.metadata or {})
            entries[index] = entry
            if index in cache and cache[index] != entry:
                defect(f"ledger/{base(stage.folder)}.parquet says otherwise of shard {index} than the shard's footer")
            sides = {side: read_side(stage.folder, entry, side) for side in SIDES}
            shard = planned.get(index)
            inputs = (
                read_shard(before.record.folder, shard, ["id"])["id"]
                if before is not None and shard is not None
                else None
            )
            for text in shard_defects(stage, index, entry, kept, sides, inputs, shard):
                defect(text)
            ids.append(kept["id"])
            if stage.decides and sides["rejected"] is not None:
                turned_away += sides["rejected"]["id"].chunks
        except _DAMAGE as error:
            defect(f"{part_name(index)} or a file beside it is damaged: {type(error).__name__}: {error}")
    for index in committed(stage.folder.sub(VECTORS)):
        try:
            read_sealed(stage.folder.sub(VECTORS), part_name(index), ["id"])
        except _DAMAGE as error:
            defect(str(error))
    if stage.decides and plan is not None and entries:
        for text in (*_decision_defects(stage.folder, turned_away, present), *_made_defects(stage)):
            defect(text)
    everything = pa.chunked_array([c for a in ids for c in a.chunks], pa.string())
    if len(everything) != pc.count_distinct(everything).as_py():
        doubled = next(v["values"].as_py() for v in pc.value_counts(everything) if v["counts"].as_py() > 1)
        defect(f"an id is there more than once, {doubled!r} among them")
    named = {(side, file.name) for entry in entries.values() for side, file in entry.files.items()}
    left = sum((side, name) not in named for side in SIDES for name in stage.folder.sub(side).names())
    return StageNow(stage, entries), left


def _gaps(place: Folder, plan: Plan, before: StageNow | None, take: tuple[int, int] | None) -> Iterator[str]:
    """Where a plan's shards leave rows of the input out, or take them twice; retries take rows a second time."""
    if before is None:
        try:
            wanted = [(0, 0, read_record(place, "manifest.json")["rows"])]
        except (FileNotFoundError, RunStopped):
            return  # said already
    else:
        for part in sorted(plan.covered - set(before.entries)):
            yield f"its plan covers {part_name(part)} of {before.record.name}, which is not committed"
        parts = [(part, entry.items_kept) for part, entry in sorted(before.entries.items())]
        wanted = [one for one in taken(parts, take) if take or one[0] in plan.covered]
    reached = {part: first for part, first, _ in wanted}
    slices = sorted(slice_ for shard in plan.shards if shard.ids is None for slice_ in shard.slices)
    for part, first, after in slices:
        reached[part] = after if reached.get(part) == first else -1
    for part, first, after in wanted:
        if reached[part] != after:
            where = "the frozen input" if before is None else f"{part_name(part)} of {before.record.name}"
            yield f"its plan does not cut {where} (rows {first} to {after}) into shards without gap or overlap"


def _decision_defects(stage: Folder, turned_away: list[pa.Array], present: list[int]) -> Iterator[str]:
    """Whether an all-row stage's shards turned away the rows that it had decided on, and no others."""
    try:
        names = decision_files(stage) or [part_name(0)]
        tables = [read_sealed(stage.sub("decisions"), name, ["shard", "id"]) for name in names]
    except _DAMAGE as error:
        yield f"decisions/ is damaged or gone: {type(error).__name__}: {error}"
        return
    decided = pa.concat_tables(table.replace_schema_metadata(None) for table in tables)
    wanted = decided.filter(pc.is_in(decided["shard"], value_set=pa.array(present, pa.int64())))["id"]
    found = pa.chunked_array(turned_away, pa.string())
    if len(wanted) != len(found) or pc.all(pc.is_in(found, value_set=wanted)).as_py() is False:
        yield f"its shards turned away {len(found)} rows, which are not the {len(wanted)} that decisions/ names"


def _made_defects(stage: StageRecord) -> Iterator[str]:
    """Files that a stage has made beside its rows, and that are not as it made them."""
    if stage.kind == "make":
        try:
            yield from made.defects(stage.folder)
        except _DAMAGE as error:
            yield f"what it made cannot be looked at: {type(error).__name__}: {error}"


def shard_defects(
    stage: StageRecord,
    index: int,
    entry: Entry,
    kept: pa.Table,
    sides: Mapping[str, pa.Table | None],
    inputs: pa.ChunkedArray | None,
    shard: Shard | None,
) -> Iterator[str]:
    """What is wrong with one shard, given its files' tables and the ids of its input rows."""
    name = part_name(index)
    rejected, failed = sides["rejected"], sides["failed"]
    if entry.fingerprint != stage.fingerprint or entry.stage != stage.name or entry.shard != index:
        yield f"{name}: its footer belongs to shard {entry.shard} of stage {entry.stage} ({entry.fingerprint[:12]})"
    if (unbalanced := entry.balanced()) is not None:
        yield f"{name}: {unbalanced}"
    if kept.num_rows != entry.items_kept:
        yield f"{name}: {kept.num_rows} rows, but its ledger entry says {entry.items_kept} items kept"
    for what, table, column, counted in (
        ("items rejected", rejected, "reason", entry.items_rejected),
        ("rows failed", failed, "error", entry.failed),
    ):
        counts = (
            {v["values"]: v["counts"] for v in pc.value_counts(table[column]).to_pylist()} if table is not None else {}
        )
        if counts != dict(counted):
            yield f"{name}: {what} are {counts} in its files and {dict(counted)} in its ledger entry"
    if shard is not None and shard.rows != entry.rows_in:
        yield f"{name}: {entry.rows_in} rows in, but {shard.rows} were planned"
    if shard is not None and {str(home): list(ids) for home, ids in shard.settles} != dict(entry.settles):
        yield f"{name}: settles other quarantined rows than planned"
    with_kept = _ids(kept["id"] if stage.kind != "flow" else pc.list_element(kept["parent_ids"], 0))
    with_rejected = _ids(rejected["row_id"]) if rejected is not None else _ids(None)
    only_rejected = with_rejected.filter(pc.invert(pc.is_in(with_rejected, value_set=with_kept)))
    broken = _ids(failed["row_id"]) if failed is not None else _ids(None)
    found = (len(with_kept), len(only_rejected), len(broken))
    if found != (entry.rows_kept, entry.rows_rejected, entry.rows_failed):
        yield (
            f"{name}: (kept, rejected, failed) rows are {found} in its files and "
            f"{(entry.rows_kept, entry.rows_rejected, entry.rows_failed)} in its ledger entry"
        )
    if inputs is None:
        return
    accounted = pa.concat_arrays([with_kept, only_rejected, broken])
    if len(accounted) != pc.count_distinct(accounted).as_py():
        yield f"{name}: a row is accounted for twice"
    lost = pc.sum(pc.invert(pc.is_in(inputs, value_set=accounted))).as_py() or 0
    strange = pc.sum(pc.invert(pc.is_in(accounted, value_set=inputs.combine_chunks()))).as_py() or 0
    if lost or strange or len(inputs) != entry.rows_in:
        yield f"{name}: {len(inputs)} input rows; {lost} not accounted for, {strange} accounted for that are not input"


def _check_published(place: Folder, seen: list[StageNow], defects: list[str]) -> None:
    """``data/`` must hold exactly the rows of the result, ``removed/`` exactly what dedup stages turned away."""
    try:
        published = read_record(place, "metadata.json")
    except FileNotFoundError:
        return
    if published["state"] != state_now(seen):
        return  # of an earlier state: the run has not reached its end again
    last = outputs(seen)
    kept = (read_sealed(now.record.folder, part_name(part)) for now in last for part in sorted(now.entries))
    dedups = [(now, entry) for now in seen if now.record.kind == "dedup" for _, entry in sorted(now.entries.items())]
    sides = (read_side(now.record.folder, entry, "rejected") for now, entry in dedups)
    for name, wanted in (("data", kept), ("removed", (side for side in sides if side is not None))):
        target = place.sub(name)
        files = [file for file in target.names() if file.endswith(".parquet")]
        try:
            there, decided, same = compared((read_sealed(target, file) for file in files), wanted)
        except _DAMAGE as error:
            defects.append(f"{name}/ is damaged: {type(error).__name__}: {error}")
            continue
        if not same or not files or files != [part_name(number) for number in range(len(files))]:
            defects.append(
                f"{name}/ holds {there} rows in {len(files)} files, which are not the {decided} that the stages "
                "decided on; delete metadata.json and run the same command again"
            )
    if published["rows"] != sum(entry.items_kept for now in last for entry in now.entries.values()):
        defects.append("metadata.json counts other rows than the stages kept")


def _ids(column: pa.ChunkedArray | pa.Array | None) -> pa.Array:
    """Distinct ids of a column."""
    if column is None:
        return pa.array([], pa.string())
    unique = pc.unique(column)
    return unique.combine_chunks() if isinstance(unique, pa.ChunkedArray) else unique
