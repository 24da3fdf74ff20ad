"""All texts of some files, wherever they stand: in columns of text, in lists, structs, maps and JSON.

``{question: "Which?", choices: ["iron", "wood"], messages: [{role: "user", content: "Hi"}]}`` holds the texts
``Which?``, ``iron``, ``wood``, ``user`` and ``Hi``; and each list of texts as one: ``iron wood``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.rows import digest
from pipelines.store.inputs.find import Listing
from pipelines.store.inputs.formats import FORMATS
from pipelines.store.inputs.repair import from_python
from pipelines.store.inputs.source import content_digest, reading

#: What a text begins with that may be JSON: a list or an object.
_JSON = r"^\s*[\[{]"


def digest_of(listing: Listing) -> str:
    """What the content of all the files is recognised by.

    Raises:
        UserError: a file cannot be read.
    """
    sums = []
    for file in listing.files:
        with reading(file):
            sums.append(file.digest or content_digest(file.path, file.size))
    return digest(*sums)


def holds_text(listing: Listing) -> bool:
    """Whether there is a text with a letter in it; reads until the first one."""
    return any(pc.any(pc.match_substring_regex(some, r"\p{L}")).as_py() for some in texts_of(listing))


def texts_of(listing: Listing) -> Iterator[pa.Array]:
    """The texts of all files, some at a time, in no order.

    Raises:
        UserError: a file cannot be read.
    """
    for file in listing.files:
        schema = FORMATS[listing.format].describe(file, None).schema
        columns = [field for field in schema if _may_hold_text(field.type)]
        if not columns:
            continue
        # No column is the text column here: in that one values that are no text would be faults.
        for chunk in FORMATS[listing.format].chunks(file, pa.schema(columns), ""):
            for column in chunk.table.columns:
                yield from _texts(column.combine_chunks())


def _may_hold_text(kind: pa.DataType) -> bool:
    if pa.types.is_nested(kind):
        return any(_may_hold_text(kind.field(place).type) for place in range(kind.num_fields))
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind))


def _texts(values: pa.Array) -> Iterator[pa.Array]:
    kind = values.type
    if pa.types.is_struct(kind):
        for inner in values.flatten():
            yield from _texts(inner)
    elif pa.types.is_map(kind):
        yield from _texts(values.keys)
        yield from _texts(values.items)
    elif pa.types.is_nested(kind) and hasattr(values, "flatten"):
        if pa.types.is_string(kind.value_type):
            yield pc.binary_join(values.cast(pa.list_(pa.string())), " ").drop_null()
        yield from _texts(values.flatten())
    elif _may_hold_text(kind):
        texts = values.cast(pa.string()).drop_null()
        parsed = pc.match_substring_regex(texts, _JSON)
        if not pc.any(parsed).as_py():
            yield texts
            return
        yield texts.filter(pc.invert(parsed))
        yield from_python([one for text in texts.filter(parsed).to_pylist() for one in _inside(text)])


def _inside(text: str) -> Iterator[str]:
    """The texts in a text that may be JSON; itself where it is none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        yield text
        return
    yield from _leaves(value)


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _leaves(inner)
    elif isinstance(value, list):
        if value and all(isinstance(inner, str) for inner in value):
            yield " ".join(value)
        for inner in value:
            yield from _leaves(inner)
