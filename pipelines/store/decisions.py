"""Decisions of an all-row stage as a small dataset: which rows go, and why; written whole before any is applied.

``decisions/part-00000.parquet`` holds a row for each row that goes: ``shard`` (whose slice it is in), ``id``, and the
stage's own columns (``keeper_id``, ``similarity``, ...), sorted by shard so that applying one reads its own row
groups only. Its footer carries the phase's ledger: rows in, rows that stay, rows that go, and what was measured.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.store.commit import to_parquet
from pipelines.store.dataset import Dataset, Shard, part_name
from pipelines.store.files import Folder
from pipelines.store.ledger import FOOTER

_NAME = part_name(0)
#: Folder of the vectors that a stage compares, beside its decisions: a dataset of their own.
VECTORS = "vectors"


def decided_already(stage: Folder) -> dict[str, Any] | None:
    """The phase ledger of a stage that has decided, or None."""
    try:
        with stage.sub("decisions").open(_NAME) as file:
            metadata = pq.read_schema(file).metadata or {}
    except FileNotFoundError:
        return None
    ledger: dict[str, Any] = json.loads(metadata[FOOTER])
    return ledger


def write_decisions(
    stage: Folder, source: Dataset, shards: Sequence[Shard], removed: pa.Table, stats: Mapping[str, Any]
) -> dict[str, Any]:
    """Publish the decisions of a stage, unless another driver already has; returns the phase ledger that counts.

    Raises:
        ValueError: a removed id is not in the input, or is named twice.
    """
    gone = removed["id"].combine_chunks()
    home = np.full(len(gone), -1, dtype=np.int64)
    starts = {part: start for part, start in zip(source.parts, np.cumsum((0, *source.counts)), strict=False)}
    bounds = sorted((starts[part] + first, shard.index) for shard in shards for part, first, _ in shard.slices)
    firsts, owners = (np.array(column, dtype=np.int64) for column in zip(*bounds, strict=True))
    at = 0
    for table in source.batches(["id"]):
        where = pc.index_in(gone, value_set=table["id"].combine_chunks())
        here = pc.is_valid(where).to_numpy(zero_copy_only=False)
        rows = pc.fill_null(where, 0).to_numpy(zero_copy_only=False)[here] + at
        home[here] = owners[np.searchsorted(firsts, rows, side="right") - 1]
        at += table.num_rows
    if (home < 0).any() or pc.count_distinct(gone).as_py() != len(gone):
        raise ValueError("the decisions name a row twice, or one that is not in the stage's input")
    table = removed.add_column(0, "shard", pa.array(home)).sort_by([("shard", "ascending"), ("id", "ascending")])
    ledger = {
        "rows_in": source.rows,
        "rows_kept": source.rows - len(gone),
        "rows_removed": len(gone),
        "stats": dict(stats),
    }
    table = table.replace_schema_metadata({FOOTER: json.dumps(ledger).encode()})
    if not stage.sub("decisions").create(_NAME, to_parquet(table)):
        ledger = decided_already(stage) or ledger
    return ledger


def decisions_for(stage: Folder, shard: int) -> pa.Table:
    """The decisions that concern one shard: ``id`` and the stage's own columns."""
    with stage.sub("decisions").open(_NAME) as file:
        table = pq.read_table(file, filters=[("shard", "==", shard)])
    return table.drop_columns(["shard"]).replace_schema_metadata(None)
