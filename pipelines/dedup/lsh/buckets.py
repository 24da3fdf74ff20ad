"""Buckets: rows that share the key of a band, and so may be alike. Who is in which depends on the rows alone.

Rows are numbered over the index, then over tonight's rows, in whatever order they are read: numbers name rows here, and
decide nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.dedup.lsh.comparison import Keys
from pipelines.dedup.lsh.tonight import SLICES, Known, Tonight

Ints = NDArray[np.int64]

#: Rows of a bucket are marked among all rows while those are at most so many times as many.
_MASKED = 64
#: Parts in which equal buckets are looked for, by the top three bits of their prints.
_PARTS = 8


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

    def rows(self, total: int) -> Ints:
        """The rows that are in one, ascending; all are numbered below ``total``."""
        if total > _MASKED * len(self.members):
            return np.unique(self.members)
        among = np.zeros(total, bool)
        among[self.members] = True
        return np.flatnonzero(among)

    def taken(self, which: NDArray[np.bool_]) -> Buckets:
        """Some of the buckets."""
        sizes = np.diff(self.bounds)
        return Buckets(self.members[np.repeat(which, sizes)], np.concatenate([[0], np.cumsum(sizes[which])]))

    def distinct(self, each: Callable[..., Iterable[Any]] = map) -> Buckets:
        """Each bucket once: bands propose the same rows again and again. Their rows come in ascending order.

        ``each`` is ``map``, or that of a pool.
        """
        from pipelines.dedup.lsh.bands import bucket_prints, first_of_equals

        members, count = self.members.copy(), len(self.bounds) - 1
        cuts = np.linspace(0, count, _PARTS + 1).astype(np.int64).tolist()
        bounds = [self.bounds[x : y + 1] for x, y in pairwise(cuts)]
        prints = np.concatenate(list(each(lambda one: bucket_prints(members, one), bounds)))
        new = np.zeros(count, bool)

        def settle(part: int) -> None:
            # Equal ones have equal prints, and so come into one part.
            mine = np.flatnonzero(prints >> np.uint64(61) == part)
            order = mine[np.argsort(prints[mine], kind="stable")]
            new[order[first_of_equals(members, self.bounds, prints, order)]] = True

        list(each(settle, range(_PARTS)))
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
