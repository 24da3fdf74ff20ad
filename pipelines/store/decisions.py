"""Decisions of an all-row stage as a small dataset: which rows go, and why; written whole before any is applied.

``decisions/part-00000.parquet ...`` hold a row for each row that goes: ``shard`` (whose slice it is in), ``id``, and
the stage's own columns (``keeper_id``, ``similarity``, ...), sorted by shard so that applying one reads its own row
groups only. The first file is written last, and without it nothing is decided: its footer carries the phase's ledger
(rows in, rows that stay, rows that go, what was measured) and which shards each file is about.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.store.commit import to_parquet
from pipelines.store.dataset import Dataset, Shard, named, part_name
from pipelines.store.files import Folder
from pipelines.store.ledger import FOOTER

_NAME = part_name(0)
#: Folder of the vectors that a stage compares, beside its decisions: a dataset of their own.
VECTORS = "vectors"


def decided_already(stage: Folder) -> dict[str, Any] | None:
    """The phase ledger of a stage that has decided, or None."""
    place = stage.sub("decisions")
    try:
        opened = place.open(_NAME)
    except FileNotFoundError:
        return None
    with named(f"{place.url}/{_NAME}"), opened as file:
        metadata = pq.read_schema(file).metadata or {}
    ledger: dict[str, Any] = json.loads(metadata[FOOTER])
    return ledger


def write_decisions(
    stage: Folder,
    source: Dataset,
    shards: Sequence[Shard],
    blocks: Iterable[pa.Table],
    stats: Mapping[str, Any],
    so_far: Sequence[str] = (),
) -> dict[str, Any]:
    """Publish the decisions of a stage, unless another driver already has; returns the phase ledger that counts.

    ``blocks`` are tables of ``row`` (place in the input), ``id`` and the stage's own columns; the rows of one come
    before those of the next. A block is in memory at a time. ``so_far`` names what the rows were held against beside
    themselves.

    Raises:
        ValueError: a row is not in the input, is named twice, or out of order.
    """
    starts = {part: start for part, start in zip(source.parts, np.cumsum((0, *source.counts)), strict=False)}
    bounds = sorted((starts[part] + first, shard.index) for shard in shards for part, first, _ in shard.slices)
    firsts, owners = (np.array(column, dtype=np.int64) for column in zip(*bounds, strict=True))
    first: pa.Table | None = None
    attempt = uuid.uuid4().hex[:16]
    files: list[dict[str, Any]] = []
    count, before = 0, -1
    for number, block in enumerate(blocks):
        rows = np.sort(block["row"].to_numpy())
        if len(rows) and (rows[0] <= before or rows[-1] >= source.rows or (rows[1:] == rows[:-1]).any()):
            raise ValueError("the decisions name a row twice, out of order, or one that is not in the stage's input")
        before = int(rows[-1]) if len(rows) else before
        count += len(rows)
        home = owners[np.searchsorted(firsts, block["row"].to_numpy(), side="right") - 1]
        table = block.drop_columns(["row"]).add_column(0, "shard", pa.array(home, pa.int64()))
        table = table.sort_by([("shard", "ascending"), ("id", "ascending")])
        name = _NAME if number == 0 else f"part-{number:05d}.{attempt}.parquet"
        files.append({"name": name, "shards": [int(home.min()), int(home.max())] if len(home) else [0, -1]})
        if number == 0:
            first = table
        else:
            stage.sub("decisions").create(name, to_parquet(table))
    assert first is not None  # every dedup gives a block, if only an empty one
    ledger = {
        "rows_in": source.rows,
        "rows_kept": source.rows - count,
        "rows_removed": count,
        "stats": dict(stats),
        "so_far": list(so_far),
        "files": files,
    }
    first = first.replace_schema_metadata({FOOTER: json.dumps(ledger).encode()})
    if not stage.sub("decisions").create(_NAME, to_parquet(first)):
        ledger = decided_already(stage) or ledger
    for name in set(stage.sub("decisions").names()) - set(decision_files(stage)):
        stage.sub("decisions").remove(name)  # of a driver that was killed, or came second
    return ledger


def decisions_for(stage: Folder, shard: int) -> pa.Table:
    """The decisions that concern one shard: ``id`` and the stage's own columns; page checksums are verified."""
    found: list[pa.Table] = []
    for number, file in enumerate((decided_already(stage) or {})["files"]):
        low, high = file["shards"]
        if low <= shard <= high or number == 0:
            where = stage.sub("decisions")
            with named(f"{where.url}/{file['name']}"), where.open(file["name"]) as opened:
                table = pq.read_table(opened, filters=[("shard", "==", shard)], page_checksum_verification=True)
            found.append(table.replace_schema_metadata(None))
    return pa.concat_tables(found).drop_columns(["shard"])


def decision_files(stage: Folder) -> list[str]:
    """Names of the files that hold a stage's decisions; [] before it has decided."""
    return [file["name"] for file in (decided_already(stage) or {"files": []})["files"]]
