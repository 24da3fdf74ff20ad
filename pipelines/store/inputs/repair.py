"""Make every text valid UTF-8, and nothing else.

Bytes that are not UTF-8 become U+FFFD. All other characters pass unchanged: emoji, right-to-left marks, template and
chat markup, and NUL, which Parquet, JSON, Jinja and tokenizers carry without harm.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc


def valid_utf8(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column, with invalid UTF-8 in its strings (also inside lists and structs) replaced by U+FFFD."""
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        return pa.chunked_array([_repaired(chunk) for chunk in column.chunks], column.type)
    return column


def from_python(values: list[str | None]) -> pa.Array:
    """A string array; halves of surrogate pairs, which JSON can spell and UTF-8 cannot, become U+FFFD."""
    try:
        return pa.array(values, pa.string())
    except UnicodeEncodeError:
        whole = [None if v is None else v.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for v in values]
        return pa.array(whole, pa.string())


def as_type(column: pa.ChunkedArray, to: pa.DataType) -> pa.ChunkedArray:
    """The column cast to ``to`` without losing values; strings may leave it invalid (see ``valid_utf8``)."""
    return pc.cast(column, options=pc.CastOptions(target_type=to, allow_invalid_utf8=True))


def _repaired(array: pa.Array) -> pa.Array:
    raw = array.cast(_bytes_for_strings(array.type)).to_pylist()
    return pa.array([_decoded(value, array.type) for value in raw], array.type)


def _bytes_for_strings(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_string(kind):
        return pa.binary()
    if pa.types.is_large_string(kind):
        return pa.large_binary()
    if pa.types.is_list(kind):
        return pa.list_(_bytes_for_strings(kind.value_type))
    if pa.types.is_large_list(kind):
        return pa.large_list(_bytes_for_strings(kind.value_type))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_bytes_for_strings(kind.value_type), kind.list_size)
    if pa.types.is_map(kind):
        return pa.map_(_bytes_for_strings(kind.key_type), _bytes_for_strings(kind.item_type))
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_bytes_for_strings(field.type)) for field in kind])
    return kind


def _decoded(value: Any, kind: pa.DataType) -> Any:
    if value is None:
        return None
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return value.decode("utf-8", "replace")
    if pa.types.is_map(kind):
        return [(_decoded(key, kind.key_type), _decoded(item, kind.item_type)) for key, item in value]
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return [_decoded(item, kind.value_type) for item in value]
    if pa.types.is_struct(kind):
        return {field.name: _decoded(value[field.name], field.type) for field in kind}
    return value
