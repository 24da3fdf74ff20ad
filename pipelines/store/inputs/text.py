"""Text files: each is one row with the columns ``text`` (the whole file) and ``path`` (below the folder or glob)."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from pipelines.store.inputs.repair import from_python
from pipelines.store.inputs.source import Chunk, Described, InputFile, open_text

_SCHEMA = pa.schema([("text", pa.string()), ("path", pa.string())])


def describe(file: InputFile, limit: int | None) -> Described:
    """One row; nothing is read."""
    return Described(_SCHEMA, 1)


def chunks(file: InputFile, schema: pa.Schema, text_column: str) -> Iterator[Chunk]:
    """The file's one row."""
    with open_text(file, newline="") as opened:
        whole = {"text": opened.read(), "path": file.name}
    yield Chunk(pa.table([from_python([whole[name]]) for name in schema.names], schema=schema))
