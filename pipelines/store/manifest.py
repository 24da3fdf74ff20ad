"""The manifest: a run's input as it was when the run first started, so that a changed input is noticed and named.

In ``manifest.json`` it looks like ``{"files": [{"path": "/data/seeds.parquet", "size": 18213, "digest": "blake2b:...",
"rows": 2600, ...}], "format": "parquet", "columns": {"text": "string"}, "text_column": "text", ...}``. A file that was
only touched is the same file. What is wrong with an input is said here, before any model is loaded.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from pipelines.rows import digest
from pipelines.store.inputs.source import InputFile

#: A shard of rows that ask no model: its bytes in memory, what those are of a file's, and its bounds in rows.
_BULK_BYTES, _UNPACKED, _LEAST_BULK, _MOST_BULK = 32 << 20, 3, 1024, 131_072


@dataclass(frozen=True)
class Manifest:
    """A frozen input.

    Attributes:
        files: in the order their rows are read.
        format: parquet, jsonl, csv or text.
        schema: the columns of every row, by their names in the files; the text column is a string.
        rows: input rows, ``limit`` applied.
        ignored: files found beside the input that no format reads.
        text_column, id_column, id_columns, limit: as configured; ``id_columns`` are what ids hash (None: the text).
        limit_by: what ``limit`` counts by, where it does not count rows: see ``taken``.
    """

    files: tuple[InputFile, ...]
    format: str
    schema: pa.Schema
    rows: int
    text_column: str
    id_column: str | None = None
    limit: int | None = None
    id_columns: tuple[str, ...] | None = None
    ignored: tuple[str, ...] = ()
    limit_by: Mapping[str, Any] | None = None

    @property
    def fingerprint(self) -> str:
        """What the rows and their ids depend on: contents and settings, not where the files lie."""
        contents = [(file.size, file.digest) for file in self.files]
        columns = {field.name: str(field.type) for field in self.schema}
        by = () if self.limit_by is None else (self.limit_by,)
        known = (self.text_column, self.id_column, self.id_columns, self.limit, *by)
        return digest(contents, self.format, columns, *known)

    @property
    def bulk_rows(self) -> int:
        """Rows that about 32 MiB of the input hold: a good shard for work that asks no model."""
        size = sum(file.size for file in self.files if file.rows)
        # Compressed columns take about three times as much once they are read.
        return max(_LEAST_BULK, min(_MOST_BULK, _BULK_BYTES * self.rows // max(1, _UNPACKED * size)))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; ``columns`` is for people, ``arrow_schema`` for ``from_json``."""
        return {
            "format": self.format,
            "text_column": self.text_column,
            "id_column": self.id_column,
            "id_columns": self.id_columns and list(self.id_columns),
            "limit": self.limit,
            "limit_by": self.limit_by,
            "rows": self.rows,
            "columns": {field.name: str(field.type) for field in self.schema},
            "files": [{**asdict(file), "row_groups": list(file.row_groups)} for file in self.files],
            "ignored": list(self.ignored),
            "arrow_schema": base64.b64encode(self.schema.serialize().to_pybytes()).decode("ascii"),
        }

    @staticmethod
    def from_json(plain: dict[str, Any]) -> Manifest:
        """The manifest that ``to_json`` gave."""
        return Manifest(
            files=tuple(InputFile(**{**file, "row_groups": tuple(file["row_groups"])}) for file in plain["files"]),
            format=plain["format"],
            schema=pa.ipc.read_schema(pa.py_buffer(base64.b64decode(plain["arrow_schema"]))),
            rows=plain["rows"],
            text_column=plain["text_column"],
            id_column=plain["id_column"],
            limit=plain["limit"],
            limit_by=plain["limit_by"],
            id_columns=plain["id_columns"] and tuple(plain["id_columns"]),
            ignored=tuple(plain["ignored"]),
        )
