"""Rows to look through: any tables in memory, in parts."""

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pytest


class Rows:
    """A dataset of the rows given, cut into parts of three."""

    def __init__(self, table: pa.Table, origin: str = "memory") -> None:
        self.table, self.origin = table, origin

    @property
    def rows(self) -> int:
        return len(self.table)

    def cut(self, rows: int) -> "list[Rows]":
        return [Rows(self.table.slice(at, rows), self.origin) for at in range(0, max(1, len(self.table)), rows)]

    @property
    def files(self) -> list[str]:
        return [f"memory/part-{i:05d}" for i, _ in enumerate(self.batches())]

    def batches(self, columns: list[str] | None = None) -> Iterator[pa.Table]:
        # Like Parquet, leave out columns that are not there.
        table = self.table.select([c for c in self.table.column_names if columns is None or c in columns])
        size = max(3, len(table) // 7)
        for start in range(0, len(table), size):
            yield table.slice(start, size)


def rows(texts: Sequence[str | None], ids: Sequence[str] | None = None) -> Rows:
    named = [f"{i:06d}" for i in range(len(texts))] if ids is None else ids
    return Rows(pa.table({"id": pa.array(named, pa.string()), "text": pa.array(texts, pa.string())}))


@pytest.fixture(scope="session")
def flipped():
    """A file's content with a bit in its middle turned over."""

    def made(content: bytes) -> bytes:
        middle = len(content) // 2
        return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]

    return made


@pytest.fixture(name="rows", scope="session")
def rows_fixture():
    return rows
