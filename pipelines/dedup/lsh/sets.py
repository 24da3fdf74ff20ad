"""Compiled kernels over shingle sets, given as in ``pieces``: copies, prints, similarities, simulated vectors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.kernels import HASH_PRIME, I64, U8, U64, at_address, fmix64, kernel, leaf


@kernel
def copied(hashes: U64, starts: I64, sizes: I64, rows: I64) -> U64:
    """The sets of some rows, after one another in a new array."""
    total = 0
    for row in rows:
        total += sizes[row]
    out = np.empty(total, np.uint64)
    at = 0
    for row in rows:
        for i in range(starts[row], starts[row] + sizes[row]):
            out[at] = hashes[i]
            at += 1
    return out


@kernel
def apart(hashes: U64, starts: I64, sizes: I64, groups: U64) -> U64:
    """The members of each set hashed anew with its group, ascending: sets of different groups have none in common."""
    out = np.empty(len(hashes), np.uint64)
    for row in range(len(starts)):
        start, end = starts[row], starts[row] + sizes[row]
        for i in range(start, end):
            out[i] = hashes[i] ^ groups[row]
        out[start:end].sort()
    return out


@kernel
def cut(raw: U8, starts: I64, sizes: I64, out: U8) -> None:
    """Write pieces of ``raw`` into ``out``, after one another."""
    at = 0
    for piece in range(len(starts)):
        for i in range(starts[piece], starts[piece] + sizes[piece]):
            out[at] = raw[i]
            at += 1


@kernel
def set_prints(seeds: U64, hashes: U64, starts: I64, sizes: I64) -> U64:
    """A 64-bit hash of each set and a number that goes with it."""
    out = np.empty(len(starts), np.uint64)
    for row in range(len(starts)):
        h = seeds[row]
        for i in range(starts[row], starts[row] + sizes[row]):
            h = (h ^ hashes[i]) * HASH_PRIME
            h ^= h >> np.uint64(32)
        out[row] = fmix64(h)
    return out


@kernel
def jaccard(hashes: U64, starts: I64, sizes: I64, xs: I64, ys: I64) -> NDArray[np.float64]:
    """Exact Jaccard similarity of each pair of sets (not both empty)."""
    out = np.empty(len(xs), np.float64)
    for k in range(len(xs)):
        out[k] = similar(hashes, starts, sizes, xs[k], ys[k], 0.0)
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


@kernel
def marks(hashes: U64, starts: I64, sizes: I64) -> U64:
    """64 bits of each set: one for each member, by the top bits of its hash."""
    out = np.zeros(len(starts), np.uint64)
    for row in range(len(starts)):
        for i in range(starts[row], starts[row] + sizes[row]):
            out[row] |= np.uint64(1) << (hashes[i] >> np.uint64(58))
    return out


@leaf
def unmatched(a: int, b: int, threshold: float) -> int:
    """The most members of two sets of these sizes that only one has, if they are as alike as the threshold."""
    # J = c / (a + b - c) >= t leaves at most (1 - t) / (1 + t) of a + b unmatched; one more for rounding.
    return int((a + b) * (1 - threshold) / (1 + threshold)) + 1


@kernel
def similar_at(x: int, x_size: int, y: int, y_size: int, threshold: float) -> float:
    """The Jaccard similarity of the sets at two addresses, or -1 below ``threshold``, seen as early as it can be."""
    small, large = min(x_size, y_size), max(x_size, y_size)
    if small / large < threshold:
        return -1.0
    spare = unmatched(small, large, threshold)
    x_end, y_end = x + 8 * x_size, y + 8 * y_size
    common = 0
    while x < x_end and y < y_end:
        one, other = at_address(x), at_address(y)
        if one == other:
            common += 1
            x += 8
            y += 8
        else:
            spare -= 1
            if spare < 0:
                return -1.0
            if one < other:
                x += 8
            else:
                y += 8
    similarity = common / (small + large - common)
    return similarity if similarity >= threshold else -1.0


@kernel
def similar(hashes: U64, starts: I64, sizes: I64, x: int, y: int, threshold: float) -> float:
    """``similar_at`` of two sets of one array."""
    base = hashes.ctypes.data
    return similar_at(base + 8 * starts[x], sizes[x], base + 8 * starts[y], sizes[y], threshold)
