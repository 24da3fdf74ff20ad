"""Two streams of tables held against each other, a table of each in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import pyarrow as pa

from pipelines.rows import python_rows


def compared(shown: Iterator[pa.Table], wanted: Iterator[pa.Table]) -> tuple[int, int, bool]:
    """Rows of two streams of tables, and whether they are equal in every column of the first; a table each is held."""
    counts, same = [0, 0], True
    left, right = _counted(shown, counts, 0), _counted(wanted, counts, 1)
    ours, theirs = next(left, None), next(right, None)
    while ours is not None and theirs is not None:
        rows = min(ours.num_rows, theirs.num_rows)
        same = same and _same(ours.slice(0, rows), theirs.slice(0, rows))
        ours = ours.slice(rows) if ours.num_rows > rows else next(left, None)
        theirs = theirs.slice(rows) if theirs.num_rows > rows else next(right, None)
    deque(left, maxlen=0)
    deque(right, maxlen=0)
    return counts[0], counts[1], same and counts[0] == counts[1]


def _counted(tables: Iterator[pa.Table], counts: list[int], side: int) -> Iterator[pa.Table]:
    """The tables that have rows, which are added up in ``counts[side]``."""
    for table in tables:
        counts[side] += table.num_rows
        if table.num_rows:
            yield table.replace_schema_metadata(None)


def _same(ours: pa.Table, theirs: pa.Table) -> bool:
    """Whether every column of ``ours`` is in ``theirs``, with equal values."""
    if not set(ours.column_names) <= set(theirs.column_names):
        return False
    theirs = theirs.select(ours.column_names)
    # To Arrow a NaN is not itself; written out it is.
    return bool(ours.equals(theirs)) or str(python_rows(ours)) == str(python_rows(theirs))
