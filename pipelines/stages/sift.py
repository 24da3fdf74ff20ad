"""Stages that pass rows through or turn them away: filters by rule, dedup by decisions made beforehand.

Whole columns at a time: a row is never a Python object here. A row that stays keeps its id, parents and provenance;
one that goes is written to ``rejected/`` with all its columns and the reason.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.bound import bind
from pipelines.errors import Damaged
from pipelines.rows import VERDICT, beside, digest
from pipelines.stages.account import bare_rows
from pipelines.stages.stage import Stage
from pipelines.store.commit import Outcome, new_attempt
from pipelines.store.dataset import Shard
from pipelines.store.ledger import Entry

#: A rule over one column of a table: True for every row to be rejected.
Rule = Callable[[pa.Table], pa.Array]
#: No row rejected.
NOTHING = pa.table([pa.nulls(0, pa.string())], names=["reason"])


def filtered(stage: str, fingerprint: str, shard: Shard, table: pa.Table, rules: Mapping[str, Rule]) -> Outcome:
    """Reject the rows that a rule matches; the first rule in order gives the reason."""
    started = time.monotonic()
    reasons = pa.nulls(table.num_rows, pa.string())
    for reason, rule in rules.items():
        matched = pc.and_(pc.is_null(reasons), pc.fill_null(rule(table), False))
        reasons = pc.if_else(matched, reason, reasons)
    return sifted(stage, fingerprint, shard, table, reasons, started)


def given(stage: Stage, shard: Shard) -> Outcome:
    """Rows that stand in a recipe, as ``rows`` lists them; ids are those of their content and place."""
    started = time.monotonic()
    rows = bind(stage.node["rows"])()
    ids = [digest("row", number, row) for number, row in enumerate(rows)]
    made = bare_rows(ids, rows, stage.node["columns"])
    return Outcome(made, tallied(stage.name, stage.fingerprint, shard.index, made, NOTHING, started))


def mapped(
    stage: str, fingerprint: str, shard: Shard, table: pa.Table, change: Callable[[pa.Table], pa.Table]
) -> Outcome:
    """The same rows with other columns."""
    started = time.monotonic()
    made = change(table)
    if not made["id"].equals(table["id"]):
        raise ValueError(f"stage {stage}: a map keeps every row, in order")
    return Outcome(made, tallied(stage, fingerprint, shard.index, made, NOTHING, started))


def decided(stage: str, fingerprint: str, shard: Shard, table: pa.Table, decisions: pa.Table) -> Outcome:
    """Reject the rows that ``decisions`` names (by id), with what the decision says of them (keeper, similarity...).

    Its column ``reason`` says why; without one the rows are duplicates.
    """
    started = time.monotonic()
    place = pc.index_in(table["id"], value_set=decisions["id"].combine_chunks())
    if pc.count(place).as_py() != decisions.num_rows:
        raise Damaged(f"stage {stage}: its decisions name rows of shard {shard.index} that are not there")
    found = decisions.drop_columns(["id"]).take(place)
    if "reason" in found.column_names:
        return sifted(stage, fingerprint, shard, table, found["reason"], started, found.drop_columns(["reason"]))
    reasons = pc.if_else(pc.is_valid(place), "duplicate", pa.scalar(None, pa.string()))
    return sifted(stage, fingerprint, shard, table, reasons, started, found)


def encoded(stage: Stage, shard: Shard, table: pa.Table, threads: int) -> Outcome:
    """The vectors of a shard's rows; every row has one, if only a null."""
    started = time.monotonic()
    make = stage.encodes
    assert make is not None
    made = make(table, threads=threads)
    return Outcome(made, tallied(stage.name, stage.fingerprint, shard.index, made, NOTHING, started))


def sifted(
    stage: str,
    fingerprint: str,
    shard: Shard,
    table: pa.Table,
    reasons: pa.Array | pa.ChunkedArray,
    started: float,
    found: pa.Table | None = None,
) -> Outcome:
    """Split a table by ``reasons`` (null: kept) and account for it; one input row is one item."""
    kept = table.filter(pc.is_null(reasons))
    gone = pc.is_valid(reasons)
    rejected = table.filter(gone)
    taken = {*VERDICT, *(found.column_names if found is not None else ())}
    rejected = rejected.rename_columns([beside(taken, name, table.column_names) for name in table.column_names])
    rejected = rejected.add_column(1, "row_id", rejected["id"])
    rejected = rejected.add_column(2, "reason", pc.filter(reasons, gone))
    if found is not None:
        for name in found.column_names:
            rejected = rejected.append_column(name, found[name].filter(gone))
    entry = tallied(stage, fingerprint, shard.index, kept, rejected, started)
    return Outcome(kept, entry, {"rejected": rejected})


def tallied(stage: str, fingerprint: str, index: int, kept: pa.Table, rejected: pa.Table, started: float) -> Entry:
    """The entry of a shard whose every row is one item, kept or rejected by name."""
    counts = {v["values"]: v["counts"] for v in pc.value_counts(rejected["reason"]).to_pylist()}
    return Entry(
        stage=stage,
        fingerprint=fingerprint,
        shard=index,
        attempt=new_attempt(),
        rows_in=kept.num_rows + rejected.num_rows,
        rows_kept=kept.num_rows,
        rows_rejected=rejected.num_rows,
        rows_failed=0,
        items_made=kept.num_rows + rejected.num_rows,
        items_kept=kept.num_rows,
        items_rejected=counts,
        seconds=round(time.monotonic() - started, 3),
        finished_at=datetime.now(UTC).isoformat(),
    )
