"""Count how often a key came before, in 10 bytes a key.

Keys are 64-bit hashes. They are kept as sorted runs, each at least twice as long as the one after it (a log-structured
merge): a key is copied about log2(rows / chunk) times in all. A table of bits tells most new keys before they are
looked for. 100 million rows take 1 GB, and 0.8 GB again for a moment while two long runs are merged.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]

#: Bits for each expected key: of a key that is new, one in as many is looked for.
_BITS = 16


class Occurrences:
    """The keys seen so far."""

    def __init__(self, expected: int = 0) -> None:
        """``expected`` keys, about: the more there are, the more often a key is looked for in vain."""
        self._runs: list[Keys] = []
        self._bits = np.zeros(1 << max(10, (_BITS * expected // 8).bit_length()), np.uint8)

    def number(self, keys: Keys) -> NDArray[np.int64]:
        """How many equal keys came before each key, in this call and earlier ones; remembers them."""
        if not keys.size:
            return np.zeros(0, np.int64)
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        place = np.arange(keys.size)
        starts = np.append(True, ordered[1:] != ordered[:-1])
        before = place - np.maximum.accumulate(np.where(starts, place, 0))
        places = self._perhaps_seen(ordered)
        asked = ordered[places]
        for run in self._runs:
            before[places] += np.searchsorted(run, asked, "right") - np.searchsorted(run, asked, "left")
        self._remember(ordered)
        numbers = np.empty(keys.size, np.int64)
        numbers[order] = before
        return numbers

    def _perhaps_seen(self, keys: Keys) -> NDArray[np.int64]:
        """Places of the keys that may have come before: all that have, and few others; remembers the keys."""
        byte = (keys >> np.uint64(3)) & np.uint64(len(self._bits) - 1)
        bit = np.left_shift(1, keys & np.uint64(7)).astype(np.uint8)
        seen = np.flatnonzero(self._bits[byte] & bit)
        np.bitwise_or.at(self._bits, byte, bit)
        return seen

    def _remember(self, run: Keys) -> None:
        while self._runs and self._runs[-1].size < 2 * run.size:
            run = np.concatenate([self._runs.pop(), run])
            run.sort(kind="stable")
        self._runs.append(run)
