"""What a deduplication decides: which rows go, because of which row that stays.

A removed row looks like ``{id: "b", keeper_id: "a", cluster_id: "a", method: "minhash", similarity: 0.93,
via_id: "a", via_similarity: 0.93}``. Nothing here removes a row: a decision is written first and applied later.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

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


class Source(Protocol):
    """Rows to look through: a ``store.dataset.Dataset``, or any tables."""

    @property
    def origin(self) -> str:
        """The run whose rows these are; a standing index leaves out what it knows of it."""

    def batches(self, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """One table a part, in order."""


@dataclass(frozen=True)
class Found:
    """Decisions of one deduplication: ``removed`` has the schema REMOVED, in order of id; every other row stays.

    ``stats`` are plain JSON values; ``rows`` and ``removed`` are among them.
    """

    removed: pa.Table
    stats: dict[str, Any]


def removed_table(
    ids: pa.Array, rows: Any, keepers: Any, method: str, similarity: Any, vias: Any, via_similarity: Any
) -> pa.Table:
    """The table of removed rows, from integer positions (numpy arrays) into ``ids``."""
    keeper_ids = ids.take(pa.array(keepers))
    return pa.table(
        {
            "id": ids.take(pa.array(rows)),
            "keeper_id": keeper_ids,
            "cluster_id": keeper_ids,
            "method": pa.array([method]).take(pa.array(keepers * 0)),
            "similarity": pa.array(similarity, pa.float64()),
            "via_id": ids.take(pa.array(vias)),
            "via_similarity": pa.array(via_similarity, pa.float64()),
        },
        schema=REMOVED,
    )
