"""Greedy keep-first over vectors: a row goes if a row that stays, earlier in keeper order, is too close.

``exact`` compares with every row that stays. ``greedy`` does so up to EXACT_ROWS and beyond them looks only where a
close row can be: vectors are parted into cells by k-means, and a row is compared with the rows of the cells it is
nearest to. How many cells that must be is measured on a sample, and what was missed on another. Every decision is
confirmed in float64.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from pipelines.errors import UserError

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

#: Rows up to which everything is compared with everything.
EXACT_ROWS = 20_000
#: Rows decided at once by the exact search, and rows they are compared with at once: a product of 16 MiB.
BLOCK = 1024
AGAINST = 4096
#: Above any float32 rounding of a cosine; candidates this far below the threshold are looked at in float64.
SLACK = 1e-4

#: Rows of a cell, about; vectors a cell is trained on, and rounds of k-means.
CELL_ROWS, TRAINED_ON, ROUNDS = 1000, 64, 8
#: Share of close pairs that the cells looked into must hold, on a sample of rows; and the most cells looked into.
WANTED, SAMPLED, MOST_CELLS = 0.995, 512, 32
#: Rows that are compared with all rows before them, cell by cell; and, of those, at once among themselves.
FAR, NEAR = 32_768, 2048


@dataclass(frozen=True)
class Gone:
    """Rows that go, ascending; for each the row that stays and is too close, their cosine; and what was measured."""

    rows: Ints
    keepers: Ints
    cosines: NDArray[np.float64]
    stats: dict[str, object]


def greedy(vectors: Floats, threshold: float) -> Gone:
    """Keep-first over vectors of length 1, in their order."""
    # Ray gives a process that reserves one CPU one thread.
    with threadpool_limits(len(os.sched_getaffinity(0))):
        if len(vectors) <= EXACT_ROWS:
            return Gone(*exact(vectors, threshold), {"search": "exact", "recall": 1.0})
        return _by_cells(vectors, threshold)


def exact(vectors: Floats, threshold: float) -> tuple[Ints, Ints, NDArray[np.float64]]:
    """Keep-first by comparison with every row that stays.

    Returns:
        The rows that go, ascending; for each the first row that stays whose cosine with it is above ``threshold``; and
        that cosine in float64.
    """
    kept = np.zeros(0, np.int64)
    keeper, cosine = np.full(len(vectors), -1, np.int64), np.zeros(len(vectors))
    for start in range(0, len(vectors), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(vectors)))
        for first in range(0, len(kept), AGAINST):
            asked = rows[keeper[rows] < 0]
            _settle(vectors, asked, kept[first : first + AGAINST], threshold, keeper, cosine)
        kept = np.concatenate([kept, _among(vectors, rows[keeper[rows] < 0], threshold, keeper, cosine)])
    gone = np.flatnonzero(keeper >= 0)
    return gone, keeper[gone], cosine[gone]


def _settle(
    vectors: Floats, asked: Ints, kept: Ints, threshold: float, keeper: Ints, cosine: NDArray[np.float64]
) -> None:
    """Compare rows with rows that stay; note for each the first that is too close, unless an earlier one is noted."""
    if not len(asked) or not len(kept):
        return
    near = vectors[asked] @ vectors[kept].T > threshold - SLACK
    places, others = np.nonzero(near)
    if not len(places):
        return
    xs, ys = asked[places], kept[others]
    exactly = _cosines(vectors, xs, ys)
    close = exactly > threshold
    for x, y, value in zip(xs[close].tolist(), ys[close].tolist(), exactly[close].tolist(), strict=True):
        if keeper[x] < 0 or y < keeper[x]:
            keeper[x], cosine[x] = y, value


def _among(vectors: Floats, rows: Ints, threshold: float, keeper: Ints, cosine: NDArray[np.float64]) -> Ints:
    """Keep-first among some rows (ascending); the ones that stay."""
    block = vectors[rows]
    near = np.triu(block @ block.T > threshold - SLACK, 1)
    stays = np.ones(len(rows), bool)
    for i in np.flatnonzero(near.any(axis=1)):
        if not stays[i]:
            continue
        later = np.flatnonzero(near[i] & stays)
        exactly = _cosines(vectors, np.full(len(later), rows[i]), rows[later])
        for j, value in zip(later[exactly > threshold], exactly[exactly > threshold], strict=True):
            stays[j] = False
            keeper[rows[j]], cosine[rows[j]] = rows[i], value
    staying: Ints = rows[stays]
    return staying


def _cosines(vectors: Floats, xs: Ints, ys: Ints) -> NDArray[np.float64]:
    """Cosines of pairs of rows in float64."""
    found = np.empty(len(xs))
    for start in range(0, len(xs), BLOCK):
        x = vectors[xs[start : start + BLOCK]].astype(np.float64)
        y = vectors[ys[start : start + BLOCK]].astype(np.float64)
        lengths = np.sqrt(np.einsum("ij,ij->i", x, x) * np.einsum("ij,ij->i", y, y))
        found[start : start + BLOCK] = np.einsum("ij,ij->i", x, y) / lengths
    return found


def _by_cells(vectors: Floats, threshold: float) -> Gone:
    nearest = _nearest_cells(vectors)
    cells, covered = _enough(vectors, nearest, threshold)
    probes, home = nearest[:, :cells], nearest[:, 0]
    keeper, cosine = np.full(len(vectors), -1, np.int64), np.zeros(len(vectors))
    kept: list[list[Ints]] = [[] for _ in range(int(home.max()) + 1)]
    for start in range(0, len(vectors), FAR):
        rows = np.arange(start, min(start + FAR, len(vectors)))
        for cell, asked in _by_cell(rows, probes):
            if kept[cell]:
                kept[cell] = [np.concatenate(kept[cell])]
                _settle(vectors, asked, kept[cell][0], threshold, keeper, cosine)
        lately: dict[int, list[Ints]] = {}
        for first in range(0, len(rows), NEAR):
            few = rows[first : first + NEAR]
            few = few[keeper[few] < 0]
            for cell, asked in _by_cell(few, probes):
                if cell in lately:
                    _settle(vectors, asked, np.concatenate(lately[cell]), threshold, keeper, cosine)
            stay = _among(vectors, few[keeper[few] < 0], threshold, keeper, cosine)
            for cell, new in _by_cell(stay, home[:, None]):
                lately.setdefault(cell, []).append(new)
        for cell, parts in lately.items():
            kept[cell] += parts
    gone = np.flatnonzero(keeper >= 0)
    stats: dict[str, object] = {
        "search": f"k-means, {len(kept)} cells, {cells} looked into",
        "cells_hold": round(covered, 5),
        **_recall(vectors, keeper, threshold),
    }
    return Gone(gone, keeper[gone], cosine[gone], stats)


def _by_cell(rows: Ints, cells: NDArray[np.int32]) -> list[tuple[int, Ints]]:
    """Rows by each of their cells (second axis of ``cells``), in order within a cell."""
    if not len(rows):
        return []
    flat = cells[rows].ravel()
    order = np.argsort(flat, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(flat[order]) != 0, True)) + 1
    owners = np.repeat(rows, cells.shape[1])[order]
    return [
        (int(flat[order[begin]]), owners[begin:end])
        for begin, end in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True)
    ]


def _nearest_cells(vectors: Floats) -> NDArray[np.int32]:
    """The cells of each row, the nearest first, shape (rows, up to MOST_CELLS)."""
    try:
        import faiss
    except ImportError as error:
        raise UserError(
            f"dedup.embedding: more than {EXACT_ROWS:,} rows need the package faiss-cpu; pip install faiss-cpu"
        ) from error
    count = max(2, len(vectors) // CELL_ROWS)
    # Evenly from all rows, which come in keeper order: the same in any order of the input.
    sample = np.linspace(0, len(vectors) - 1, min(len(vectors), TRAINED_ON * count)).round().astype(np.int64)
    trained = faiss.Kmeans(
        vectors.shape[1], count, niter=ROUNDS, spherical=True, seed=1, min_points_per_centroid=1, verbose=False
    )
    faiss.omp_set_num_threads(len(os.sched_getaffinity(0)))
    trained.train(np.ascontiguousarray(vectors[sample]))
    centroids = np.asarray(trained.centroids, np.float32)
    most = min(MOST_CELLS, count)
    nearest = np.empty((len(vectors), most), np.int32)
    for start in range(0, len(vectors), AGAINST):
        near = vectors[start : start + AGAINST] @ centroids.T
        top = np.argpartition(-near, most - 1, axis=1)[:, :most]
        by_distance = np.argsort(-np.take_along_axis(near, top, axis=1), axis=1, kind="stable")
        nearest[start : start + AGAINST] = np.take_along_axis(top, by_distance, axis=1)
    return nearest


def _close_pairs(vectors: Floats, rows: Ints, threshold: float) -> tuple[Ints, Ints]:
    """All pairs of one of ``rows`` and any other with a cosine above the threshold, by brute force; the later first."""
    xs: list[Ints] = []
    ys: list[Ints] = []
    block = vectors[rows]
    for start in range(0, len(vectors), AGAINST):
        places, others = np.nonzero(block @ vectors[start : start + AGAINST].T > threshold)
        xs.append(rows[places])
        ys.append(others + start)
    x, y = np.concatenate(xs), np.concatenate(ys)
    later, earlier = np.maximum(x, y), np.minimum(x, y)
    return later[later > earlier], earlier[later > earlier]


def _enough(vectors: Floats, nearest: NDArray[np.int32], threshold: float) -> tuple[int, float]:
    """How many cells a row must look into, and what share of the close pairs of a sample those hold.

    A pair is seen when the later row looks into the earlier one's cell.
    """
    sample = np.linspace(0, len(vectors) - 1, SAMPLED).round().astype(np.int64)
    later, earlier = _close_pairs(vectors, sample, threshold)
    if not len(later):
        return min(4, nearest.shape[1]), 1.0
    share = (np.cumsum(nearest[later] == nearest[earlier, 0][:, None], axis=1) > 0).mean(axis=0)
    cells = int(np.argmax(share >= WANTED)) + 1 if share[-1] >= WANTED else nearest.shape[1]
    return cells, float(share[cells - 1])


def _recall(vectors: Floats, keeper: Ints, threshold: float) -> dict[str, object]:
    """Share of the close pairs of a sample of rows of which one went; and how many pairs that was measured on."""
    half = len(vectors) // (2 * SAMPLED)  # other rows than those that the number of cells was chosen by
    sample = np.linspace(half, len(vectors) - 1 - half, SAMPLED).round().astype(np.int64)
    later, earlier = _close_pairs(vectors, sample, threshold)
    missed = int(((keeper[later] < 0) & (keeper[earlier] < 0)).sum())
    return {"recall": round(1 - missed / max(1, len(later)), 5), "recall_pairs": len(later)}
