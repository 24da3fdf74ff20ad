"""A dataset read once, in the form in which its rows are compared; kernels run on every CPU while it is read."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.dedup.comparison import Comparison, Keys
from pipelines.dedup.found import Source
from pipelines.dedup.order import columns_read, refuse_repeats, scores_of
from pipelines.dedup.shingles import ShingleSets, bytes_of
from pipelines.filters.text import strings

#: Rows that one kernel call works on.
CHUNK = 32_768


@dataclass
class Scanned:
    """A dataset as it is compared, in chunks in its order: ids, hashes of them, shingle sets, keys of bands, scores."""

    ids: list[pa.Array]
    prints: list[Keys]
    sets: list[ShingleSets]
    keys: list[Keys]
    scores: list[NDArray[np.float64]]

    @property
    def rows(self) -> int:
        return sum(map(len, self.ids))


def scan(
    dataset: Source, text_column: str, score_column: str | None, comparison: Comparison, pool: ThreadPoolExecutor
) -> Scanned:
    """Read a dataset once; a few chunks are under way at a time."""
    from pipelines.dedup.pieces import text_hashes

    scanned = Scanned([], [], [], [], [])
    keyed = comparison.keyed()
    under_way: list[Future[tuple[Keys, ShingleSets, Keys]]] = []

    def done(ids: pa.Array, texts: pa.Array) -> tuple[Keys, ShingleSets, Keys]:
        return text_hashes(*bytes_of(ids)), *keyed(texts)

    def settle(most: int) -> None:
        while len(under_way) > most:
            prints, sets, keys = under_way.pop(0).result()
            scanned.prints.append(prints)
            scanned.sets.append(sets)
            scanned.keys.append(keys)

    for ids, texts, scores in _chunks(dataset, text_column, score_column, comparison.keep):
        scanned.ids.append(ids)
        scanned.scores.append(scores)
        under_way.append(pool.submit(done, ids, texts))
        settle(2 * pool._max_workers)
    settle(0)
    refuse_repeats(scanned.ids, scanned.prints)
    return scanned


def _chunks(
    dataset: Source, text_column: str, score_column: str | None, keep: str
) -> Iterator[tuple[pa.Array, pa.Array, NDArray[np.float64]]]:
    """Ids, texts and scores, CHUNK rows at a time."""
    for table in dataset.batches(columns_read(text_column, keep, score_column)):
        ids = strings(table, "id").cast(pa.string())
        texts = strings(table, text_column)
        scores = scores_of(table, text_column, keep, score_column)
        for start in range(0, len(ids), CHUNK):
            yield ids.slice(start, CHUNK), texts.slice(start, CHUNK), scores[start : start + CHUNK]
