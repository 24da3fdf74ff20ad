"""Rows that share a bucket, compared where their sets lie: verified edges between them.

Rows are taken in order of a hash of their ids, those of the index first: an order that does not depend on the input's,
and needs no id. Who of a cluster stays is decided afterwards (``ranked.py``), for the few rows that have an edge.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.dedup.lsh.buckets import Buckets
from pipelines.dedup.lsh.comparison import Comparison, Keys
from pipelines.dedup.lsh.shingles import NO_SETS, ShingleSets
from pipelines.dedup.lsh.tonight import Known, Tonight

Ints = NDArray[np.int64]

#: Numbers are looked up in a table while it has at most this many places a row.
_TABLE = 64


@dataclass(frozen=True)
class Compared:
    """Rows in the order in which they are compared.

    Attributes:
        numbers: theirs; given: how many are the index's, which come first.
        addresses, sizes: where their sets lie in memory (``held`` keeps it), and how many hashes they have.
        marks: 64 bits of each set; sketches: signatures, where rows are compared by those.
    """

    numbers: Ints
    given: int
    addresses: Ints
    sizes: Ints
    marks: Keys
    sketches: NDArray[Any]
    held: list[ShingleSets]

    @staticmethod
    def of(
        numbers: Ints, tonight: Tonight, known: Known | None, comparison: Comparison, pool: ThreadPoolExecutor
    ) -> Compared:
        """Some rows (ascending, numbered over the index and tonight's)."""
        from pipelines.dedup.lsh.sets import marks

        base = known.rows if known is not None else 0
        given = int(np.searchsorted(numbers, base))
        theirs = known.sketched(numbers[:given]) if known is not None else []
        pieces = [*theirs, *tonight.sketched(numbers[given:] - base)]
        sets = [one for one, _ in pieces]
        prints = np.concatenate([np.zeros(0, np.uint64), *(one for _, one in pieces)])
        order = np.concatenate([np.arange(given), given + np.argsort(prints[given:], kind="stable")])
        addresses = np.concatenate([np.zeros(0, np.int64), *(one.hashes.ctypes.data + 8 * one.starts for one in sets)])
        sizes = np.concatenate([np.zeros(0, np.int64), *(one.sizes for one in sets)])
        marked = np.concatenate([np.zeros(0, np.uint64), *pool.map(lambda one: marks(*one), sets)])
        signed = [one for one in pool.map(comparison.sketches, sets) if len(one)]
        sketches = np.concatenate(signed)[order] if signed else comparison.sketches(NO_SETS)
        return Compared(numbers[order], given, addresses[order], sizes[order], marked[order], sketches, sets)

    def edges(self, buckets: Buckets, comparison: Comparison, pool: ThreadPoolExecutor) -> tuple[Ints, int]:
        """Verified edges that join the rows of each bucket, as pairs of numbers, each once; and pairs compared."""
        from pipelines.dedup.lsh.clusters import bucket_edges

        members = looked_up(self.numbers, buckets.members)
        # In shares of about as many rows; a bucket is never cut.
        shares = np.linspace(0, len(members), 4 * pool._max_workers + 1)
        cuts = np.unique(np.searchsorted(buckets.bounds, shares))
        bounds = [buckets.bounds[x : y + 1] for x, y in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True)]
        sides = (self.given, self.addresses, self.sizes, self.marks, self.sketches, comparison.threshold)
        found = list(pool.map(lambda one: bucket_edges(members, one, *sides), bounds))
        edges = np.concatenate([np.zeros((0, 2), np.int64), *(some for some, _ in found)])
        # Several buckets may join the same two rows.
        packed = np.unique((edges[:, 0].astype(np.uint64) << np.uint64(32)) | edges[:, 1].astype(np.uint64))
        ends = np.stack([packed >> np.uint64(32), packed & np.uint64(0xFFFFFFFF)], axis=1).astype(np.int64)
        return self.numbers[ends], sum(compared for _, compared in found)


def looked_up(numbers: Ints, wanted: Ints) -> Ints:
    """Where each of the ``wanted`` stands in ``numbers`` (no repeats, in any order)."""
    last = int(numbers.max(initial=-1))
    if last < _TABLE * len(numbers):
        table = np.empty(last + 1, np.int64)
        table[numbers] = np.arange(len(numbers))
        found: Ints = table[wanted]
        return found
    order = np.argsort(numbers)
    return order[np.searchsorted(numbers, wanted, sorter=order)]
