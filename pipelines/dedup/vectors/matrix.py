"""The matrix of vectors that a search looks through: in memory, or in a file where it would fill most of that.

1,000,000 rows of 384 numbers take 1.5 GB. The file has no name, so it is gone with the process, however that ends.
"""

from __future__ import annotations

import os
import tempfile

import numpy as np
from numpy.typing import NDArray

from pipelines.dedup import memory
from pipelines.errors import UserError

Floats = NDArray[np.float32]

#: What a search takes beside the vectors themselves, and the share of the memory that is free which it may take.
BESIDE, SHARE = 1.5, 0.6
#: Rows that are moved or looked at at once.
_BLOCK = 65_536


def zeros(rows: int, dimensions: int) -> Floats:
    """A matrix of zeros, in a temporary file (in ``TMPDIR``) where memory is too small for the search in it.

    Raises:
        UserError: the file has no room either.
    """
    size = rows * dimensions * 4
    free = memory.free()
    if size * BESIDE <= SHARE * free:
        return np.zeros((rows, dimensions), np.float32)
    with tempfile.TemporaryFile(prefix="nightmill-vectors-") as file:
        try:
            # A hole that finds no room when it is written to would end the process without a word.
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            raise UserError(
                f"dedup.embedding: the vectors of {rows:,} rows take {size / 2**30:.1f} GiB; {free / 2**30:.1f} GiB of "
                f"memory are free, and {tempfile.gettempdir()} has no room ({error.strerror}); free some space there, "
                "or point TMPDIR at a folder that has room"
            ) from error
        return np.memmap(file, np.float32, "r+", shape=(rows, dimensions))


def with_direction(matrix: Floats) -> NDArray[np.bool_]:
    """Which rows are vectors with a direction: finite, and not zero."""
    found = np.zeros(len(matrix), bool)
    for start in range(0, len(matrix), _BLOCK):
        block = matrix[start : start + _BLOCK]
        found[start : start + _BLOCK] = np.isfinite(block).all(axis=1) & block.any(axis=1)
    return found


def only(matrix: Floats, rows: NDArray[np.int64]) -> Floats:
    """The matrix with ``rows`` (ascending) moved to its beginning, cut after them; the rest of it is lost."""
    if len(rows) < len(matrix):
        for start in range(0, len(rows), _BLOCK):
            some = rows[start : start + _BLOCK]
            matrix[start : start + len(some)] = matrix[some]
    return matrix[: len(rows)]
