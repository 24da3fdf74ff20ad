"""From what bands propose to verified edges, and from edges to one keeper a cluster.

Rows are positions in order of id, so the keeper of a cluster is its lowest position, and no result depends on the
order of the input. Every edge was verified against the exact similarity; nothing is joined on a band's word alone.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, connected_components

from pipelines.dedup.kernels import I64, U64, ascending, kernel, overlap


@kernel
def same_sets(prints: U64, order: I64, hashes: U64, starts: I64, sizes: I64) -> I64:
    """The first row with the same set, for every row; -1 for empty sets. ``order`` sorts ``prints`` stably."""
    first = np.full(len(order), -1, np.int64)
    leader = -1
    for row in order:
        if sizes[row] == 0:
            continue
        if (
            leader < 0
            or prints[leader] != prints[row]
            or sizes[leader] != sizes[row]
            or overlap(hashes, starts, sizes, leader, row) != sizes[row]
        ):
            leader = row
        first[row] = leader
    return first


@kernel
def _root(parent: I64, x: int) -> int:
    while parent[x] != x:
        parent[x] = parent[parent[x]]
        x = parent[x]
    return x


@kernel
def join_band(
    keys: U64,
    order: I64,
    hashes: U64,
    starts: I64,
    sizes: I64,
    threshold: float,
    parent: I64,
    edges: I64,
    count: int,
) -> tuple[int, int]:
    """Verify the pairs that one band proposes and add to ``edges`` those that join two components.

    ``order`` sorts ``keys``. A pair already in one component is not looked at: its edge would change nothing. Within a
    bucket each component is a linked list, so that a row meets a component once and not each of its members: a bucket
    of a million near-copies costs a million comparisons.

    Returns:
        The number of edges so far, and the number of pairs verified here.
    """
    verified = 0
    following = np.full(len(keys), -1, np.int64)
    last = np.empty(len(keys), np.int64)
    begin = 0
    while begin < len(order):
        end = begin + 1
        while end < len(order) and keys[order[end]] == keys[order[begin]]:
            end += 1
        if end - begin > 1:
            bucket = order[begin:end]
            ascending(bucket)
            heads = np.empty(len(bucket), np.int64)
            components = 0
            for row in bucket:
                last[row] = row
                into = -1
                c = 0
                while c < components:
                    head = heads[c]
                    joined = _root(parent, head) == _root(parent, row)
                    member = head
                    while not joined and member >= 0:
                        small, large = min(sizes[row], sizes[member]), max(sizes[row], sizes[member])
                        if small / large >= threshold:
                            verified += 1
                            common = overlap(hashes, starts, sizes, row, member)
                            if common / (small + large - common) >= threshold:
                                joined = True
                                edges[count, 0] = member
                                edges[count, 1] = row
                                count += 1
                                low, high = _root(parent, row), _root(parent, member)
                                parent[max(low, high)] = min(low, high)
                        member = following[member]
                    if not joined:
                        c += 1
                    elif into < 0:
                        into = head
                        following[last[head]] = row
                        last[head] = row
                        c += 1
                    else:
                        following[last[into]] = head
                        last[into] = last[head]
                        components -= 1
                        heads[c] = heads[components]
                if into < 0:
                    heads[components] = row
                    components += 1
            for row in bucket:
                following[row] = -1
        begin = end
    return count, verified


def keepers(rows: int, edges: I64) -> tuple[I64, I64]:
    """Keeper and neighbour of every row, from the edges (pairs of positions, shape (edges, 2)) that join clusters.

    Returns:
        The lowest position in each row's cluster, and the neighbour one edge nearer to it (shortest way). Both are
        the row itself where no edge touches it, and for the keeper.
    """
    keeper, via = np.arange(rows), np.arange(rows)
    if len(edges) == 0:
        return keeper, via
    members, ends = np.unique(edges, return_inverse=True)
    top = len(members)
    x, y = ends.reshape(-1, 2).T
    _, label = connected_components(_graph(x, y, top), directed=False)
    _, lowest = np.unique(label, return_index=True)
    # One walk reaches all: an extra node is joined to every keeper, and a row's predecessor is its neighbour.
    joined = _graph(np.append(x, np.full(len(lowest), top)), np.append(y, lowest), top + 1)
    _, before = breadth_first_order(joined, top, directed=False)
    before[lowest] = lowest
    keeper[members] = members[lowest[label]]
    via[members] = members[before[:top]]
    return keeper, via


def _graph(x: I64, y: I64, nodes: int) -> csr_array:
    return csr_array((np.ones(len(x), np.int8), (x, y)), shape=(nodes, nodes))
