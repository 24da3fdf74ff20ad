"""Several segments as one numbering of rows: a standing index, or tonight's rows where memory does not hold them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from threading import Lock

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.buffers import bytes_of
from pipelines.dedup.lsh.comparison import Keys
from pipelines.dedup.lsh.segment import Segment
from pipelines.dedup.lsh.shingles import NO_SETS, ShingleSets
from pipelines.dedup.lsh.tonight import SLICES, Candidates
from pipelines.store.files import folder

Ints = NDArray[np.int64]

#: Keys of the segments that are held at once while they are looked through.
_HELD = 4 << 20


class Segments:
    """Segments, each given as (url, rows, seal); ``bytes_read`` is what was read of them."""

    def __init__(self, named: Sequence[tuple[str, int, str]], mend: str = "put a sound copy back") -> None:
        """Open them; ``mend`` is what to do about a damaged file."""
        self._segments = [Segment(folder(url), rows, seal, mend) for url, rows, seal in named if rows]
        self._starts = np.cumsum([0, *(one.rows for one in self._segments)])
        self._counting = Lock()
        self.bytes_read = 0

    @property
    def rows(self) -> int:
        return int(self._starts[-1])

    def keys(self, band: int, first: int, last: int) -> tuple[Keys, Ints]:
        """Keys of one band from slice ``first`` to before ``last``, ascending within a segment; and their rows."""
        keys, rows = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
        for start, segment in zip(self._starts.tolist(), self._segments, strict=False):
            some, owners, read = segment.keys(band, first, last)
            self._count(read)
            keys.append(some)
            rows.append(owners.astype(np.int64) + start)
        return np.concatenate(keys), np.concatenate(rows)

    def matching(self, band: int, first: int, last: int, keys: Keys) -> tuple[Keys, Ints]:
        """Keys of one band and some slices that are among ``keys`` (ascending, no repeats); and their rows."""
        from pipelines.dedup.lsh.bands import places_of

        found, rows = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
        for start, segment in zip(self._starts.tolist(), self._segments, strict=False):
            step = max(1, SLICES * _HELD // segment.rows)
            for begin in range(first, last, step):
                some, owners, read = segment.keys(band, begin, min(last, begin + step))
                self._count(read)
                at = places_of(some, keys)
                found.append(some[at])
                rows.append(owners[at].astype(np.int64) + start)
        return np.concatenate(found), np.concatenate(rows)

    def sketched(self, rows: Ints) -> list[tuple[ShingleSets, Keys]]:
        """The sets of some rows (ascending), and hashes of their ids, segment by segment."""
        from pipelines.kernels import text_hashes

        return [(one.sets, text_hashes(*bytes_of(one.ids))) for one in self._fetched(rows)]

    def fetched(self, rows: Ints) -> Candidates:
        """Some rows (ascending); nothing else of the segments is read."""
        some = [Candidates(pa.array([], pa.large_string()), NO_SETS, np.zeros(0))]
        some += self._fetched(rows)
        sizes = np.concatenate([one.sets.sizes for one in some])
        hashes = np.concatenate([one.sets.hashes for one in some])
        ids = pa.concat_arrays([one.ids for one in some])
        scores = np.concatenate([one.scores for one in some])
        return Candidates(ids, ShingleSets(hashes, np.cumsum(sizes) - sizes, sizes), scores)

    def _fetched(self, rows: Ints) -> Iterator[Candidates]:
        for start, segment in zip(self._starts.tolist(), self._segments, strict=False):
            inside = rows[np.searchsorted(rows, start) : np.searchsorted(rows, start + segment.rows)] - start
            if len(inside):
                candidates, read = segment.fetched(inside)
                self._count(read)
                yield candidates

    def _count(self, read: int) -> None:
        with self._counting:
            self.bytes_read += read
