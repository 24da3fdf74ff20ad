"""Connected components of edges that no memory holds: each node learns the lowest of its component.

Large-star and small-star in turns (Kiveris et al. 2014, "Connected Components in MapReduce and Beyond"), over edges
parted by node. A round is one task a part; it reads what all wrote for it. It ends when a round changed nothing: every
edge then joins a node to the lowest of its component. Numbers of nodes only name them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.dedup.lsh.exchange import get, parted, put
from pipelines.dedup.workers import Workers
from pipelines.store.files import Folder, folder

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Ints = NDArray[np.int64]


class Components(NamedTuple):
    """The nodes of some edges, ascending; and as places among them the ends of each edge and each node's lowest."""

    nodes: Ints
    ends: Ints
    lowest: Ints


def components(edges: Ints) -> Components:
    """The components of edges (shape (edges, 2)) that memory holds."""
    from scipy.sparse.csgraph import connected_components

    nodes, places = np.unique(edges, return_inverse=True)
    ends = places.reshape(-1, 2)
    if not len(nodes):
        return Components(nodes, ends, nodes)
    _, label = connected_components(graph(ends, len(nodes)), directed=False)
    _, lowest = np.unique(label, return_index=True)
    return Components(nodes, ends, lowest[label])


def graph(ends: Ints, nodes: int) -> csr_array:
    """Edges, each once, as scipy takes them."""
    from scipy.sparse import csr_array

    return csr_array((np.ones(len(ends), np.int8), tuple(ends.T)), shape=(nodes, nodes))


def labelled(place: Folder, names: Sequence[str], parts: int, workers: Workers) -> tuple[list[str], list[str]]:
    """Files of (node, lowest of its component), without the lowest itself; and of the edges, both ways round.

    All are parted by their first node modulo ``parts``. ``names`` are files of edges, flattened pairs in one section
    each.
    """
    before: set[tuple[int, int, int]] = set()
    both, _ = _round(place, "both", list(names), 0, parts, workers)
    files, number = both, 0
    while True:
        files, _ = _round(place, f"large-{number}", files, 1, parts, workers)
        files, prints = _round(place, f"small-{number}", files, 2, parts, workers)
        if prints == before:
            return files, both
        before, number = prints, number + 1


def _round(
    place: Folder, stem: str, files: list[str], kind: int, parts: int, workers: Workers
) -> tuple[list[str], set[tuple[int, int, int]]]:
    """One turn: (0) edges to the larger end's part and the smaller's, (1) large-star, (2) small-star."""
    tasks = [(place.url, f"{stem}-{part}", files, kind, part, parts) for part in range(parts)]
    if kind == 0:
        tasks = [(place.url, f"{stem}-{number}", [name], kind, 0, parts) for number, name in enumerate(files)]
    prints = set(workers.each(_turn, tasks))
    return [str(task[1]) for task in tasks], prints


def _turn(url: str, name: str, files: list[str], kind: int, part: int, parts: int) -> tuple[int, int, int]:
    """Write a part's new edges; what they are, in three numbers."""
    place = folder(url)
    pairs = np.concatenate([np.zeros(0, np.int64), *get(place, files, part)]).reshape(-1, 2)
    if kind == 0:
        made = pairs[pairs[:, 0] != pairs[:, 1]]
    else:
        made = _star(np.unique(pairs, axis=0), large=kind == 1)
    made = np.unique(np.sort(made, axis=1), axis=0)
    if kind == 1:  # a small-star looks at the larger end of each edge
        put(place, name, parted(made[:, ::-1], made[:, 1] % parts, parts))
    else:  # a large-star at both ends
        both = np.concatenate([made, made[:, ::-1]])
        put(place, name, parted(both, both[:, 0] % parts, parts))
    mixed = (made[:, 0] * 0x9E3779B1 + made[:, 1]) * 0x85EBCA77
    return part, len(made), int(np.bitwise_xor.reduce(mixed, initial=0))


def _star(pairs: Ints, large: bool) -> Ints:
    """Each node's neighbours joined to the lowest of them: the larger ones (large-star), or all and itself.

    ``pairs`` are (node, neighbour), ascending; for a small-star only neighbours that are smaller.
    """
    if not len(pairs):
        return pairs
    first = np.flatnonzero(np.append(True, pairs[1:, 0] != pairs[:-1, 0]))
    sizes = np.diff(np.append(first, len(pairs)))
    nodes = pairs[first, 0]
    lowest = np.minimum(pairs[first, 1], nodes)
    each = np.repeat(lowest, sizes)
    if large:
        larger = pairs[:, 1] > pairs[:, 0]
        made = np.stack([each[larger], pairs[larger, 1]], axis=1)
    else:
        made = np.concatenate([np.stack([each, pairs[:, 1]], axis=1), np.stack([lowest, nodes], axis=1)])
    apart: Ints = made[made[:, 0] != made[:, 1]]
    return apart


def found_labels(place: Folder, files: Sequence[str], part: int) -> tuple[Ints, Ints]:
    """Nodes (ascending) of one part, and the lowest of each one's component."""
    pairs = np.concatenate([np.zeros(0, np.int64), *get(place, files, part)]).reshape(-1, 2)
    pairs = pairs[pairs[:, 1] < pairs[:, 0]]
    pairs = pairs[np.argsort(pairs[:, 0])]
    return pairs[:, 0], pairs[:, 1]
