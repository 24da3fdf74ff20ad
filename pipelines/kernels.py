"""What all compiled kernels share: how they are compiled, the hashes, a sort.

Nothing here knows of Arrow, ids or settings. Compiled code is cached beside each file, or in NUMBA_CACHE_DIR.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

F = TypeVar("F", bound=Callable[..., Any])
U8 = NDArray[np.uint8]
U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]

HASH_SEED = np.uint64(0xCBF29CE484222325)
HASH_PRIME = np.uint64(0x9E3779B97F4A7C15)
#: Values that insertion sorts faster than anything else.
_SHORT = 32


def kernel(function: F) -> F:
    """Compile on first call, keep the machine code on disk, release the GIL while it runs."""
    compiled: F = njit(cache=True, nogil=True)(function)
    return compiled


def leaf(function: F) -> F:
    """A kernel that is written into those that call it: a call with an array costs more than a small kernel's work."""
    compiled: F = njit(cache=True, nogil=True, inline="always")(function)
    return compiled


@leaf
def fmix64(h: np.uint64) -> np.uint64:
    """MurmurHash3's 64-bit finaliser."""
    h ^= h >> np.uint64(33)
    h *= np.uint64(0xFF51AFD7ED558CCD)
    h ^= h >> np.uint64(33)
    h *= np.uint64(0xC4CEB9FE1A85EC53)
    return h ^ (h >> np.uint64(33))


@intrinsic  # type: ignore[untyped-decorator]
def _load(typing: Any, text: Any, at: Any) -> Any:
    """Eight bytes of an array as they lie, from any place in it; the caller sees to its end."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = builder.gep(array.data, [arguments[1]])
        loaded = builder.load(builder.bitcast(place, ir.IntType(64).as_pointer()))
        loaded.align = 1
        return loaded

    return types.uint64(text, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def trailing_zeros(typing: Any, value: Any) -> Any:
    """Zero bits below the lowest bit that is set; 64 for none."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.IntType(1)(0))

    return types.uint64(types.uint64), generate


@intrinsic  # type: ignore[untyped-decorator]
def at_address(typing: Any, address: Any) -> Any:
    """The 64-bit number at an address, which the caller vouches for."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(builder.inttoptr(arguments[0], ir.IntType(64).as_pointer()))

    return types.uint64(types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def bits_set(typing: Any, value: Any) -> Any:
    """How many bits are set."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), generate


@leaf
def eight(text: U8, at: int) -> np.uint64:
    """The eight bytes from ``at`` on, the first lowest; zeros beyond the end of ``text``."""
    if at + 8 <= len(text):
        return _load(text, at)  # type: ignore[no-any-return]
    value = np.uint64(0)
    for i in range(len(text) - 1, at - 1, -1):
        value = (value << np.uint64(8)) | np.uint64(text[i])
    return value


@leaf
def hash64(text: U8, begin: int, end: int) -> np.uint64:
    """Our 64-bit hash of ``text[begin:end]``: eight bytes at a time, finished by fmix64."""
    h = HASH_SEED ^ (np.uint64(end - begin) * HASH_PRIME)
    i = begin
    while i + 8 <= end:
        h = (h ^ eight(text, i)) * HASH_PRIME
        h ^= h >> np.uint64(32)
        i += 8
    if i < end:
        tail = eight(text, i) & ((np.uint64(1) << np.uint64(8 * (end - i))) - np.uint64(1))
        h = (h ^ tail) * HASH_PRIME
        h ^= h >> np.uint64(32)
    return fmix64(h)


@leaf
def hash_few(text: np.uint64, size: int) -> np.uint64:
    """``hash64`` of fewer than eight bytes, one at least, given as ``eight`` gives them."""
    h = HASH_SEED ^ (np.uint64(size) * HASH_PRIME)
    h = (h ^ (text & ((np.uint64(1) << np.uint64(8 * size)) - np.uint64(1)))) * HASH_PRIME
    return fmix64(h ^ (h >> np.uint64(32)))


@kernel
def text_hashes(text: U8, offsets: I64) -> U64:
    """Our 64-bit hash of each row ``text[offsets[i]:offsets[i + 1]]`` as it stands."""
    out = np.empty(len(offsets) - 1, np.uint64)
    for row in range(len(out)):
        out[row] = hash64(text, offsets[row], offsets[row + 1])
    return out


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
