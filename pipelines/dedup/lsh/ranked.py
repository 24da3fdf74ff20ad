"""Rows that have a verified edge, in keeper order: who of a cluster stays.

Here rows are numbered by rank: rows of the index in order of id, then tonight's in keeper order (``order.py``), so the
keeper of a cluster is its lowest rank, and no result depends on the order of the input.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.dedup.found import removed_table
from pipelines.dedup.lsh.buckets import Buckets
from pipelines.dedup.lsh.compared import looked_up
from pipelines.dedup.lsh.comparison import Comparison
from pipelines.dedup.lsh.shingles import ShingleSets
from pipelines.dedup.lsh.tonight import Known, Tonight
from pipelines.dedup.order import keeper_order

Ints = NDArray[np.int64]


class Decided(NamedTuple):
    """Rows that go, by rank; for each its keeper and the neighbour that tied it in; pairs compared to find out."""

    gone: Ints
    keeper: Ints
    via: Ints
    compared: int


@dataclass(frozen=True)
class Ranked:
    """Rows by rank.

    Attributes:
        numbers, ids, sets: theirs; sketches: signatures, where they are compared by those.
        given: how many are the index's; they come first.
    """

    numbers: Ints
    ids: pa.Array
    sets: ShingleSets
    sketches: NDArray[Any]
    given: int

    @staticmethod
    def of(numbers: Ints, tonight: Tonight, known: Known | None, comparison: Comparison) -> Ranked:
        """Some rows (ascending, numbered over the index and tonight's)."""
        base = known.rows if known is not None else 0
        given = int(np.searchsorted(numbers, base))
        ids, sets, scores = tonight.fetched(numbers[given:] - base)
        order = keeper_order(ids, comparison.keep, scores if comparison.keep != "first" else None)
        ids, sets = ids.take(pa.array(order)), ShingleSets(sets.hashes, sets.starts[order], sets.sizes[order])
        by_rank = numbers[given:][order]
        if known is not None:
            theirs, their_sets, _ = known.fetched(numbers[:given])
            # Of several nights two rows may have one id.
            first = pc.sort_indices(theirs).to_numpy()
            their_sets = ShingleSets(their_sets.hashes, their_sets.starts[first], their_sets.sizes[first])
            ids, sets = pa.concat_arrays([theirs.take(pa.array(first)), ids]), _joined(their_sets, sets)
            by_rank = np.concatenate([numbers[:given][first], by_rank])
        return Ranked(by_rank, ids, sets, comparison.sketches(sets), given)

    def decided(self, edges: Ints, comparison: Comparison) -> Decided:
        """Who goes, from the edges (pairs of numbers, each once) that join rows to clusters."""
        if comparison.clusters == "star":
            return self._star(comparison)
        from pipelines.dedup.lsh.clusters import keepers

        keeper, via = keepers(len(self.ids), np.sort(looked_up(self.numbers, edges), axis=1))
        return self._of(keeper, via, 0)

    def _star(self, comparison: Comparison) -> Decided:
        """A row goes only for one that stays and is alike: those two share a cluster, and a bucket of its rows."""
        from pipelines.dedup.lsh.clusters import buckets_of_rows, keep_first

        every = np.arange(len(self.ids))
        some = []
        for keys in comparison.band_keys(self.sets):
            order = np.argsort(keys, kind="stable")
            some.append(Buckets.of(keys[order], every[order]))
        buckets = Buckets.joined(some).distinct()
        most = int(np.bincount(buckets.members, minlength=1).max())
        of_rows = buckets_of_rows(buckets.members, buckets.bounds, len(self.ids), most)
        count = len(buckets.bounds) - 1
        keeper, compared = keep_first(of_rows, count, self.given, *self.sets, self.sketches, comparison.threshold)
        return self._of(keeper, keeper, compared)

    def _of(self, keeper: Ints, via: Ints, compared: int) -> Decided:
        gone = np.flatnonzero(keeper != np.arange(len(keeper)))
        gone = gone[gone >= self.given]
        return Decided(gone, keeper[gone], via[gone], compared)

    def removed(self, decided: Decided, rows: Ints) -> pa.Table:
        """The table of the rows that go (``found.ROW_REMOVED``); ``rows`` are their places in the dataset."""
        gone, keeper, via, _ = decided
        similarity = self._similarity(gone, keeper)
        by_neighbour = similarity if np.array_equal(keeper, via) else self._similarity(gone, via)
        return removed_table(rows, self.ids, gone, keeper, "minhash", similarity, via, by_neighbour)

    def _similarity(self, xs: Ints, ys: Ints) -> NDArray[np.float64]:
        """The similarity of pairs as it was verified: of the sets, or of the signatures."""
        from pipelines.dedup.lsh.sets import jaccard

        if len(self.sketches):
            estimates: NDArray[np.float64] = (self.sketches[xs] == self.sketches[ys]).mean(axis=1)
            return estimates
        exact: NDArray[np.float64] = jaccard(*self.sets, xs, ys)
        return exact


def _joined(one: ShingleSets, other: ShingleSets) -> ShingleSets:
    starts = np.concatenate([one.starts, other.starts + len(one.hashes)])
    return ShingleSets(np.concatenate([one.hashes, other.hashes]), starts, np.concatenate([one.sizes, other.sizes]))
