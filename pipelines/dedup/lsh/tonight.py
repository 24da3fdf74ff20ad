"""The rows that a deduplication looks through, tonight's and those of a standing index: in memory or in files."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.dedup.lsh.comparison import Keys
from pipelines.dedup.lsh.shingles import ShingleSets

Ints = NDArray[np.int64]

#: Key space is cut into this many equal slices.
SLICES = 256


class Candidates(NamedTuple):
    """Some rows: ids (``large_string``), sets, and what the keeper rule goes by (none for ``first``)."""

    ids: pa.Array
    sets: ShingleSets
    scores: NDArray[np.float64]


class Tonight(Protocol):
    """The rows to look through, in memory or in files."""

    @property
    def rows(self) -> int: ...

    def keys(self, band: int, first: int, last: int) -> tuple[Keys, Ints]:
        """Keys of one band from slice ``first`` to before ``last`` of SLICES, in no order; and their rows."""

    def sketched(self, rows: Ints) -> list[tuple[ShingleSets, Keys]]:
        """The sets of some rows (ascending), and hashes of their ids, in pieces."""

    def fetched(self, rows: Ints) -> Candidates:
        """Some rows (ascending)."""


class Known(Tonight, Protocol):
    """The rows of a standing index."""

    def matching(self, band: int, first: int, last: int, keys: Keys) -> tuple[Keys, Ints]:
        """Keys of one band and some slices that are among ``keys`` (ascending, no repeats); and their rows."""
