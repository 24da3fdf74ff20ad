"""JSON lines: one object a line, every column a string.

A value that is not a string is kept as its JSON; in the text column it rejects the row as ``not_text``. A line that is
not one JSON object is a row rejected as ``unreadable_line``. Blank lines are no rows. Python's parser is used because
it keeps integers of any length, which ids are made of.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from pipelines.errors import UserError
from pipelines.store.inputs.repair import from_python
from pipelines.store.inputs.source import Chunk, Described, InputFile, bounded, excerpt, open_text

#: More columns than this are values used as keys; each would be a column of the run.
MAX_COLUMNS = 1_000

_Faults = dict[int, tuple[str, str]]


def describe(file: InputFile, limit: int | None) -> Described:
    """The keys of all lines as first seen, and the number of lines; reads the file, or ``limit`` rows of it."""
    columns: dict[str, None] = {}
    known: set[str] = set()
    count = unreadable = 0
    first_fault = ""
    for rows, faults, _ in _parsed(file):
        for row in rows[: None if limit is None else limit - count]:
            if not known.issuperset(row):
                columns.update(dict.fromkeys(row))
                known.update(row)
        if len(columns) > MAX_COLUMNS:
            raise UserError(f"input: {file.path} has over {MAX_COLUMNS} different keys; give its objects a fixed set")
        count, unreadable = count + len(rows), unreadable + len(faults)
        first_fault = first_fault or next((detail for _, detail in faults.values()), "")
        if limit is not None and count > limit:
            break
    if count and unreadable == count:
        raise UserError(
            f"input: no line of {file.path} is a JSON object ({first_fault}); one object a line is read: "
            "convert a file with `jq -c . FILE`, an array with `jq -c '.[]' FILE`"
        )
    if from_python(list(columns)).to_pylist() != list(columns):
        raise UserError(f"input: {file.path} has a key with half of a surrogate pair (\\ud800 to \\udfff); rename it")
    schema = pa.schema([(name, pa.string()) for name in columns])
    return Described(schema, None if limit is not None and count > limit else count)


def chunks(file: InputFile, schema: pa.Schema, text_column: str) -> Iterator[Chunk]:
    """Rows as string columns; see the module for what becomes of other values and of bad lines."""
    for rows, faults, lines in _parsed(file):
        columns = []
        for name in schema.names:
            values = [row.get(name) for row in rows]
            if name == text_column:
                _fault_others(file, values, faults, lines)
            columns.append(_strings(values))
        yield Chunk(pa.table(columns, schema=schema), faults)


def _parsed(file: InputFile) -> Iterator[tuple[list[dict[str, Any]], _Faults, list[int]]]:
    """Rows, faults by place, and each row's line number, in bounded lists; a faulty row is ``{}``."""
    start = 1
    with open_text(file) as lines:
        for batch in bounded(lines, len):
            rows: list[dict[str, Any]] = []
            numbers: list[int] = []
            faults: _Faults = {}
            for number, line in enumerate(batch, start):
                if line.isspace():
                    continue
                row, fault = _object(line)
                if fault:
                    faults[len(rows)] = ("unreadable_line", f"{file.name}, line {number}: {fault}: {excerpt(line)}")
                rows.append(row)
                numbers.append(number)
            start += len(batch)
            if rows:
                yield rows, faults, numbers


def _object(line: str) -> tuple[dict[str, Any], str]:
    """The object on a line, or {} and what is wrong."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        return {}, str(error)
    return (row, "") if isinstance(row, dict) else ({}, "not an object")


def _fault_others(file: InputFile, values: list[Any], faults: _Faults, lines: list[int]) -> None:
    for place, value in enumerate(values):
        if value is not None and not isinstance(value, str):
            faults[place] = ("not_text", f"{file.name}, line {lines[place]}: not a string: {excerpt(_encoded(value))}")


def _strings(values: list[Any]) -> pa.Array:
    try:
        return from_python(values)
    except pa.ArrowTypeError:
        return from_python([v if v is None or isinstance(v, str) else _encoded(v) for v in values])


def _encoded(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
