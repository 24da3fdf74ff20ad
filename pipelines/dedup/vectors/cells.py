"""Vectors parted into cells by k-means, so that a search looks only where a close vector can be.

``centroids = trained(vectors)``; ``nearest(vectors, centroids, 4)`` are the four cells that each is nearest to.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UserError

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

#: Rows up to which everything is compared with everything, and no cells are made.
EXACT_ROWS = 20_000
#: Rows of a cell, about, up to 4,000,000 rows; vectors a cell is trained on, and rounds of k-means.
CELL_ROWS, TRAINED_ON, ROUNDS = 1000, 64, 8
#: The most cells that a row looks into.
MOST_CELLS = 32
#: Share of what is close that the cells looked into must hold, on a sample of rows; rows of the sample.
WANTED, SAMPLED = 0.995, 512
#: Rows whose cells are looked up at once.
_BLOCK = 4096


def refuse_missing(rows: int) -> None:
    """UserError where so many rows need cells and faiss is not installed; imports nothing."""
    if rows > EXACT_ROWS and find_spec("faiss") is None:
        raise _not_installed()


def trained(vectors: Floats) -> Floats:
    """The middles of the cells of some vectors, shape (cells, dimensions).

    Raises:
        UserError: faiss is not installed.
    """
    return middles_of(vectors[trained_on(len(vectors))], len(vectors))


def cells_for(rows: int) -> int:
    """How many cells so many rows are parted into: of many rows as many as are about as much to look at as a cell."""
    return max(2, min(rows // CELL_ROWS, int(2 * sqrt(rows))))


def trained_on(rows: int) -> Ints:
    """Which of so many rows cells are trained on: evenly from all, the same in any order of the input."""
    return np.linspace(0, rows - 1, min(rows, TRAINED_ON * cells_for(rows))).round().astype(np.int64)


def middles_of(sample: Floats, rows: int) -> Floats:
    """The middles of the cells of so many rows, by the ``sample`` of them that ``trained_on`` names.

    Raises:
        UserError: faiss is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise _not_installed() from error
    means = faiss.Kmeans(
        sample.shape[1], cells_for(rows), niter=ROUNDS, spherical=True, seed=1, min_points_per_centroid=1, verbose=False
    )
    faiss.omp_set_num_threads(len(os.sched_getaffinity(0)))
    means.train(np.ascontiguousarray(sample))
    return np.asarray(means.centroids, np.float32)


def nearest(vectors: Floats, centroids: Floats, most: int) -> NDArray[np.int32]:
    """The cells of each vector, the nearest first, shape (vectors, up to ``most``)."""
    most = min(most, len(centroids))
    found = np.empty((len(vectors), most), np.int32)
    for start in range(0, len(vectors), _BLOCK):
        near = vectors[start : start + _BLOCK] @ centroids.T
        top = np.argpartition(-near, most - 1, axis=1)[:, :most]
        by_distance = np.argsort(-np.take_along_axis(near, top, axis=1), axis=1, kind="stable")
        found[start : start + _BLOCK] = np.take_along_axis(top, by_distance, axis=1)
    return found


def by_cell(rows: Ints, cells: NDArray[np.int32]) -> list[tuple[int, Ints]]:
    """Rows by each of their cells (``cells``: a line for each of ``rows``), in order within a cell."""
    if not len(rows):
        return []
    flat = cells.ravel()
    order = np.argsort(flat, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(flat[order]) != 0, True)) + 1
    owners = np.repeat(rows, cells.shape[1])[order]
    return [
        (int(flat[order[begin]]), owners[begin:end])
        for begin, end in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True)
    ]


def _not_installed() -> UserError:
    return UserError(
        f"dedup.embedding.enabled=true: more than {EXACT_ROWS:,} rows need the package faiss-cpu; pip install faiss-cpu"
    )
