"""Parts that this process has committed a moment ago, still in memory: the next stage need not read them again.

Only a process that asks for it (``up_to``) holds any. A part is let go when its rows are handed out as a shard, and one
for which there is no room is read from its file, as everything is after a restart: what is held changes no result.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pyarrow as pa

_tables: dict[tuple[str, int], pa.Table] = {}
_lock = threading.Lock()
_most = 0.0


def up_to(most: float) -> None:
    """Hold parts of at most so many bytes together, from now on."""
    global _most
    _most = most


def hold(stage: str, part: int, table: pa.Table, as_read: pa.Schema) -> None:
    """Hold a part of a stage (its URL) if there is room, and if it would be read as it is."""
    table = table.replace_schema_metadata(None)
    if not table.schema.equals(as_read.remove_metadata()):
        return  # Parquet has no such type, and gives back another
    with _lock:
        if sum(one.nbytes for one in _tables.values()) + table.nbytes <= _most:
            _tables[stage, part] = table


def held(stage: str, part: int, columns: Sequence[str] | None) -> pa.Table | None:
    """A part (or some of its columns), or None where it is not held."""
    table = _tables.get((stage, part))
    if table is None or columns is None:
        return table
    return table.select([name for name in columns if name in table.column_names])


def forget(stage: str, *parts: int) -> None:
    """Let go of some parts."""
    with _lock:
        for part in parts:
            _tables.pop((stage, part), None)
