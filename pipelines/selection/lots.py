"""Who goes, drawn by lot from ids: the same rows in any order of the input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.buffers import bytes_of
from pipelines.dedup.found import Found


def ids_in(table: pa.Table) -> pa.Array:
    """The ids of a table's rows."""
    return table["id"].combine_chunks().cast(pa.large_string())


def by_lot(ids: pa.Array) -> NDArray[np.int64]:
    """Places in ``ids`` in the order of their hashes."""
    from pipelines.kernels import text_hashes

    return np.argsort(text_hashes(*bytes_of(ids)), kind="stable")


def turned_away(ids: pa.Array, gone: NDArray[np.int64], reason: str, **stats: Any) -> Found:
    """The decision that the rows at the places ``gone`` (ascending) go for ``reason``."""
    block = pa.table(
        {
            "row": pa.array(gone, pa.int64()),
            "id": ids.take(pa.array(gone)).cast(pa.string()),
            "reason": pa.repeat(reason, len(gone)),
        }
    )
    return Found([block], {"rows": len(ids), "removed": len(gone), **stats})
