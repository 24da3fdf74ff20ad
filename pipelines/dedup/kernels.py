"""Compiled kernels over Arrow buffers: texts to shingle sets, sets to similarities and simulated vectors.

A shingle set is a run of ascending 64-bit hashes in one long array, given by its start and its size. Set operations
are exact on those hashes (two of 1,000,000 different shingles share a hash with probability 3e-8). Nothing here knows
of Arrow, ids or settings. Compiled code is cached beside this file, or in NUMBA_CACHE_DIR.
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
def _white(text: U8, i: int, end: int) -> int:
    """Bytes of the white-space character (as in ``str.split``) that starts at ``i``; 0 when none does."""
    c = text[i]
    if c <= 0x20:
        return 1 if c == 0x20 or 0x09 <= c <= 0x0D or 0x1C <= c <= 0x1F else 0
    if c < 0xC2 or c > 0xE3:
        return 0
    if c == 0xC2:
        return 2 if i + 1 < end and (text[i + 1] == 0x85 or text[i + 1] == 0xA0) else 0
    if c < 0xE1 or i + 2 >= end:
        return 0
    d, e = text[i + 1], text[i + 2]
    if c == 0xE1:
        return 3 if d == 0x9A and e == 0x80 else 0
    if c == 0xE2:
        if d == 0x80:
            return 3 if 0x80 <= e <= 0x8A or e == 0xA8 or e == 0xA9 or e == 0xAF else 0
        return 3 if d == 0x81 and e == 0x9F else 0
    return 3 if d == 0x80 and e == 0x80 else 0


@kernel
def _words(text: U8, begin: int, end: int, starts: I64, ends: I64) -> int:
    """Write where each word of ``text[begin:end]`` starts and ends; returns how many there are."""
    count = 0
    inside = False
    i = begin
    while i < end:
        white = _white(text, i, end)
        if white:
            if inside:
                ends[count - 1] = i
                inside = False
            i += white
        else:
            if not inside:
                starts[count] = i
                count += 1
                inside = True
            i += 1
    if inside:
        ends[count - 1] = end
    return count


@kernel
def ascending(values: NDArray[Any]) -> None:
    """Sort in place: a heap first where there are many, else insertion (numba's own sort takes seconds to compile)."""
    if len(values) > 48:
        _heap_sort(values)
        return
    for i in range(1, len(values)):
        v = values[i]
        j = i - 1
        while j >= 0 and values[j] > v:
            values[j + 1] = values[j]
            j -= 1
        values[j + 1] = v


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


@kernel
def _head(values: U64, count: int, size: int) -> U64:
    """A new array of ``size`` that begins with the first ``count`` values."""
    head = np.empty(size, np.uint64)
    for i in range(count):
        head[i] = values[i]
    return head


@kernel
def shingle_sets(text: U8, offsets: I64, n: int) -> tuple[U64, I64]:
    """Sets of hashed word n-grams of the rows ``text[offsets[i]:offsets[i + 1]]``.

    Returns:
        All sets after one another, each in ascending order, and the size of each (0 for rows of fewer than n words).
    """
    rows = len(offsets) - 1
    longest = 0
    for row in range(rows):
        longest = max(longest, offsets[row + 1] - offsets[row])
    starts = np.empty(longest // 2 + 1, np.int64)
    ends = np.empty(longest // 2 + 1, np.int64)
    sizes = np.zeros(rows, np.int64)
    hashes = np.empty(max(1024, (offsets[rows] - offsets[0]) // 5), np.uint64)
    filled = 0
    for row in range(rows):
        shingles = _words(text, offsets[row], offsets[row + 1], starts, ends) - n + 1
        if shingles <= 0:
            continue
        if filled + shingles > len(hashes):
            hashes = _head(hashes, filled, 2 * (filled + shingles))
        for s in range(shingles):
            h = FNV_OFFSET
            for w in range(s, s + n):
                if w > s:
                    h = (h ^ SPACE) * FNV_PRIME
                for i in range(starts[w], ends[w]):
                    h = (h ^ np.uint64(text[i])) * FNV_PRIME
            hashes[filled + s] = fmix64(h)
        ascending(hashes[filled : filled + shingles])
        kept = filled
        for s in range(filled + 1, filled + shingles):
            if hashes[s] != hashes[kept]:
                kept += 1
                hashes[kept] = hashes[s]
        sizes[row] = kept + 1 - filled
        filled = kept + 1
    return _head(hashes, filled, filled), sizes


@kernel
def fingerprints(hashes: U64, starts: I64, sizes: I64) -> U64:
    """One hash a set, equal for equal sets; 0 only for the empty set."""
    out = np.zeros(len(starts), np.uint64)
    for row in range(len(starts)):
        if sizes[row]:
            h = FNV_OFFSET
            for i in range(starts[row], starts[row] + sizes[row]):
                h = fmix64(h ^ hashes[i])
            out[row] = max(h, np.uint64(1))
    return out


@kernel
def overlap(hashes: U64, starts: I64, sizes: I64, x: int, y: int) -> int:
    """Size of the intersection of two sets."""
    i, j = starts[x], starts[y]
    i_end, j_end = i + sizes[x], j + sizes[y]
    common = 0
    while i < i_end and j < j_end:
        if hashes[i] == hashes[j]:
            common += 1
            i += 1
            j += 1
        elif hashes[i] < hashes[j]:
            i += 1
        else:
            j += 1
    return common


@kernel
def jaccard(hashes: U64, starts: I64, sizes: I64, xs: I64, ys: I64) -> NDArray[np.float64]:
    """Exact Jaccard similarity of each pair of sets (not both empty)."""
    out = np.empty(len(xs), np.float64)
    for k in range(len(xs)):
        common = overlap(hashes, starts, sizes, xs[k], ys[k])
        out[k] = common / (sizes[xs[k]] + sizes[ys[k]] - common)
    return out


@kernel
def sign_sums(hashes: U64, starts: I64, sizes: I64, dimensions: int) -> NDArray[np.float32]:
    """For each set the sum of its members' vectors of +1 and -1, drawn from their hashes, scaled to length 1."""
    out = np.zeros((len(starts), dimensions), np.float32)
    for row in range(len(starts)):
        for i in range(starts[row], starts[row] + sizes[row]):
            bits = hashes[i]
            for d in range(dimensions):
                if d % 64 == 0:
                    bits = fmix64(bits + np.uint64(0x9E3779B97F4A7C15))
                out[row, d] += np.float32(1) if (bits >> np.uint64(d % 64)) & np.uint64(1) else np.float32(-1)
        squares = np.float32(0)
        for d in range(dimensions):
            squares += out[row, d] * out[row, d]
        if squares > 0:
            scale = np.float32(1) / np.sqrt(squares)
            for d in range(dimensions):
                out[row, d] *= scale
    return out
