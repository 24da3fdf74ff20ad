"""What all kernels share: how they are compiled, the hash that mixes, a sort.

Nothing here knows of Arrow, ids or settings. Compiled code is cached beside each file, or in NUMBA_CACHE_DIR.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

F = TypeVar("F", bound=Callable[..., Any])
U8 = NDArray[np.uint8]
U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]

FNV_OFFSET = np.uint64(0xCBF29CE484222325)
FNV_PRIME = np.uint64(0x100000001B3)
SPACE = np.uint64(0x20)
#: Values that insertion sorts faster than anything else.
_SHORT = 32


def kernel(function: F) -> F:
    """Compile on first call, keep the machine code on disk, release the GIL while it runs."""
    compiled: F = njit(cache=True, nogil=True)(function)
    return compiled


@kernel
def fmix64(h: np.uint64) -> np.uint64:
    """MurmurHash3's 64-bit finaliser."""
    h ^= h >> np.uint64(33)
    h *= np.uint64(0xFF51AFD7ED558CCD)
    h ^= h >> np.uint64(33)
    h *= np.uint64(0xC4CEB9FE1A85EC53)
    return h ^ (h >> np.uint64(33))


@kernel
def ascending(values: NDArray[Any]) -> None:
    """Sort in place: quicksort down to short runs, then insertion (numba's own sort takes seconds to compile)."""
    if len(values) > _SHORT:
        _parted(values)
    for i in range(1, len(values)):
        v = values[i]
        j = i - 1
        while j >= 0 and values[j] > v:
            values[j + 1] = values[j]
            j -= 1
        values[j + 1] = v


@kernel
def _parted(values: NDArray[Any]) -> None:
    """Quicksort that leaves runs of at most _SHORT to insertion, and bad luck to a heap."""
    stack = np.empty((64, 2), np.int64)
    stack[0, 0], stack[0, 1] = 0, len(values)
    depth = 1
    swaps = 0
    while depth:
        depth -= 1
        low, high = stack[depth, 0], stack[depth, 1]
        while high - low > _SHORT:
            swaps += high - low
            if depth > 60 or swaps > 64 * len(values):
                _heap_sort(values[low:high])
                break
            x, y, z = values[low], values[(low + high) // 2], values[high - 1]
            pivot = max(min(x, y), min(max(x, y), z))
            i, j = low, high - 1
            while i <= j:
                while values[i] < pivot:
                    i += 1
                while values[j] > pivot:
                    j -= 1
                if i <= j:
                    values[i], values[j] = values[j], values[i]
                    i += 1
                    j -= 1
            # The longer side waits on the stack, so that it never holds more than log2 of them.
            if j + 1 - low < high - i:
                stack[depth, 0], stack[depth, 1] = i, high
                high = j + 1
            else:
                stack[depth, 0], stack[depth, 1] = low, j + 1
                low = i
            depth += 1


@kernel
def _heap_sort(values: NDArray[Any]) -> None:
    size = len(values)
    first = size // 2
    while size > 1:
        if first > 0:
            first -= 1
            v = values[first]
        else:
            size -= 1
            v = values[size]
            values[size] = values[0]
        hole = first
        child = 2 * hole + 1
        while child < size:
            if child + 1 < size and values[child + 1] > values[child]:
                child += 1
            if values[child] <= v:
                break
            values[hole] = values[child]
            hole = child
            child = 2 * hole + 1
        values[hole] = v
