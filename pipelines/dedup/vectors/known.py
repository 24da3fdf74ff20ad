"""Tonight's rows against the vectors that earlier runs kept: one pass over the index, a part of it in memory at a time.

Few rows are compared with everything. Beyond that a row looks only into the cells of a part that it is nearest to; how
many those must be is measured on a sample of tonight's rows, and what was missed on another.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from pipelines.dedup.found import Segment
from pipelines.dedup.vectors.cells import EXACT_ROWS, MOST_CELLS, SAMPLED, WANTED, by_cell, nearest
from pipelines.dedup.vectors.search import AGAINST, BLOCK, first_close
from pipelines.dedup.vectors.segment import Part, ids_of, read
from pipelines.errors import UserError
from pipelines.store.files import folder

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Known:
    """Rows of tonight that go, ascending; for each the row of the index, by its place in ``ids``, and their cosine."""

    rows: Ints
    keepers: Ints
    cosines: NDArray[np.float64]
    ids: pa.Array
    stats: dict[str, object]


@dataclass
class _Found:
    """For each of tonight's rows the first row of the index that is too close: its part (-1: none), place and rank."""

    part: Ints
    place: Ints
    rank: Ints
    cosine: NDArray[np.float64]


def known(vectors: Floats, segments: Sequence[Segment], threshold: float) -> Known:
    """Look for rows that an earlier run kept; of several that are too close, the earliest run's first by id.

    Args:
        vectors: tonight's, with a direction each.
        segments: parts of a standing index, earlier runs first, or of what this run kept before: folder, rows, seal.
        threshold: cosine.

    Raises:
        UserError: the index holds vectors of other dimensions.
        Damaged: a file of the index is missing, or not as it was written.
    """
    none = np.full(len(vectors), -1, np.int64)
    found = _Found(none, none.copy(), none.copy(), np.zeros(len(vectors)))
    rows = sum(count for _, count, _ in segments)
    # With so few rows, the samples are as many.
    exact = len(vectors) * rows <= EXACT_ROWS**2 or len(vectors) <= 2 * SAMPLED
    measured = None if exact else _Measured(len(vectors))
    bytes_read, run, asked = 0, "", np.arange(len(vectors))
    # Ray gives a process that reserves one CPU one thread.
    with threadpool_limits(len(os.sched_getaffinity(0))):
        for number, part in enumerate(_parts(segments)):
            if run != (its := segments[number][0].rpartition("/")[0]):
                # The rows of an earlier run come first: what one of them repeats is decided.
                run, asked = its, np.flatnonzero(found.part < 0)
            bytes_read += part.size
            if len(part.vectors) and len(asked):
                _refuse_width(segments[number][0], part, vectors)
                _look(vectors, asked, number, part, threshold, found, measured)
    gone = np.flatnonzero(found.part >= 0)
    ids, keepers, more = _ids(segments, found.part[gone], found.place[gone])
    stats = {
        "rows": rows,
        "removed": len(gone),
        "bytes_read": bytes_read + more,
        **({"search": "exact", "recall": 1.0} if measured is None else measured.stats(found)),
    }
    return Known(gone, keepers, found.cosine[gone], ids, stats)


class _Measured:
    """What samples of tonight's rows say of the cells: how many must be looked into, and what was missed."""

    def __init__(self, count: int) -> None:
        half = count // (2 * SAMPLED)
        self._chosen_by = np.linspace(0, count - 1, SAMPLED).round().astype(np.int64)
        self._checked = np.linspace(half, count - 1 - half, SAMPLED).round().astype(np.int64)
        self._close = np.zeros(len(self._checked), bool)
        self._seen_at = np.zeros(MOST_CELLS, np.int64)
        self._rows = 0
        self._most = 0

    def look(self, vectors: Floats, part: Part, threshold: float, found: _Found) -> int:
        """Compare the samples with a whole part; how many cells of it a row must look into."""
        sample = self._chosen_by[found.part[self._chosen_by] < 0]
        near = _close_cells(vectors[sample], part, threshold)
        order = nearest(vectors[sample], part.middles, MOST_CELLS) if len(sample) else np.zeros((0, 1), np.int32)
        at = np.take_along_axis(near, order, axis=1)
        self._seen_at += np.bincount(at.argmax(axis=1)[at.any(axis=1)], minlength=MOST_CELLS)
        self._rows += int(near.any(axis=1).sum())
        waiting = np.flatnonzero(found.part[self._checked] < 0)
        self._close[waiting] |= _close_cells(vectors[self._checked[waiting]], part, threshold).any(axis=1)
        enough = np.flatnonzero(np.cumsum(self._seen_at) >= WANTED * self._rows)
        cells = 4 if not self._rows else int(enough[0]) + 1 if len(enough) else MOST_CELLS
        cells = min(cells, len(part.middles))
        self._most = max(self._most, cells)
        return cells

    def stats(self, found: _Found) -> dict[str, object]:
        """What share of the checked rows that have a close row in the index was found, and how many those are."""
        gone = found.part[self._checked] >= 0
        close = int((self._close | gone).sum())
        return {
            "search": f"k-means, up to {self._most} cells of a part looked into",
            "recall": round(int(gone.sum()) / close, 5) if close else 1.0,
            "recall_rows": close,
        }


def _parts(segments: Sequence[Segment]) -> Iterator[Part]:
    """The parts in order; one is read while another is looked through."""
    with ThreadPoolExecutor(1) as pool:
        reading = [pool.submit(read, folder(url), seal) for url, _, seal in segments[:1]]
        for following in (*segments[1:], None):
            part = reading.pop().result() if reading else None
            if following is not None:
                reading.append(pool.submit(read, folder(following[0]), following[2]))
            if part is not None:
                yield part


def _look(
    vectors: Floats, asked: Ints, number: int, part: Part, threshold: float, found: _Found, measured: _Measured | None
) -> None:
    """Compare rows with a part; note for each the first that is too close, unless one of a lower rank is noted."""
    cells = len(part.middles) if measured is None else measured.look(vectors, part, threshold, found)
    bounds = list(pairwise((0, *part.ends)))
    if cells == len(part.middles):
        wanted: Sequence[tuple[int, Ints]] = [(cell, asked) for cell in range(cells)]
    else:
        wanted = by_cell(
            asked, np.concatenate([nearest(some, part.middles, cells) for some in _blocks(vectors, asked)])
        )
    for cell, rows in wanted:
        begin, end = bounds[cell]
        for first in range(0, len(rows), BLOCK):
            some = rows[first : first + BLOCK]
            mine = vectors[some]
            for start in range(begin, end, AGAINST):
                stop = min(end, start + AGAINST)
                at, cosine = first_close(mine, part.vectors[start:stop], threshold)
                hit = np.flatnonzero(at >= 0)
                place = start + at[hit]
                noted, rank = some[hit], part.ranks[place]
                lower = (found.part[noted] < 0) | (rank < found.rank[noted])
                noted = noted[lower]
                found.part[noted], found.place[noted] = number, place[lower]
                found.rank[noted], found.cosine[noted] = rank[lower], cosine[hit[lower]]
                some, mine = some[at < 0], mine[at < 0]


def _blocks(vectors: Floats, rows: Ints) -> Iterator[Floats]:
    for start in range(0, len(rows), AGAINST):
        yield vectors[rows[start : start + AGAINST]]


def _close_cells(sample: Floats, part: Part, threshold: float) -> NDArray[np.bool_]:
    """Which cells of a part hold a row that is close to each of a sample, by brute force."""
    close = np.zeros((len(sample), len(part.ends)), bool)
    for cell, (begin, end) in enumerate(pairwise((0, *part.ends))):
        for start in range(begin, end, AGAINST):
            block = part.vectors[start : min(end, start + AGAINST)]
            close[:, cell] |= (sample @ block.T > threshold).any(axis=1)
    return close


def _ids(segments: Sequence[Segment], parts: Ints, places: Ints) -> tuple[pa.Array, Ints, int]:
    """Ids of rows of the segments, each once; of each row asked for its place among them; and the bytes read."""
    ids: list[str] = []
    where, size = np.zeros(len(parts), np.int64), 0
    for number in np.unique(parts).tolist():
        mine = np.flatnonzero(parts == number)
        rows, back = np.unique(places[mine], return_inverse=True)
        where[mine] = len(ids) + back
        some, more = ids_of(folder(segments[number][0]), rows)
        ids += some
        size += more
    return pa.array(ids, pa.string()), where, size


def _refuse_width(where: str, part: Part, vectors: Floats) -> None:
    theirs, ours = part.vectors.shape[1], vectors.shape[1]
    if theirs != ours:
        raise UserError(
            f"dedup.against: {where} holds vectors of {theirs} numbers, and "
            f"dedup.embedding.encoder gives {ours}; set the encoder as it was, or start another index"
        )
