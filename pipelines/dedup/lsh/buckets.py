"""Buckets: rows that share the key of a band, and so may be alike. Who is in which depends on the rows alone.

Rows are numbered over the index, then over tonight's rows, in whatever order they are read: numbers name rows here, and
decide nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.dedup.lsh.comparison import Keys
from pipelines.dedup.lsh.tonight import SLICES, Known, Tonight

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Buckets:
    """Bucket ``i`` holds the rows ``members[bounds[i]:bounds[i + 1]]``, two or more."""

    members: Ints
    bounds: Ints

    @staticmethod
    def of(keys: Keys, rows: Ints) -> Buckets:
        """The rows of each key that two or more have; ``keys`` are in ascending order."""
        ends = np.concatenate([np.flatnonzero(keys[1:] != keys[:-1]) + 1, [len(keys)]])
        sizes = np.diff(ends, prepend=0) if len(keys) else np.zeros(0, np.int64)
        large = sizes > 1
        return Buckets(rows[np.repeat(large, sizes)], np.concatenate([[0], np.cumsum(sizes[large])]))

    @staticmethod
    def joined(several: Sequence[Buckets]) -> Buckets:
        sizes = np.concatenate([np.zeros(0, np.int64), *(np.diff(one.bounds) for one in several)])
        members = np.concatenate([np.zeros(0, np.int64), *(one.members for one in several)])
        return Buckets(members, np.concatenate([[0], np.cumsum(sizes)]))

    def taken(self, which: NDArray[np.bool_]) -> Buckets:
        """Some of the buckets."""
        sizes = np.diff(self.bounds)
        return Buckets(self.members[np.repeat(which, sizes)], np.concatenate([[0], np.cumsum(sizes[which])]))

    def distinct(self) -> Buckets:
        """Each bucket once: bands propose the same rows again and again. Their rows come in ascending order."""
        from pipelines.dedup.lsh.bands import bucket_prints, first_of_equals

        members = self.members.copy()
        prints = bucket_prints(members, self.bounds)
        new = first_of_equals(members, self.bounds, prints, np.argsort(prints, kind="stable"))
        return Buckets(members, self.bounds).taken(new)


def proposed_buckets(tonight: Tonight, known: Known | None, band: int, first: int = 0, last: int = SLICES) -> Buckets:
    """The buckets of one band and some slices that hold a row of tonight."""
    keys, rows = tonight.keys(band, first, last)
    if known is None:
        return _bucketed(*_that_meet(keys, rows, np.zeros(0, np.uint64)))
    ours = np.unique(keys)
    theirs, owners = known.matching(band, first, last, ours[ours > 0])
    keys, rows = _that_meet(keys, rows, np.unique(theirs))
    return _bucketed(np.concatenate([theirs, keys]), np.concatenate([owners, rows + known.rows]))


def _bucketed(keys: Keys, rows: Ints) -> Buckets:
    order = np.argsort(keys)
    return Buckets.of(keys[order], rows[order])


def _that_meet(keys: Keys, rows: Ints, known: Keys) -> tuple[Keys, Ints]:
    """Keys that another row may have, too, or that are among the known ones (ascending); and their rows."""
    from pipelines.dedup.lsh.bands import shared

    slots = 1 << max(10, (8 * len(keys)).bit_length())
    places = shared(keys, slots, np.empty(slots // 4, np.uint8))
    if len(known):
        among = known[np.minimum(np.searchsorted(known, keys), len(known) - 1)] == keys
        places = np.union1d(places, np.flatnonzero(among))
    return keys[places], rows[places]
