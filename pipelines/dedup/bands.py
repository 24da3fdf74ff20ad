"""Compiled kernels from shingle sets to MinHash signatures, and from signatures to the keys of bands.

Signatures are those of datasketch 2.0's default scheme, bit for bit. Sets are given as in ``kernels``: ascending
hashes in one long array, with the start and the size of each set.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.dedup.kernels import FNV_OFFSET, FNV_PRIME, I64, U64, fmix64, kernel

U32 = NDArray[np.uint32]


@kernel
def fmix32(h: np.uint32) -> np.uint32:
    """MurmurHash3's 32-bit finaliser, with which datasketch 2.0 mixes every hash before permuting it."""
    h = np.uint32(h ^ (h >> np.uint32(16)))
    h = np.uint32(h * np.uint32(0x85EBCA6B))
    h = np.uint32(h ^ (h >> np.uint32(13)))
    h = np.uint32(h * np.uint32(0xC2B2AE35))
    return np.uint32(h ^ (h >> np.uint32(16)))


@kernel
def _sign(hashes: U64, start: int, size: int, a: U32, b: U32, out: U32) -> None:
    """One affine32 signature: the least value of ``a * fmix32(h) + b`` modulo 2^32, for every permutation."""
    for p in range(len(out)):
        out[p] = np.uint32(0xFFFFFFFF)
    for i in range(start, start + size):
        h = fmix32(np.uint32(hashes[i] & np.uint64(0xFFFFFFFF)))
        for p in range(len(out)):
            out[p] = min(out[p], np.uint32(a[p] * h + b[p]))


@kernel
def signatures(
    hashes: U64,
    starts: I64,
    sizes: I64,
    a: U32,
    b: U32,
) -> U32:
    """MinHash signatures, one row a set."""
    out = np.empty((len(starts), len(a)), np.uint32)
    for row in range(len(starts)):
        _sign(hashes, starts[row], sizes[row], a, b, out[row])
    return out


@kernel
def band_keys(
    hashes: U64,
    starts: I64,
    sizes: I64,
    a: U32,
    b: U32,
    bands: int,
) -> U64:
    """One 64-bit key for every band (first axis) and set (second); only sets that agree in a whole band share one."""
    width = len(a) // bands
    out = np.empty((bands, len(starts)), np.uint64)
    signature = np.empty(len(a), np.uint32)
    for row in range(len(starts)):
        _sign(hashes, starts[row], sizes[row], a, b, signature)
        for band in range(bands):
            key = FNV_OFFSET
            for p in range(band * width, (band + 1) * width):
                key = (key ^ np.uint64(signature[p])) * FNV_PRIME
                key ^= key >> np.uint64(32)
            out[band, row] = fmix64(key)
    return out
