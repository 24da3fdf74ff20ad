"""Vectors that were made before, as a dataset of their own, and the rows that they belong to: matched by id.

A table of them is ``id`` and ``vector`` (null where the text is blank); ``embeddings.vectors`` makes one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.dedup.found import Source
from pipelines.dedup.vectors.matrix import Floats, zeros
from pipelines.errors import Damaged

Ints = NDArray[np.int64]


class Encoded(Source, Protocol):
    """Tables of vectors."""

    @property
    def files(self) -> Sequence[str]:
        """Where each table lies, for messages."""


def places(encoded: Encoded, ids: pa.Array) -> list[Ints]:
    """For each table of ``encoded``, where its rows stand among ``ids`` (unique); -1 for one that is not there.

    Raises:
        Damaged: two vectors of one row.
    """
    names = [table["id"].combine_chunks() for table in encoded.batches(["id"])]
    if not names:
        return []
    # All at once: what looks an id up is made anew with every call.
    found = pc.fill_null(pc.index_in(pa.chunked_array(names, pa.string()).cast(pa.large_string()), value_set=ids), -1)
    every = found.to_numpy().astype(np.int64)
    ends = np.cumsum([len(name) for name in names])
    here = np.flatnonzero(every >= 0)
    _, first = np.unique(every[here], return_index=True)
    if len(first) < len(here):
        again = np.delete(here, first)[0]
        raise Damaged(_strange(encoded, int(np.searchsorted(ends, again, "right")), ids[every[again]], "again"))
    return np.split(every, ends[:-1])


def refuse_strangers(encoded: Encoded, found: Sequence[Ints], ids: pa.Array) -> None:
    """Damaged where ``places`` found that the vectors are not those of the rows ``ids``, all of them and no others."""
    there = np.zeros(len(ids), bool)
    for number, one in enumerate(found):
        if (one < 0).any():
            names = next(table for at, table in enumerate(encoded.batches(["id"])) if at == number)["id"]
            raise Damaged(_strange(encoded, number, names[int(np.argmax(one < 0))], "which the stage has not read"))
        there[one] = True
    if not there.all():
        missing = ids[int(np.argmin(there))].as_py()
        where = encoded.files[0].rpartition("/")[0] if encoded.files else encoded.origin
        raise Damaged(f"{where} has no vector of row {missing!r}; {_MEND}")


def matrix(tables: Iterable[pa.Table], found: Sequence[Ints], count: int) -> tuple[Floats, NDArray[np.bool_]]:
    """The vectors of ``count`` rows, each in its place, and which rows have one.

    Raises:
        ValueError: the vectors are not all of one length.
    """
    every, worded = np.zeros((count, 1), np.float32), np.zeros(count, bool)
    for table, at in zip(tables, found, strict=True):
        there, values = numbers(table)
        if not len(values):
            continue
        if not worded.any():
            every = zeros(count, values.shape[1])
        elif every.shape[1] != values.shape[1]:
            raise ValueError(f"vectors of {every.shape[1]} numbers and of {values.shape[1]}, of two encoders perhaps")
        every[at[there]] = values
        worded[at[there]] = True
    return every, worded


def numbers(table: pa.Table) -> tuple[Ints, Floats]:
    """Which rows of a table of vectors have one, and those, shape (rows, dimensions)."""
    column = table["vector"].combine_chunks()
    there = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
    width = column.type.list_size
    values = column.values.to_numpy().reshape(-1, width)[column.offset : column.offset + len(column)]
    return there, values[there]


_MEND = "delete the folder of vectors, and the same command makes them again"


def _strange(encoded: Encoded, number: int, name: pa.Scalar, what: str) -> str:
    return f"{encoded.files[number]} has a vector of row {name.as_py()!r} {what}; {_MEND}"
