"""From buckets of rows that may be alike to verified edges, and from edges to one keeper a cluster.

Rows are numbered in an order that does not depend on the input's. What a bucket yields depends on its own rows alone:
whoever works on it, and beside which others, finds the same edges. Nothing is joined on a bucket's word alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import breadth_first_order

from pipelines.dedup.lsh.bands import Unsigned, agreement
from pipelines.dedup.lsh.components import components, graph
from pipelines.dedup.lsh.sets import similar, similar_at, unmatched
from pipelines.kernels import I64, U64, ascending, bits_set, kernel, leaf


@kernel
def alike(hashes: U64, starts: I64, sizes: I64, signatures: Unsigned, x: int, y: int, threshold: float) -> float:
    """The similarity of two rows, or -1 below the threshold: by signatures where there are any, else by sets."""
    if len(signatures):
        estimate = agreement(signatures, x, y)
        return estimate if estimate >= threshold else -1.0
    return similar(hashes, starts, sizes, x, y, threshold)


@leaf
def alike_at(addresses: I64, sizes: I64, marks: U64, signatures: Unsigned, x: int, y: int, threshold: float) -> float:
    """``alike`` of two rows whose sets lie at addresses; ``marks`` (``sets.marks``) tell most of those that are not."""
    if len(signatures):
        estimate = agreement(signatures, x, y)
        return estimate if estimate >= threshold else -1.0
    # A bit that only one has is a member that only one has.
    if bits_set(marks[x] ^ marks[y]) > unmatched(sizes[x], sizes[y], threshold):
        return -1.0
    return similar_at(addresses[x], sizes[x], addresses[y], sizes[y], threshold)


@kernel
def bucket_edges(
    rows: I64,
    bounds: I64,
    given: int,
    addresses: I64,
    sizes: I64,
    marks: U64,
    signatures: Unsigned,
    threshold: float,
) -> tuple[I64, int]:
    """Edges that join the rows of each bucket ``rows[bounds[i]:bounds[i + 1]]`` into its components.

    Rows below ``given`` stay whatever they are like (an earlier run kept them), so they are not compared with each
    other. Within a bucket each component is a linked list, so that a row meets a component once and not each of its
    members: a bucket of a million near-copies costs a million comparisons.

    Returns:
        The edges, shape (edges, 2), lower row first; and the number of pairs compared.
    """
    edges = np.empty((bounds[-1] - bounds[0], 2), np.int64)
    count = compared = 0
    for at in range(len(bounds) - 1):
        size = bounds[at + 1] - bounds[at]
        if size > 1:
            bucket = rows[bounds[at] : bounds[at + 1]].copy()
            ascending(bucket)
            following = np.full(size, -1, np.int64)
            heads = np.empty(size, np.int64)
            last = np.empty(size, np.int64)
            components = 0
            for new in range(size):
                into = -1
                c = 0
                while c < components and bucket[new] >= given:
                    member = heads[c]
                    joined = False
                    while member >= 0:
                        compared += 1
                        like = alike_at(addresses, sizes, marks, signatures, bucket[member], bucket[new], threshold)
                        if like >= 0:
                            edges[count, 0] = bucket[member]
                            edges[count, 1] = bucket[new]
                            count += 1
                            joined = True
                            break
                        member = following[member]
                    if not joined:
                        c += 1
                    elif into < 0:
                        into = c
                        following[last[c]] = new
                        last[c] = new
                        c += 1
                    else:
                        following[last[into]] = heads[c]
                        last[into] = last[c]
                        components -= 1
                        heads[c] = heads[components]
                        last[c] = last[components]
                if into < 0:
                    heads[components] = new
                    last[components] = new
                    components += 1
    return edges[:count].copy(), compared


@kernel
def keep_first(
    buckets: NDArray[np.int32],
    count: int,
    given: int,
    hashes: U64,
    starts: I64,
    sizes: I64,
    signatures: Unsigned,
    threshold: float,
) -> tuple[I64, int]:
    """Greedy, in keeper order: a row goes if one that stays is alike; of several the first is its keeper.

    Rows below ``given`` stay.

    ``buckets`` are those of each row, as ``buckets_of_rows`` gives them, numbered below ``count``.

    Returns:
        The keeper of every row, itself for one that stays; and the number of pairs compared.
    """
    most, rows = buckets.shape
    # Rows that stay, by bucket: a linked list of places in ``buckets``.
    first = np.full(count, -1, np.int64)
    following = np.full(most * rows, -1, np.int64)
    asked = np.full(rows, -1, np.int64)
    keeper = np.arange(rows)
    compared = 0
    for row in range(rows):
        best = row
        for slot in range(most):
            if buckets[slot, row] < 0 or row < given:
                break
            place = first[buckets[slot, row]]
            while place >= 0:
                member = place % rows
                if asked[member] != row and member < best:
                    asked[member] = row
                    compared += 1
                    if alike(hashes, starts, sizes, signatures, member, row, threshold) >= 0:
                        best = member
                place = following[place]
        keeper[row] = best
        if best == row:
            for slot in range(most):
                if buckets[slot, row] >= 0:
                    following[slot * rows + row] = first[buckets[slot, row]]
                    first[buckets[slot, row]] = slot * rows + row
    return keeper, compared


@kernel
def buckets_of_rows(members: I64, bounds: I64, rows: int, most: int) -> NDArray[np.int32]:
    """The buckets that each row (second axis) is in, up to ``most`` (first); -1 where it is in fewer."""
    out = np.full((most, rows), -1, np.int32)
    filled = np.zeros(rows, np.int32)
    for bucket in range(len(bounds) - 1):
        for at in range(bounds[bucket], bounds[bucket + 1]):
            out[filled[members[at]], members[at]] = bucket
            filled[members[at]] += 1
    return out


def keepers(rows: int, edges: I64) -> tuple[I64, I64]:
    """Keeper and neighbour of every row, from the edges that join clusters: pairs of rows, lower first, each once.

    Returns:
        The lowest row of each row's cluster, and the neighbour one edge nearer to it (shortest way). Both are the row
        itself where no edge touches it, and for the keeper.
    """
    keeper, via = np.arange(rows), np.arange(rows)
    if len(edges) == 0:
        return keeper, via
    nodes, ends, lowest = components(edges)
    top, roots = len(nodes), np.unique(lowest)
    # One walk reaches all: an extra node is joined to every keeper, and a row's predecessor is its neighbour.
    from_top = np.stack([np.full(len(roots), top), roots], axis=1)
    _, before = breadth_first_order(graph(np.concatenate([ends, from_top]), top + 1), top, directed=False)
    before[roots] = roots
    keeper[nodes] = nodes[lowest]
    via[nodes] = nodes[before[:top]]
    return keeper, via
