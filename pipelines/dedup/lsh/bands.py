"""Compiled kernels from shingle sets to MinHash signatures, and from signatures to the keys of bands.

Signatures are those of datasketch 2.0's schemes affine32 and affine64, bit for bit. Sets are given as in ``pieces``:
ascending hashes in one long array, with the start and the size of each set.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.kernels import HASH_PRIME, HASH_SEED, I64, U64, ascending, fmix64, kernel

U32 = NDArray[np.uint32]
#: uint32 for affine32, uint64 for affine64.
Unsigned = NDArray[Any]


LOW = np.uint64(0xFFFFFFFF)


@kernel
def fmix32(h: np.uint32) -> np.uint32:
    """MurmurHash3's 32-bit finaliser, with which datasketch 2.0 mixes every hash before permuting it."""
    h = np.uint32(h ^ (h >> np.uint32(16)))
    h = np.uint32(h * np.uint32(0x85EBCA6B))
    h = np.uint32(h ^ (h >> np.uint32(13)))
    h = np.uint32(h * np.uint32(0xC2B2AE35))
    return np.uint32(h ^ (h >> np.uint32(16)))


@kernel
def _sign32(hashes: U64, start: int, size: int, a: U32, b: U32, out: U32) -> None:
    """One affine32 signature: the least value of ``a * fmix32(h) + b`` modulo 2^32, for every permutation."""
    for p in range(len(out)):
        out[p] = np.uint32(0xFFFFFFFF)
    i, end = start, start + size
    # Four at a time: what each permutation has reached is then read and written once for them all.
    while i + 4 <= end:
        h = fmix32(np.uint32(hashes[i] & LOW))
        k = fmix32(np.uint32(hashes[i + 1] & LOW))
        m = fmix32(np.uint32(hashes[i + 2] & LOW))
        n = fmix32(np.uint32(hashes[i + 3] & LOW))
        for p in range(len(out)):
            first = min(np.uint32(a[p] * h + b[p]), np.uint32(a[p] * k + b[p]))
            second = min(np.uint32(a[p] * m + b[p]), np.uint32(a[p] * n + b[p]))
            out[p] = min(out[p], min(first, second))
        i += 4
    while i < end:
        h = fmix32(np.uint32(hashes[i] & LOW))
        for p in range(len(out)):
            out[p] = min(out[p], np.uint32(a[p] * h + b[p]))
        i += 1


@kernel
def _sign64(hashes: U64, start: int, size: int, a: U64, b: U64, out: U64) -> None:
    """One affine64 signature: the least value of ``a * fmix64(h) + b`` modulo 2^64, for every permutation."""
    for p in range(len(out)):
        out[p] = np.uint64(0xFFFFFFFFFFFFFFFF)
    for i in range(start, start + size):
        h = fmix64(hashes[i])
        for p in range(len(out)):
            out[p] = min(out[p], a[p] * h + b[p])


@kernel
def signatures32(hashes: U64, starts: I64, sizes: I64, a: U32, b: U32) -> U32:
    """affine32 signatures, one row a set."""
    out = np.empty((len(starts), len(a)), np.uint32)
    for row in range(len(starts)):
        _sign32(hashes, starts[row], sizes[row], a, b, out[row])
    return out


@kernel
def signatures64(hashes: U64, starts: I64, sizes: I64, a: U64, b: U64) -> U64:
    """affine64 signatures, one row a set."""
    out = np.empty((len(starts), len(a)), np.uint64)
    for row in range(len(starts)):
        _sign64(hashes, starts[row], sizes[row], a, b, out[row])
    return out


@kernel
def _fold(signature: Unsigned, begin: int, end: int) -> np.uint64:
    """The key of one band; 0 is left to sets without a shingle."""
    key = HASH_SEED
    for p in range(begin, end):
        key = (key ^ np.uint64(signature[p])) * HASH_PRIME
        key ^= key >> np.uint64(32)
    return max(fmix64(key), np.uint64(1))


@kernel
def band_keys32(hashes: U64, starts: I64, sizes: I64, a: U32, b: U32, bands: int, out: U64) -> None:
    """One key for every band (first axis of ``out``) and set (second); sets that agree in a whole band share one.

    ``len(a) // bands`` permutations make a band; the others are not used. A set without a shingle has key 0.
    """
    width = len(a) // bands
    used = bands * width
    signature = np.empty(used, np.uint32)
    for row in range(len(starts)):
        if sizes[row]:
            _sign32(hashes, starts[row], sizes[row], a[:used], b[:used], signature)
        for band in range(bands):
            out[band, row] = _fold(signature, band * width, (band + 1) * width) if sizes[row] else np.uint64(0)


@kernel
def band_keys64(hashes: U64, starts: I64, sizes: I64, a: U64, b: U64, bands: int, out: U64) -> None:
    """As ``band_keys32``, from affine64 signatures."""
    width = len(a) // bands
    used = bands * width
    signature = np.empty(used, np.uint64)
    for row in range(len(starts)):
        if sizes[row]:
            _sign64(hashes, starts[row], sizes[row], a[:used], b[:used], signature)
        for band in range(bands):
            out[band, row] = _fold(signature, band * width, (band + 1) * width) if sizes[row] else np.uint64(0)


@kernel
def agreement(signatures: Unsigned, x: int, y: int) -> float:
    """MinHash's estimate of the Jaccard similarity of two sets: the share of permutations in which they agree."""
    same = 0
    for p in range(signatures.shape[1]):
        same += signatures[x, p] == signatures[y, p]
    return float(same / signatures.shape[1])


@kernel
def shared(keys: U64, slots: int, seen: NDArray[np.uint8]) -> I64:
    """Rows whose key another row may have, too: every row of a bucket of two or more, and a few that share a slot.

    ``slots`` is a power of two, ``seen`` two bits a slot, zeroed here. Which rows come by chance depends on all keys,
    so callers group what is returned by the keys themselves.
    """
    seen[:] = 0
    mask = np.uint64(slots - 1)
    for row in range(len(keys)):
        if keys[row]:
            slot = keys[row] & mask
            at, bit = slot >> np.uint64(2), np.uint8(2 * (slot & np.uint64(3)))
            state = (seen[at] >> bit) & np.uint8(3)
            if state < 2:
                seen[at] += np.uint8(1) << bit
    out = np.empty(len(keys), np.int64)
    count = 0
    for row in range(len(keys)):
        if keys[row]:
            slot = keys[row] & mask
            if (seen[slot >> np.uint64(2)] >> np.uint8(2 * (slot & np.uint64(3)))) & np.uint8(3) == 2:
                out[count] = row
                count += 1
    return out[:count].copy()


@kernel
def places_of(theirs: U64, ours: U64) -> I64:
    """Where keys that both have stand in ``theirs`` (sorted, with repeats); ``ours`` are sorted, without repeats."""
    out = np.empty(len(theirs), np.int64)
    count = 0
    j = 0
    for i in range(len(theirs)):
        while j < len(ours) and ours[j] < theirs[i]:
            j += 1
        if j == len(ours):
            break
        if ours[j] == theirs[i]:
            out[count] = i
            count += 1
    return out[:count].copy()


@kernel
def bucket_prints(members: I64, bounds: I64) -> U64:
    """Sort each bucket ``members[bounds[i]:bounds[i + 1]]`` in place, and hash what it holds."""
    out = np.empty(len(bounds) - 1, np.uint64)
    for bucket in range(len(out)):
        rows = members[bounds[bucket] : bounds[bucket + 1]]
        ascending(rows)
        key = HASH_SEED
        for row in rows:
            key = (key ^ np.uint64(row)) * HASH_PRIME
            key ^= key >> np.uint64(32)
        out[bucket] = fmix64(key)
    return out


@kernel
def first_of_equals(members: I64, bounds: I64, prints: U64, order: I64) -> NDArray[np.bool_]:
    """Which of the buckets, sorted each and given in ``order`` of their prints, no bucket before them equals."""
    out = np.ones(len(order), np.bool_)
    for at in range(1, len(order)):
        before = at - 1
        while before >= 0 and prints[order[before]] == prints[order[at]]:
            x, y = order[before], order[at]
            size = bounds[y + 1] - bounds[y]
            if bounds[x + 1] - bounds[x] == size:
                i = 0
                while i < size and members[bounds[x] + i] == members[bounds[y] + i]:
                    i += 1
                if i == size:
                    out[at] = False
                    break
            before -= 1
    return out
