"""Rows that share a bucket, as they are compared: verified edges between them, and who of a cluster stays.

Here rows are numbered by rank: rows of the index first, then tonight's in keeper order (``order.py``), so the keeper of
a cluster is its lowest rank, and no result depends on the order of the input.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.dedup.found import removed_table
from pipelines.dedup.lsh.buckets import Buckets
from pipelines.dedup.lsh.comparison import Comparison
from pipelines.dedup.lsh.shingles import ShingleSets
from pipelines.dedup.lsh.tonight import Known, Tonight
from pipelines.dedup.order import keeper_order

Ints = NDArray[np.int64]

#: Numbers are looked up in a table while it has at most this many places a candidate.
_TABLE = 64


class Decided(NamedTuple):
    """Rows that go, by rank; for each its keeper and the neighbour that tied it in; pairs compared to find out."""

    gone: Ints
    keeper: Ints
    via: Ints
    compared: int


@dataclass(frozen=True)
class Ranked:
    """Candidates by rank.

    Attributes:
        ids, sets: theirs; sketches: signatures, where they are compared by those.
        given: how many are the index's; they come first.
        numbers: their numbers, ascending; order: the place in ``numbers`` of each rank.
    """

    ids: pa.Array
    sets: ShingleSets
    sketches: NDArray[Any]
    given: int
    numbers: Ints
    order: Ints

    @staticmethod
    def of(numbers: Ints, tonight: Tonight, known: Known | None, comparison: Comparison) -> Ranked:
        """Some rows (ascending, numbered over the index and tonight's)."""
        base = known.rows if known is not None else 0
        given = int(np.searchsorted(numbers, base))
        ids, sets, scores = tonight.fetched(numbers[given:] - base)
        order = keeper_order(ids, comparison.keep, scores if comparison.keep != "first" else None)
        ids, sets = ids.take(pa.array(order)), ShingleSets(sets.hashes, sets.starts[order], sets.sizes[order])
        if known is not None:
            known_ids, known_sets, _ = known.fetched(numbers[:given])
            ids, sets = pa.concat_arrays([known_ids, ids]), _joined(known_sets, sets)
        order = np.concatenate([np.arange(given), order + given])
        return Ranked(ids, sets, comparison.sketches(sets), given, numbers, order)

    def edges(self, buckets: Buckets, comparison: Comparison, pool: ThreadPoolExecutor) -> tuple[Ints, int]:
        """Verified edges that join the rows of each bucket, as pairs of ranks, lower first; and pairs compared."""
        from pipelines.dedup.lsh.clusters import bucket_edges

        members = self.ranks(buckets.members)
        # In shares of about as many rows; a bucket is never cut.
        shares = np.linspace(0, len(members), 4 * pool._max_workers + 1)
        cuts = np.unique(np.searchsorted(buckets.bounds, shares))
        bounds = [buckets.bounds[x : y + 1] for x, y in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True)]
        found = list(
            pool.map(
                lambda one: bucket_edges(members, one, self.given, *self.sets, self.sketches, comparison.threshold),
                bounds,
            )
        )
        edges = np.concatenate([np.zeros((0, 2), np.int64), *(some for some, _ in found)])
        # Several buckets may join the same two rows.
        packed = np.unique((edges[:, 0].astype(np.uint64) << np.uint64(32)) | edges[:, 1].astype(np.uint64))
        ends = np.stack([packed >> np.uint64(32), packed & np.uint64(0xFFFFFFFF)], axis=1).astype(np.int64)
        return ends, sum(compared for _, compared in found)

    def chains(self, edges: Ints) -> Decided:
        """Who goes when whatever is connected is one cluster; ``edges`` are pairs of ranks, each once."""
        from pipelines.dedup.lsh.clusters import keepers

        keeper, via = keepers(len(self.ids), edges)
        return self._decided(keeper, via, 0)

    def star(self, buckets: Buckets, comparison: Comparison) -> Decided:
        """Who goes when a row goes only for one that stays and is alike."""
        from pipelines.dedup.lsh.clusters import buckets_of_rows, keep_first

        members, count = self.ranks(buckets.members), len(buckets.bounds) - 1
        most = int(np.bincount(members, minlength=1).max())
        of_rows = buckets_of_rows(members, buckets.bounds, len(self.ids), most)
        keeper, compared = keep_first(of_rows, count, self.given, *self.sets, self.sketches, comparison.threshold)
        return self._decided(keeper, keeper, compared)

    def similarity(self, xs: Ints, ys: Ints) -> NDArray[np.float64]:
        """The similarity of pairs as it was verified: of the sets, or of the signatures."""
        from pipelines.dedup.lsh.sets import jaccard

        if len(self.sketches):
            estimates: NDArray[np.float64] = (self.sketches[xs] == self.sketches[ys]).mean(axis=1)
            return estimates
        exact: NDArray[np.float64] = jaccard(*self.sets, xs, ys)
        return exact

    def ranks(self, numbers: Ints) -> Ints:
        """The ranks of candidates, from their numbers."""
        rank = np.empty(len(self.order), np.int64)
        rank[self.order] = np.arange(len(self.order))
        last = int(self.numbers[-1]) if len(self.numbers) else 0
        if last < _TABLE * len(self.numbers):
            table = np.empty(last + 1, np.int64)
            table[self.numbers] = rank
            found: Ints = table[numbers]
            return found
        return rank[np.searchsorted(self.numbers, numbers)]

    def _decided(self, keeper: Ints, via: Ints, compared: int) -> Decided:
        gone = np.flatnonzero(keeper != np.arange(len(keeper)))
        gone = gone[gone >= self.given]
        return Decided(gone, keeper[gone], via[gone], compared)


def _joined(one: ShingleSets, other: ShingleSets) -> ShingleSets:
    starts = np.concatenate([one.starts, other.starts + len(one.hashes)])
    return ShingleSets(np.concatenate([one.hashes, other.hashes]), starts, np.concatenate([one.sizes, other.sizes]))


def removed_by(ranked: Ranked, decided: Decided, rows: Ints) -> pa.Table:
    """The table of the rows that go (``found.ROW_REMOVED``); ``rows`` are their places in the dataset."""
    similarity = ranked.similarity(decided.gone, decided.keeper)
    same = np.array_equal(decided.keeper, decided.via)
    via_similarity = similarity if same else ranked.similarity(decided.gone, decided.via)
    return removed_table(
        rows, ranked.ids, decided.gone, decided.keeper, "minhash", similarity, decided.via, via_similarity
    )
