"""Count how often a key came before, in 8 bytes a key.

Keys are 64-bit hashes. They are kept as sorted runs, each at least twice as long as the one after it (a log-structured
merge): a key is copied about log2(rows / chunk) times in all and looked for in as many runs. 100 million rows take
0.8 GB, and as much again for a moment while two long runs are merged.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]


class Occurrences:
    """The keys seen so far."""

    def __init__(self) -> None:
        self._runs: list[Keys] = []

    def number(self, keys: Keys) -> NDArray[np.int64]:
        """How many equal keys came before each key, in this call and earlier ones; remembers them."""
        if not keys.size:
            return np.zeros(0, np.int64)
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        place = np.arange(keys.size)
        starts = np.append(True, ordered[1:] != ordered[:-1])
        before = place - np.maximum.accumulate(np.where(starts, place, 0))
        for run in self._runs:
            before += np.searchsorted(run, ordered, "right") - np.searchsorted(run, ordered, "left")
        self._remember(ordered)
        numbers = np.empty(keys.size, np.int64)
        numbers[order] = before
        return numbers

    def _remember(self, run: Keys) -> None:
        while self._runs and self._runs[-1].size < 2 * run.size:
            run = np.concatenate([self._runs.pop(), run])
            run.sort(kind="stable")
        self._runs.append(run)
