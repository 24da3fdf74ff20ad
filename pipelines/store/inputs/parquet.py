"""Parquet files: columns keep their types, except that text is one kind of string everywhere.

Dictionary, large and view strings are read as plain strings, so that files that differ only in these go together.
Folders named ``key=value`` do not become columns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.errors import UserError
from pipelines.store.inputs.repair import as_type, valid_utf8
from pipelines.store.inputs.source import CHUNK_BYTES, CHUNK_ROWS, Chunk, Described, InputFile, open_bytes, reading

#: Bytes read at a time of each column; without it Arrow holds a row group's columns whole.
_BUFFER = 1 << 20


def describe(file: InputFile, limit: int | None) -> Described:
    """Columns, rows and row groups, from the footer alone."""
    with reading(file), open_bytes(file.path, ahead=False) as raw:
        opened = pq.ParquetFile(raw)
        names = opened.schema_arrow.names
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise UserError(f"input: {file.path} has two columns named {twice[0]!r}; rename one")
        groups = tuple(opened.metadata.row_group(i).num_rows for i in range(opened.num_row_groups))
        schema = pa.schema([(field.name, _plain(field.type)) for field in opened.schema_arrow])
        return Described(schema, opened.metadata.num_rows, groups)


def chunks(file: InputFile, schema: pa.Schema, text_column: str) -> Iterator[Chunk]:
    """Rows as tables of ``schema``; memory follows a chunk of rows, not the row group."""
    with reading(file), open_bytes(file.path, ahead=False) as raw:
        opened = pq.ParquetFile(raw, buffer_size=_BUFFER)
        for batch in opened.iter_batches(batch_size=_rows_at_a_time(opened.metadata)):
            yield Chunk(_conformed(file, pa.Table.from_batches([batch]), schema))


def _rows_at_a_time(footer: pq.FileMetaData) -> int:
    """As many rows as a chunk may hold, by the widest row group."""
    groups = [footer.row_group(i) for i in range(footer.num_row_groups)]
    widest = max((g.total_byte_size / g.num_rows for g in groups if g.num_rows), default=1.0)
    return max(1, min(CHUNK_ROWS, int(CHUNK_BYTES / max(widest, 1.0))))


def _conformed(file: InputFile, table: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = []
    for field in schema:
        if field.name not in table.column_names:
            columns.append(pa.nulls(table.num_rows, field.type))
            continue
        try:
            columns.append(valid_utf8(as_type(table[field.name], field.type)))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise UserError(
                f"input: column {field.name!r} of {file.path} does not fit {field.type}, its type over all files: "
                f"{error}; give the column one type in every file"
            ) from error
    return pa.table(columns, schema=schema)


def _plain(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind) or pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_plain(kind.value_type)))
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_plain(field.type)) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(_plain(kind.key_type), kind.item_field.with_type(_plain(kind.item_type)))
    return kind
