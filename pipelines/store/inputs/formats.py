"""Which endings are read, and by whom. Each format is a module with two functions: describe a file, read its chunks."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Protocol

import pyarrow as pa

from pipelines.store.inputs import delimited, jsonl, parquet, text
from pipelines.store.inputs.source import COMPRESSED, Chunk, Described, InputFile


class Format(Protocol):
    """What reads one kind of file."""

    def describe(self, file: InputFile, limit: int | None) -> Described:
        """Columns and rows of a file; no more than ``limit`` rows are looked at where that saves reading."""

    def chunks(self, file: InputFile, schema: pa.Schema, text_column: str) -> Iterator[Chunk]:
        """The rows of a file in order, as tables of ``schema``; columns that the file lacks are null."""


FORMATS: Mapping[str, Format] = {"parquet": parquet, "jsonl": jsonl, "csv": delimited, "text": text}

_ENDINGS = {
    ".parquet": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "text",
    ".md": "text",
}

#: The endings that are read, in words.
SUPPORTED = (
    ".parquet; .jsonl, .ndjson and .json (one object a line), .csv, .tsv, all five also .gz and .zst; "
    ".txt and .md (one row a file)"
)


def format_of(path: str) -> str | None:
    """The format that the ending of ``path`` stands for, or None."""
    stem, ending = os.path.splitext(path.lower())
    if ending in COMPRESSED:
        inner = _ENDINGS.get(os.path.splitext(stem)[1])
        return inner if inner in ("jsonl", "csv") else None
    return _ENDINGS.get(ending)
