"""At most so many rows of a stage: which ones is drawn by lot, from their ids."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from pipelines.dedup.found import Found, Source
from pipelines.selection.lots import by_lot, ids_in, turned_away


def most(dataset: Source, *, rows: int | None, reason: str, alike: Sequence[Source] = ()) -> Found:
    """Let ``rows`` rows stay (None: all), and turn the others away for ``reason``.

    Those that the same stages kept in earlier rounds (``alike``) are among the ``rows``.

    Those with the lowest hashes of their ids stay: the same ones in any order of the input, and of any size of it.
    """
    ids = pa.concat_arrays([pa.array([], pa.large_string()), *map(ids_in, dataset.batches(["id"]))])
    stays = len(ids) if rows is None else max(0, min(rows - sum(one.rows for one in alike), len(ids)))
    return turned_away(ids, np.sort(by_lot(ids)[stays:]), reason)
