"""The sample of a run's rows that diversity is measured on: their texts, and the vectors that a dedup made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.report.diversity import SAMPLE, diversity
from pipelines.store.dataset import committed, read_part
from pipelines.store.files import Folder, folder

#: Parts that rows are sampled from, of each dataset.
PARTS = 16


def diversity_of(kept: Sequence[tuple[str, Mapping[int, int]]], column: str, vectors: Sequence[str]) -> dict[str, Any]:
    """Figures of about SAMPLE of a run's rows.

    Args:
        kept: directories with the rows, and the rows of each part.
        column: their text.
        vectors: directories with vectors of them, of length 1; where there are any, rows are sampled among these.
    """
    parts = [(folder(url), part) for url, counts in kept for part, rows in counts.items() if rows]
    made = [(place, part) for place in map(folder, vectors) for part in committed(place)]
    table = _vectors(_spread(made), parts) if made and parts else None
    if table is None or not table.num_rows:  # none were made, or of rows that a later flow turned into others
        texts = _texts(_spread(parts), column, None)
        some = evenly(len(texts), SAMPLE)
        return {"column": column, **diversity(texts.take(pa.array(some)).to_pylist(), None)}
    table = table.take(pa.array(evenly(table.num_rows, SAMPLE)))
    ids = table["id"].combine_chunks()
    texts = _texts(parts, column, ids)
    values = table["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return {"column": column, **diversity(texts.to_pylist(), values.reshape(len(ids), -1))}


def _vectors(made: Sequence[tuple[Folder, int]], parts: Sequence[tuple[Folder, int]]) -> pa.Table:
    """Ids and vectors in some parts of vectors, of the rows that are in ``parts``."""
    everyone = pa.concat_arrays([_ids(place, part) for place, part in parts])
    table = pa.concat_tables([read_part(place, part, ["id", "vector"]) for place, part in made])
    return table.filter(pc.and_(pc.is_in(table["id"], value_set=everyone), pc.is_valid(table["vector"])))


def _spread(parts: Sequence[tuple[Folder, int]]) -> list[tuple[Folder, int]]:
    return [parts[place] for place in evenly(len(parts), PARTS)]


def evenly(count: int, wanted: int) -> NDArray[np.int64]:
    """At most ``wanted`` of the places 0 to ``count - 1``, evenly apart."""
    return np.linspace(0, count - 1, min(count, wanted)).round().astype(np.int64)


def _ids(place: Folder, part: int) -> pa.Array:
    return read_part(place, part, ["id"])["id"].combine_chunks()


def _texts(parts: Sequence[tuple[Folder, int]], column: str, ids: pa.Array | None) -> pa.Array:
    """Texts of rows; of those with ``ids``, if given."""
    found = [pa.array([], pa.string())]
    for place, part in parts:
        table = read_part(place, part, ["id", column])
        if ids is not None:
            table = table.filter(pc.is_in(table["id"], value_set=ids))
        found.append(pc.fill_null(table[column].combine_chunks().cast(pa.string()), ""))
    return pa.concat_arrays(found)
