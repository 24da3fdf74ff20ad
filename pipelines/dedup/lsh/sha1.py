"""SHA-1 as compiled code, for datasketch's own token hashes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.kernels import U8, kernel


@kernel
def _rotated(x: np.uint32, by: int) -> np.uint32:
    return np.uint32((x << np.uint32(by)) | (x >> np.uint32(32 - by)))


@kernel
def _sha1_block(state: NDArray[np.uint32], w: NDArray[np.uint32]) -> None:
    """One block of SHA-1; ``w`` holds its 16 words and room for 64 more."""
    for t in range(16, 80):
        w[t] = _rotated(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1)
    a, b, c, d, e = state[0], state[1], state[2], state[3], state[4]
    for t in range(80):
        if t < 20:
            mixed = np.uint32(((b & c) | (~b & d)) + np.uint32(0x5A827999))
        elif t < 40:
            mixed = np.uint32((b ^ c ^ d) + np.uint32(0x6ED9EBA1))
        elif t < 60:
            mixed = np.uint32(((b & c) | (b & d) | (c & d)) + np.uint32(0x8F1BBCDC))
        else:
            mixed = np.uint32((b ^ c ^ d) + np.uint32(0xCA62C1D6))
        a, b, c, d, e = np.uint32(_rotated(a, 5) + mixed + e + w[t]), a, _rotated(b, 30), c, d
    state[0] = np.uint32(state[0] + a)
    state[1] = np.uint32(state[1] + b)
    state[2] = np.uint32(state[2] + c)
    state[3] = np.uint32(state[3] + d)
    state[4] = np.uint32(state[4] + e)


@kernel
def sha1_hash64(message: U8, size: int, w: NDArray[np.uint32], state: NDArray[np.uint32]) -> np.uint64:
    """The first 8 bytes of SHA-1 of ``message[:size]``, little-endian: ``datasketch.hashfunc.sha1_hash64``."""
    state[0], state[1], state[2] = 0x67452301, 0xEFCDAB89, 0x98BADCFE
    state[3], state[4] = 0x10325476, 0xC3D2E1F0
    for block in range((size + 72) // 64):
        for t in range(16):
            word = np.uint32(0)
            for byte in range(4):
                at = 64 * block + 4 * t + byte
                value = np.uint32(message[at]) if at < size else np.uint32(0x80 if at == size else 0)
                word = np.uint32((word << np.uint32(8)) | value)
            w[t] = word
        if block == (size + 72) // 64 - 1:
            w[14], w[15] = np.uint32((8 * size) >> 32), np.uint32((8 * size) & 0xFFFFFFFF)
        _sha1_block(state, w)
    out = np.uint64(0)
    for byte in range(8):
        value = (state[byte // 4] >> np.uint32(24 - 8 * (byte % 4))) & np.uint32(0xFF)
        out |= np.uint64(value) << np.uint64(8 * byte)
    return out
