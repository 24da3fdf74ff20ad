"""A dataset read once, in the form in which its rows are compared; kernels run on every CPU while it is read."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.buffers import bytes_of
from pipelines.dedup.found import Source
from pipelines.dedup.lsh.comparison import Comparison, Keys
from pipelines.dedup.lsh.shingles import ShingleSets
from pipelines.dedup.lsh.tonight import SLICES, Candidates
from pipelines.dedup.order import columns_read, refuse_repeats, scores_of
from pipelines.filters.text import strings

Ints = NDArray[np.int64]

#: Rows that one kernel call works on.
CHUNK = 32_768
#: Chunks by which the memory for all rows is estimated, and what it is over that which holds the rows.
_LOOKED_AT, _BESIDE = 4, 1.6


class TooLarge(Exception):
    """Memory does not hold what would be scanned; ``row_bytes`` is what a row takes."""

    def __init__(self, row_bytes: float) -> None:
        self.row_bytes = row_bytes


@dataclass
class Scanned:
    """A dataset as it is compared, in chunks in its order: ids, hashes of them, sets, keys of bands, scores.

    Rows are numbered in the order of the dataset.
    """

    ids: list[pa.Array]
    prints: list[Keys]
    sets: list[ShingleSets]
    band_keys: list[Keys]
    scores: list[NDArray[np.float64]]
    held: int = 0

    @property
    def rows(self) -> int:
        return sum(map(len, self.ids))

    @property
    def without_shingles(self) -> int:
        """Rows that are like nothing."""
        return int(sum((one.sizes == 0).sum() for one in self.sets))

    @property
    def row_bytes(self) -> float:
        """Bytes that deciding takes in memory for each row, about."""
        # Sorting the keys of some bands at a time, and what is known of the candidates.
        return _BESIDE * self.held / max(1, sum(map(len, self.prints)))

    def keys(self, band: int, first: int, last: int) -> tuple[Keys, Ints]:
        """The keys of one band, of all slices: what is in memory is looked through at once."""
        assert (first, last) == (0, SLICES)
        keys = np.concatenate([*(chunk[band] for chunk in self.band_keys), np.zeros(0, np.uint64)])
        return keys, np.arange(len(keys))

    def sketched(self, rows: Ints) -> list[tuple[ShingleSets, Keys]]:
        """The sets of some rows (ascending) and hashes of their ids, chunk by chunk: nothing is copied."""
        found: list[tuple[ShingleSets, Keys]] = []
        start = 0
        for prints, chunk in zip(self.prints, self.sets, strict=True):
            end = start + len(prints)
            inside = rows[np.searchsorted(rows, start) : np.searchsorted(rows, end)] - start
            found.append((ShingleSets(chunk.hashes, chunk.starts[inside], chunk.sizes[inside]), prints[inside]))
            start = end
        return found

    def fetched(self, rows: Ints) -> Candidates:
        """Some rows (ascending)."""
        from pipelines.dedup.lsh.sets import copied

        ids: list[pa.Array] = [pa.array([], pa.large_string())]
        sizes: list[Ints] = [np.zeros(0, np.int64)]
        hashes: list[Keys] = [np.zeros(0, np.uint64)]
        start = 0
        for named, chunk in zip(self.ids, self.sets, strict=True):
            end = start + len(named)
            inside = rows[np.searchsorted(rows, start) : np.searchsorted(rows, end)] - start
            ids.append(named.take(pa.array(inside)).cast(pa.large_string()))
            sizes.append(chunk.sizes[inside])
            hashes.append(copied(*chunk, inside))
            start = end
        each = np.concatenate(sizes)
        sets = ShingleSets(np.concatenate(hashes), np.cumsum(each) - each, each)
        scores = np.concatenate([*self.scores, np.zeros(0)])
        return Candidates(pa.concat_arrays(ids), sets, scores[rows] if len(scores) else scores)


def scan(
    dataset: Source,
    text_column: str,
    score_column: str | None,
    comparison: Comparison,
    pool: ThreadPoolExecutor,
    most: float = math.inf,
) -> Scanned:
    """Read a dataset once; a few chunks are under way at a time.

    Raises:
        UserError: an id is missing or occurs twice.
        TooLarge: by the first chunks, deciding over all rows would take ``most`` bytes or more.
    """
    from pipelines.kernels import text_hashes

    scanned = Scanned([], [], [], [], [])
    keyed = comparison.keyed()
    under_way: list[Future[tuple[Keys, ShingleSets, Keys]]] = []

    def done(ids: pa.Array, texts: pa.Array, groups: list[pa.Array]) -> tuple[Keys, ShingleSets, Keys]:
        return text_hashes(*bytes_of(ids)), *keyed(texts, groups)

    def settle(most_under_way: int) -> None:
        while len(under_way) > most_under_way:
            ids, sets, keys = under_way.pop(0).result()
            scanned.held += sum(array.nbytes for array in (scanned.ids[len(scanned.prints)], ids, *sets, keys))
            scanned.prints.append(ids)
            scanned.sets.append(sets)
            scanned.band_keys.append(keys)
            # Looked at again and again: later rows may be longer than the first.
            if scanned.row_bytes * dataset.rows >= most:
                raise TooLarge(scanned.row_bytes)

    for ids, texts, groups, scores in _chunks(dataset, text_column, score_column, comparison):
        scanned.ids.append(ids)
        scanned.scores.append(scores)
        under_way.append(pool.submit(done, ids, texts, groups))
        settle(0 if len(scanned.ids) <= _LOOKED_AT else 2 * pool._max_workers)
    settle(0)
    refuse_repeats(scanned.ids, scanned.prints)
    return scanned


def _chunks(
    dataset: Source, text_column: str, score_column: str | None, comparison: Comparison
) -> Iterator[tuple[pa.Array, pa.Array, list[pa.Array], NDArray[np.float64]]]:
    """Ids, texts, columns of groups (where rows are compared within some) and scores, CHUNK rows at a time."""
    keep, within = comparison.keep, comparison.within
    for table in dataset.batches(columns_read(text_column, keep, score_column, *within)):
        ids = strings(table, "id").cast(pa.string())
        texts = strings(table, text_column)
        groups = [strings(table, name) for name in within]
        scores = scores_of(table, text_column, keep, score_column)
        for start in range(0, len(ids), CHUNK):
            some = [group.slice(start, CHUNK) for group in groups]
            yield ids.slice(start, CHUNK), texts.slice(start, CHUNK), some, scores[start : start + CHUNK]
