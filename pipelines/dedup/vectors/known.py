"""Tonight's rows against the vectors that earlier runs kept: a run after another, a part of it in memory at a time.

Few rows are compared with everything. Beyond that a row looks only into the cells of a run that it is nearest to, and
only parts with such cells are read for it; how many those must be is measured on a sample of tonight's rows against all
of the run, and what was missed on another.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby, pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from pipelines.dedup.found import Segment
from pipelines.dedup.vectors.cells import EXACT_ROWS, MOST_CELLS, SAMPLED, WANTED, by_cell, nearest
from pipelines.dedup.vectors.search import AGAINST, BLOCK, first_close
from pipelines.dedup.vectors.segment import Part, ids_of, read, read_cells
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
    bytes_read = 0
    # Ray gives a process that reserves one CPU one thread.
    with threadpool_limits(len(os.sched_getaffinity(0))):
        for _, numbers in groupby(range(len(segments)), lambda number: segments[number][0].rpartition("/")[0]):
            # The rows of an earlier run come first: what one of them repeats is decided.
            asked = np.flatnonzero(found.part < 0)
            run = _Run({number: segments[number] for number in numbers if segments[number][1]}, vectors)
            if len(asked) and run.segments:
                if measured is None:
                    for part in run.parts(run.segments):
                        _look(vectors, [(cell, asked) for cell in range(len(part.ends))], part, threshold, found)
                else:
                    wanted = run.wanted(asked, measured.enough(run, threshold, found))
                    for part in run.parts(wanted):
                        _look(vectors, wanted[part.number], part, threshold, found)
            bytes_read += run.bytes_read
    gone = np.flatnonzero(found.part >= 0)
    ids, keepers, more = _ids(segments, found.part[gone], found.place[gone])
    stats = {
        "rows": rows,
        "removed": len(gone),
        "bytes_read": bytes_read + more,
        **({"search": "exact", "recall": 1.0} if measured is None else measured.stats(found)),
    }
    return Known(gone, keepers, found.cosine[gone], ids, stats)


class _Run:
    """What one run kept: its parts, by the numbers of their segments, as tonight's ``vectors`` look into them."""

    def __init__(self, segments: Mapping[int, Segment], vectors: Floats) -> None:
        self.segments, self.vectors = segments, vectors
        self.bytes_read = 0
        self._only: Part | None = None

    def parts(self, numbers: Collection[int]) -> Iterator[Part]:
        """Some of the parts in order; one is read while another is looked through. The only one of a run is kept."""
        if self._only is not None:
            yield self._only
            return
        with ThreadPoolExecutor(1) as pool:
            ahead = deque[Future[Part]]()
            for number in (*numbers, None):
                if number is not None:
                    ahead.append(pool.submit(self._read, number))
                if len(ahead) > 1 or (ahead and number is None):
                    part = ahead.popleft().result()
                    self._only = part if len(self.segments) == 1 else None
                    yield part

    def wanted(self, asked: Ints, cells: int) -> dict[int, list[tuple[int, Ints]]]:
        """For each part, the cells of it that some of tonight's rows look into, with these rows, ascending.

        A row looks into the ``cells`` cells of the run that it is nearest to.
        """
        middles, ends = self.middles()
        order = [nearest(some, middles, cells) for some in _blocks(self.vectors, asked)]
        found: dict[int, list[tuple[int, Ints]]] = {}
        for cell, rows in by_cell(asked, np.concatenate(order)):
            at = int(np.searchsorted(ends, cell, "right"))
            first = int(ends[at - 1]) if at else 0
            found.setdefault(list(self.segments)[at], []).append((cell - first, rows))
        return found

    def middles(self) -> tuple[Floats, Ints]:
        """The middles of the cells of all parts, and where each part's end."""
        if self._only is not None:
            return self._only.middles, np.array([len(self._only.middles)])
        each = [read_cells(folder(url), seal) for url, _, seal in self.segments.values()]
        self.bytes_read += sum(size for _, size in each)
        return np.concatenate([middles for middles, _ in each]), np.cumsum([len(middles) for middles, _ in each])

    def _read(self, number: int) -> Part:
        url, _, seal = self.segments[number]
        part = read(number, folder(url), seal)
        self.bytes_read += part.size
        theirs, ours = part.vectors.shape[1], self.vectors.shape[1]
        if theirs != ours:
            raise UserError(
                f"dedup.against: {url} holds vectors of {theirs} numbers, and "
                f"dedup.embedding.encoder gives {ours}; set the encoder as it was, or start another index"
            )
        return part


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

    def enough(self, run: _Run, threshold: float, found: _Found) -> int:
        """Compare the samples with all that a run kept; how many cells of it a row must look into."""
        sample = run.vectors[self._chosen_by[found.part[self._chosen_by] < 0]]
        waiting = np.flatnonzero(found.part[self._checked] < 0)
        checked = run.vectors[self._checked[waiting]]
        close = [np.zeros((len(sample), 0), bool)]
        for part in run.parts(run.segments):
            close.append(_close_cells(sample, part, threshold))
            self._close[waiting] |= _close_cells(checked, part, threshold).any(axis=1)
        middles, _ = run.middles()
        if len(sample):
            near = np.concatenate(close, axis=1)
            at = np.take_along_axis(near, nearest(sample, middles, MOST_CELLS), axis=1)
            self._seen_at += np.bincount(at.argmax(axis=1)[at.any(axis=1)], minlength=MOST_CELLS)
            self._rows += int(near.any(axis=1).sum())
        enough = np.flatnonzero(np.cumsum(self._seen_at) >= WANTED * self._rows)
        cells = 4 if not self._rows else int(enough[0]) + 1 if len(enough) else MOST_CELLS
        cells = min(cells, len(middles))
        self._most = max(self._most, cells)
        return cells

    def stats(self, found: _Found) -> dict[str, object]:
        """What share of the checked rows that have a close row in the index was found, and how many those are."""
        gone = found.part[self._checked] >= 0
        close = int((self._close | gone).sum())
        return {
            "search": f"k-means, up to {self._most} cells of a run looked into",
            "recall": round(int(gone.sum()) / close, 5) if close else 1.0,
            "recall_rows": close,
        }


def _look(vectors: Floats, wanted: Sequence[tuple[int, Ints]], part: Part, threshold: float, found: _Found) -> None:
    """Compare rows with cells of a part; note for each the first that is too close, unless a lower rank is noted."""
    bounds = list(pairwise((0, *part.ends)))
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
                found.part[noted], found.place[noted] = part.number, place[lower]
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
