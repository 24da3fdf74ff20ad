"""What a deduplication decides: which rows go, because of which row that stays.

A removed row looks like ``{id: "b", keeper_id: "a", cluster_id: "a", method: "minhash", similarity: 0.93,
via_id: "a", via_similarity: 0.93}``. Nothing here removes a row: a decision is written first and applied later.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa

#: One removed row. ``keeper_id`` stays in its place and names the cluster (``cluster_id``). ``similarity`` is to the
#: keeper, exact; through a chain of neighbours it may be below the threshold. ``via_id`` is the neighbour that tied
#: the row in: ``via_similarity`` was verified and is never below the threshold.
REMOVED = pa.schema(
    [
        ("id", pa.string()),
        ("keeper_id", pa.string()),
        ("cluster_id", pa.string()),
        ("method", pa.string()),
        ("similarity", pa.float64()),
        ("via_id", pa.string()),
        ("via_similarity", pa.float64()),
    ]
)


#: With the row's place in the dataset, counted from 0: so a decision finds its shard.
ROW_REMOVED = pa.schema([("row", pa.int64()), *REMOVED])
#: Rows of which ids are cast at once: a chunk of strings holds 2 GiB.
_CAST = 1 << 20


#: A segment of a standing index, or a part of one: its folder, its rows and its seal.
Segment = tuple[str, int, str]


class Source(Protocol):
    """Rows to look through: a ``store.dataset.Dataset``, or any tables."""

    @property
    def rows(self) -> int: ...

    @property
    def origin(self) -> str:
        """The run whose rows these are; a standing index leaves out what it knows of it."""

    def batches(self, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """One table a part, in order."""

    def cut(self, rows: int) -> Sequence[Source]:
        """The same rows in order, in datasets of whole parts, of about ``rows`` each."""


class Footprint(NamedTuple):
    """Bytes that a row takes: in memory while it is decided about, and in a segment of an index if it is kept."""

    in_memory: float
    in_index: float


@dataclass(frozen=True)
class Found:
    """Decisions of one deduplication; every row that is not named stays.

    ``blocks`` are tables of the schema ROW_REMOVED; all rows of one come before all of the next. ``stats`` are plain
    JSON values; ``rows`` and ``removed`` are among them.
    """

    blocks: Iterable[pa.Table]
    stats: dict[str, Any]

    @property
    def removed(self) -> pa.Table:
        """All of them in order of id, with the schema REMOVED."""
        tables = [ROW_REMOVED.empty_table(), *self.blocks]
        return pa.concat_tables(tables).select(REMOVED.names).sort_by("id").combine_chunks()


def removed_table(
    rows: Any, ids: pa.Array, gone: Any, keepers: Any, method: str, similarity: Any, vias: Any, via_similarity: Any
) -> pa.Table:
    """The table of removed rows (ROW_REMOVED), in order of row.

    ``rows`` are their places in the dataset; ``gone``, ``keepers`` and ``vias`` (numpy arrays) are places in ``ids``.
    """
    order = np.argsort(rows, kind="stable")
    keeper_ids = _taken(ids, keepers[order])
    return pa.table(
        {
            "row": pa.array(rows[order], pa.int64()),
            "id": _taken(ids, gone[order]),
            "keeper_id": keeper_ids,
            "cluster_id": keeper_ids,
            "method": pa.repeat(method, len(order)),
            "similarity": pa.array(similarity[order], pa.float64()),
            "via_id": _taken(ids, vias[order]),
            "via_similarity": pa.array(via_similarity[order], pa.float64()),
        },
        schema=ROW_REMOVED,
    )


def _taken(ids: pa.Array, places: Any) -> pa.ChunkedArray:
    chunks = [ids.take(pa.array(places[at : at + _CAST])).cast(pa.string()) for at in range(0, len(places), _CAST)]
    return pa.chunked_array(chunks, pa.string())
