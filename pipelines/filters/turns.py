"""What is said in conversations that stand in a column as JSON: ``[{"role": "user", "content": "Hi"}, ...]``."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.buffers import bytes_of
from pipelines.errors import UserError
from pipelines.filters.text import strings

_TURNS = pa.schema([("turns", pa.list_(pa.struct([("content", pa.string())])))])

#: Bytes that are parsed at a time, if no line is longer.
_BLOCK = 16 << 20


def said(table: pa.Table, column: str) -> tuple[pa.Array, NDArray[np.int64]]:
    """The texts of all turns of a column of conversations, and the place of each one's row; compiled.

    Raises:
        UserError: the table has no such column, or a row holds something else there.
    """
    from pyarrow import json

    # White space between values; in a text of JSON line breaks are spelled out.
    turns = pc.replace_substring_regex(pc.fill_null(strings(table, column), "null"), r"[\r\n]", " ")
    if not len(turns):
        return pa.array([], pa.string()), np.zeros(0, np.int64)
    before, after, none = (pa.scalar(text, pa.large_string()) for text in ('{"turns":', "}\n", ""))
    whole, bounds = bytes_of(pc.binary_join_element_wise(before, turns.cast(pa.large_string()), after, none))
    longest = int(np.diff(bounds).max())
    try:
        read = json.read_json(
            pa.BufferReader(pa.py_buffer(whole)),
            read_options=json.ReadOptions(block_size=max(_BLOCK, longest), use_threads=False),
            parse_options=json.ParseOptions(explicit_schema=_TURNS, unexpected_field_behavior="ignore"),
        )
    except pa.ArrowInvalid as error:
        raise UserError(
            f"column {column!r} is to be read as conversations, each a JSON list of {{role, content}}: {error}; name "
            "another column"
        ) from error
    lists = read["turns"].combine_chunks()
    rows = np.repeat(np.arange(len(lists)), pc.fill_null(pc.list_value_length(lists), 0).to_numpy())
    return lists.flatten().field("content"), rows
