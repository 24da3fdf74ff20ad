"""At most so many rows of a stage: which ones is drawn by lot, from their ids."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from pipelines.buffers import bytes_of
from pipelines.dedup.found import Found, Source


def most(dataset: Source, *, rows: int | None, reason: str) -> Found:
    """Let ``rows`` rows stay (None: all), and turn the others away for ``reason``.

    Those with the lowest hashes of their ids stay: the same ones in any order of the input, and of any size of it.
    """
    from pipelines.kernels import text_hashes

    ids = pa.concat_arrays([pa.array([], pa.large_string())] + [_ids(table) for table in dataset.batches(["id"])])
    stays = len(ids) if rows is None else min(rows, len(ids))
    order = np.argsort(text_hashes(*bytes_of(ids)), kind="stable")
    gone = np.sort(order[stays:])
    block = pa.table(
        {
            "row": pa.array(gone, pa.int64()),
            "id": ids.take(pa.array(gone)).cast(pa.string()),
            "reason": pa.repeat(reason, len(gone)),
        }
    )
    return Found([block], {"rows": len(ids), "removed": len(gone)})


def _ids(table: pa.Table) -> pa.Array:
    return table["id"].combine_chunks().cast(pa.large_string())
