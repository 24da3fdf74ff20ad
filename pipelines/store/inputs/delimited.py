"""CSV and TSV files with a header line, every column a string; quoted fields may hold line breaks.

A record that does not have the header's number of fields, or is quoted wrongly, is a row rejected as
``unreadable_line``. A quote that is never closed would swallow the rest of the file, so it is refused. An empty field
is an empty string.
"""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterator

import pyarrow as pa

from pipelines.errors import UserError
from pipelines.store.inputs.repair import from_python
from pipelines.store.inputs.source import COMPRESSED, Chunk, Described, InputFile, bounded, open_text

#: Longest field, in characters. Python's own default of 131,072 would refuse long texts.
MAX_FIELD = 256 << 20

#: A record and the number of its last line; a string in place of the fields says what is wrong with it.
_Record = tuple[list[str] | str, int]


def describe(file: InputFile, limit: int | None) -> Described:
    """The header's columns and the number of records; reads the file, or ``limit`` rows of it."""
    records = _records(file)
    header = _header(file, next(records, ([], 0))[0])
    count = 0
    for count, _ in enumerate(records, 1):  # noqa: B007 - the count is wanted after the loop
        if limit is not None and count > limit:
            break
    more = limit is not None and count > limit
    return Described(pa.schema([(name, pa.string()) for name in header]), None if more else count)


def chunks(file: InputFile, schema: pa.Schema, text_column: str) -> Iterator[Chunk]:
    """Rows as string columns in the order of ``schema``."""
    records = _records(file)
    header = _header(file, next(records, ([], 0))[0])
    for batch in bounded(records, lambda record: sum(map(len, record[0]))):
        faults: dict[int, tuple[str, str]] = {}
        rows: list[list[str] | list[None]] = []
        for fields, line in batch:
            fault = fields if isinstance(fields, str) else ""
            if not fault and len(fields) != len(header):
                fault = f"{len(fields)} fields, and the header has {len(header)}"
            if fault:
                faults[len(rows)] = ("unreadable_line", f"{file.name}, line {line}: {fault}")
            rows.append([None] * len(header) if fault or isinstance(fields, str) else fields)
        columns = dict(zip(header, zip(*rows, strict=True), strict=True))
        nothing = [None] * len(rows)
        arrays = [from_python(list(columns.get(name, nothing))) for name in schema.names]
        yield Chunk(pa.table(arrays, schema=schema), faults)


def _records(file: InputFile) -> Iterator[_Record]:
    """Records in order, blank lines left out; the header is the first."""
    stem, ending = os.path.splitext(file.path.lower())
    delimiter = "\t" if (os.path.splitext(stem)[1] if ending in COMPRESSED else ending) == ".tsv" else ","
    csv.field_size_limit(max(csv.field_size_limit(), MAX_FIELD))
    with open_text(file, newline="") as lines:
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        while True:
            start = reader.line_num + 1
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                if "end of data" in str(error) or "field limit" in str(error):
                    raise UserError(f"input: {file.path}, line {start}: a quote is never closed; close it") from error
                yield str(error), reader.line_num
                continue
            if fields:
                yield fields, reader.line_num


def _header(file: InputFile, fields: list[str] | str) -> list[str]:
    """Column names; a nameless column (pandas writes its index so) is called by its place."""
    if isinstance(fields, str):
        raise UserError(f"input: {file.path}: the header line cannot be read: {fields}")
    names = [name or f"column_{place}" for place, name in enumerate(fields, 1)]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UserError(f"input: {file.path} has two columns named {twice[0]!r}; rename one")
    return names
