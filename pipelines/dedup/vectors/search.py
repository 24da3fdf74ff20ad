"""Greedy keep-first over vectors: a row goes if a row that stays, earlier in keeper order, is too close.

``exact`` compares with every row that stays. ``greedy`` does so up to EXACT_ROWS and beyond them looks only where a
close row can be: vectors are parted into cells by k-means, and a row is compared with the rows of the cells it is
nearest to. How many cells that must be is measured on a sample, and what was missed on another. Every decision is
confirmed in float64.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from pipelines.dedup.vectors.cells import EXACT_ROWS, MOST_CELLS, SAMPLED, WANTED, by_cell, nearest, trained

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

#: Rows decided at once by the exact search, and rows they are compared with at once: a product of 16 MiB.
BLOCK = 1024
AGAINST = 4096
#: Above any float32 rounding of a cosine; candidates this far below the threshold are looked at in float64.
SLACK = 1e-4
#: Rows that are compared with all rows before them, cell by cell; and, of those, at once among themselves.
FAR, NEAR = 32_768, 2048
#: Close pairs of a sample that are looked at, of each block of rows that the sample is compared with.
PAIRS = 65_536


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
        _settle(vectors, rows, kept, threshold, keeper, cosine)
        kept = np.concatenate([kept, _among(vectors, rows[keeper[rows] < 0], threshold, keeper, cosine)])
    gone = np.flatnonzero(keeper >= 0)
    return gone, keeper[gone], cosine[gone]


def first_close(asked: Floats, others: Floats, threshold: float) -> tuple[Ints, NDArray[np.float64]]:
    """For each of some vectors the first of ``others`` that is too close, or -1; and their cosine in float64."""
    found, cosine = np.full(len(asked), -1, np.int64), np.zeros(len(asked))
    if not len(asked) or not len(others):
        return found, cosine
    near = asked @ others.T > threshold - SLACK
    # Almost always the first candidate is close indeed; where it is not, all of that row's are looked at.
    rows = np.flatnonzero(near.any(axis=1))
    first = near[rows].argmax(axis=1)
    exactly = cosines(asked, others, rows, first)
    sure = exactly > threshold
    found[rows[sure]], cosine[rows[sure]] = first[sure], exactly[sure]
    left = rows[~sure]
    places, columns = np.nonzero(near[left])
    exactly = cosines(asked, others, left[places], columns)
    close = exactly > threshold
    places, at = np.unique(places[close], return_index=True)
    found[left[places]], cosine[left[places]] = columns[close][at], exactly[close][at]
    return found, cosine


def _settle(
    vectors: Floats, asked: Ints, kept: Ints, threshold: float, keeper: Ints, cosine: NDArray[np.float64]
) -> None:
    """Compare rows with rows that stay (ascending); note the first too close, unless an earlier one is noted."""
    for start in range(0, len(asked), BLOCK):
        rows = asked[start : start + BLOCK]
        for first in range(0, len(kept), AGAINST):
            place, exactly = first_close(vectors[rows], vectors[kept[first : first + AGAINST]], threshold)
            found = np.flatnonzero(place >= 0)
            others = kept[first + place[found]]
            noted = keeper[rows[found]]
            better = (noted < 0) | (others < noted)
            keeper[rows[found[better]]], cosine[rows[found[better]]] = others[better], exactly[found[better]]
            rows = rows[place < 0]


def _among(vectors: Floats, rows: Ints, threshold: float, keeper: Ints, cosine: NDArray[np.float64]) -> Ints:
    """Keep-first among some rows (ascending); the ones that stay."""
    block = vectors[rows]
    near = np.triu(block @ block.T > threshold - SLACK, 1)
    stays = np.ones(len(rows), bool)
    for i in np.flatnonzero(near.any(axis=1)):
        if not stays[i]:
            continue
        later = np.flatnonzero(near[i] & stays)
        exactly = cosines(block, block, np.full(len(later), i), later)
        for j, value in zip(later[exactly > threshold], exactly[exactly > threshold], strict=True):
            stays[j] = False
            keeper[rows[j]], cosine[rows[j]] = rows[i], value
    staying: Ints = rows[stays]
    return staying


def cosines(one: Floats, other: Floats, xs: Ints, ys: Ints) -> NDArray[np.float64]:
    """Cosines of pairs of rows, ``xs`` of the one and ``ys`` of the other, in float64."""
    found = np.empty(len(xs))
    for start in range(0, len(xs), BLOCK):
        x = one[xs[start : start + BLOCK]].astype(np.float64)
        y = other[ys[start : start + BLOCK]].astype(np.float64)
        lengths = np.sqrt(np.einsum("ij,ij->i", x, x) * np.einsum("ij,ij->i", y, y))
        found[start : start + BLOCK] = np.einsum("ij,ij->i", x, y) / lengths
    return found


def _by_cells(vectors: Floats, threshold: float) -> Gone:
    every = nearest(vectors, trained(vectors), MOST_CELLS)
    cells, covered = _enough(vectors, every, threshold)
    probes, home = every[:, :cells], every[:, 0]
    keeper, cosine = np.full(len(vectors), -1, np.int64), np.zeros(len(vectors))
    kept: list[list[Ints]] = [[] for _ in range(int(home.max()) + 1)]
    for start in range(0, len(vectors), FAR):
        rows = np.arange(start, min(start + FAR, len(vectors)))
        for cell, asked in by_cell(rows, probes[rows]):
            if kept[cell]:
                kept[cell] = [np.concatenate(kept[cell])]
                _settle(vectors, asked, kept[cell][0], threshold, keeper, cosine)
        lately: dict[int, list[Ints]] = {}
        for first in range(0, len(rows), NEAR):
            few = rows[first : first + NEAR]
            few = few[keeper[few] < 0]
            for cell, asked in by_cell(few, probes[few]):
                if cell in lately:
                    _settle(vectors, asked, np.concatenate(lately[cell]), threshold, keeper, cosine)
            stay = _among(vectors, few[keeper[few] < 0], threshold, keeper, cosine)
            for cell, new in by_cell(stay, home[stay, None]):
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


def _close_pairs(vectors: Floats, rows: Ints, threshold: float) -> Iterator[tuple[Ints, Ints, float]]:
    """Pairs of one of ``rows`` and any other with a cosine above the threshold, by brute force; the later first.

    They come in blocks. Of a block with more than PAIRS of them so many are drawn, and each stands for as many as the
    number that comes with it: dense data has billions of close pairs.
    """
    sampled = vectors[rows]
    rng = np.random.default_rng(1)
    for start in range(0, len(vectors), AGAINST):
        near = sampled @ vectors[start : start + AGAINST].T > threshold
        itself = np.flatnonzero((rows >= start) & (rows < start + near.shape[1]))
        near[itself, rows[itself] - start] = False
        found = np.flatnonzero(near)
        weight = max(1.0, len(found) / PAIRS)
        if weight > 1:
            found = found[rng.integers(0, len(found), PAIRS)]
        x, y = rows[found // near.shape[1]], start + found % near.shape[1]
        yield np.maximum(x, y), np.minimum(x, y), weight


def _enough(vectors: Floats, cells: NDArray[np.int32], threshold: float) -> tuple[int, float]:
    """How many cells a row must look into, and what share of the close pairs of a sample those hold.

    A pair is seen when the later row looks into the earlier one's cell.
    """
    sample = np.linspace(0, len(vectors) - 1, SAMPLED).round().astype(np.int64)
    seen, pairs = np.zeros(cells.shape[1]), 0.0
    for later, earlier, weight in _close_pairs(vectors, sample, threshold):
        seen += weight * (cells[later] == cells[earlier, 0][:, None]).sum(axis=0)
        pairs += weight * len(later)
    if not pairs:
        return min(4, cells.shape[1]), 1.0
    share = np.cumsum(seen) / pairs
    count = int(np.argmax(share >= WANTED)) + 1 if share[-1] >= WANTED else cells.shape[1]
    return count, float(share[count - 1])


def _recall(vectors: Floats, keeper: Ints, threshold: float) -> dict[str, object]:
    """Share of the close pairs of a sample of rows of which one went; and how many pairs that was measured on."""
    half = len(vectors) // (2 * SAMPLED)  # other rows than those that the number of cells was chosen by
    sample = np.linspace(half, len(vectors) - 1 - half, SAMPLED).round().astype(np.int64)
    missed = pairs = 0.0
    for later, earlier, weight in _close_pairs(vectors, sample, threshold):
        missed += weight * int(((keeper[later] < 0) & (keeper[earlier] < 0)).sum())
        pairs += weight * len(later)
    return {"recall": round(1 - missed / max(1, pairs), 5), "recall_pairs": round(pairs)}
