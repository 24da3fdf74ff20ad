"""Compiled kernels from texts, as Arrow holds them, to sets of hashed n-grams.

A shingle set is a run of ascending 64-bit hashes in one long array, given by its start and its size. Set operations are
exact on those hashes (two of 1,000,000 different shingles share one with probability 3e-8).
"""

from __future__ import annotations

import numpy as np

from pipelines.dedup.lsh.sha1 import sha1_hash64
from pipelines.kernels import I64, U8, U64, ascending, eight, hash64, hash_few, kernel, leaf, trailing_zeros


@leaf
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
def _plain(text: U8, begin: int, end: int) -> bool:
    """Whether ``text[begin:end]`` is ASCII."""
    high = np.uint64(0x8080808080808080)
    i = begin
    while i + 8 <= end:
        if eight(text, i) & high:
            return False
        i += 8
    while i < end:
        if text[i] & 0x80:
            return False
        i += 1
    return True


@leaf
def _word_end(text: U8, begin: int, end: int) -> int:
    """Where the first byte up to 0x20 stands in ASCII ``text[begin:end]``; ``end`` where there is none."""
    i = begin
    while i < end:
        x = eight(text, i)
        # The high bit of a byte is set where it is below 0x21; the lowest one that is set is right.
        below = (x - np.uint64(0x2121212121212121)) & ~x & np.uint64(0x8080808080808080)
        if below:
            return min(end, i + int(trailing_zeros(below) >> np.uint64(3)))
        i += 8
    return end


@kernel
def _words(text: U8, begin: int, end: int, starts: I64, ends: I64) -> int:
    """Write where each word of ``text[begin:end]`` starts and ends; returns how many there are."""
    if _plain(text, begin, end):
        return _plain_words(text, begin, end, starts, ends)
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
def _plain_words(text: U8, begin: int, end: int, starts: I64, ends: I64) -> int:
    """``_words`` of ASCII."""
    count = 0
    i = begin
    while i < end:
        if _white(text, i, end):
            i += 1
            continue
        starts[count] = i
        i = _word_end(text, i, end)
        while i < end and not _white(text, i, end):  # a control character that is no white space
            i = _word_end(text, i + 1, end)
        ends[count] = i
        count += 1
    return count


@kernel
def _plain_hashes(text: U8, begin: int, end: int, out: U64) -> int:
    """Write the hash of each word of ASCII ``text[begin:end]``; returns how many there are."""
    count = 0
    i = begin
    while i < end:
        if text[i] <= 0x20 and _white(text, i, end):
            i += 1
            continue
        x = eight(text, i)
        below = (x - np.uint64(0x2121212121212121)) & ~x & np.uint64(0x8080808080808080)
        size: int = min(end - i, int(np.int64(trailing_zeros(below) >> np.uint64(3))))
        if 0 < size < 8 and (i + size == end or _white(text, i + size, end)):
            # A word of fewer than eight bytes, as most are: what was loaded to find its end is all of it.
            out[count] = hash_few(x, size)
            count += 1
            i += size + 1
            continue
        start = i
        i = _word_end(text, i, end)
        while i < end and not _white(text, i, end):  # a control character that is no white space
            i = _word_end(text, i + 1, end)
        out[count] = hash64(text, start, i)
        count += 1
    return count


@kernel
def _characters(text: U8, begin: int, end: int, starts: I64, ends: I64) -> int:
    """Write where each code point of ``text[begin:end]`` starts and ends; returns how many there are."""
    count = 0
    for i in range(begin, end):
        if text[i] & 0xC0 != 0x80:
            if count:
                ends[count - 1] = i
            starts[count] = i
            count += 1
    if count:
        ends[count - 1] = end
    return count


@kernel
def _head(values: U64, count: int, size: int) -> U64:
    """A new array of ``size`` that begins with the first ``count`` values."""
    head = np.empty(size, np.uint64)
    for i in range(count):
        head[i] = values[i]
    return head


@kernel
def _joined(text: U8, starts: I64, ends: I64, first: int, n: int, out: U8) -> int:
    """Write ``n`` pieces from ``first`` on, joined by one space where they do not touch; returns the bytes written."""
    size = 0
    for p in range(first, first + n):
        if p > first and starts[p] != ends[p - 1]:
            out[size] = 0x20
            size += 1
        for i in range(starts[p], ends[p]):
            out[size] = text[i]
            size += 1
    return size


@leaf
def _distinct_few(values: U64, room: U64) -> int:
    """``_distinct`` of as many as have ``room``, up to 64: each is put where those that are less leave its place."""
    taken = np.uint64(0)
    for i in range(len(values)):
        less = 0
        for j in range(len(values)):
            less += values[j] < values[i]
        room[less] = values[i]
        taken |= np.uint64(1) << np.uint64(less)
    count = 0
    while taken:
        values[count] = room[trailing_zeros(taken)]
        taken &= taken - np.uint64(1)
        count += 1
    return count


@kernel
def _distinct(values: U64, room: U64) -> int:
    """Sort in place and move what differs to the front; returns how many there are."""
    if len(values) <= len(room):
        return _distinct_few(values, room)
    ascending(values)
    last = 0
    for i in range(1, len(values)):
        if values[i] != values[last]:
            last += 1
            values[last] = values[i]
    return last + 1


@kernel
def shingle_sets(text: U8, offsets: I64, n: int, characters: bool, sha1: bool) -> tuple[U64, I64]:
    """Sets of hashed n-grams of the rows ``text[offsets[i]:offsets[i + 1]]``, of words or of ``characters``.

    A row with fewer than n pieces, but any, has one shingle: all of it. Hashes are ours, or of ``sha1``; their low 32
    bits are the 32-bit forms.

    Returns:
        All sets after one another, each in ascending order, and the size of each (0 for rows without a piece).
    """
    rows = len(offsets) - 1
    longest = 0
    for row in range(rows):
        longest = max(longest, offsets[row + 1] - offsets[row])
    pieces = longest if characters else longest // 2 + 1
    starts = np.empty(pieces, np.int64)
    ends = np.empty(pieces, np.int64)
    sizes = np.zeros(rows, np.int64)
    hashes = np.empty(max(1024, (offsets[rows] - offsets[0]) // 5), np.uint64)
    message = np.empty(longest + 1, np.uint8)
    words = np.empty(80, np.uint32)
    state = np.empty(5, np.uint32)
    room = np.empty(64, np.uint64)
    filled = 0
    for row in range(rows):
        begin, end = offsets[row], offsets[row + 1]
        if n == 1 and not characters and not sha1 and _plain(text, begin, end):
            most = (end - begin) // 2 + 1
            if filled + most > len(hashes):
                hashes = _head(hashes, filled, 2 * (filled + most))
            count = _plain_hashes(text, begin, end, hashes[filled : filled + most])
            sizes[row] = _distinct(hashes[filled : filled + count], room)
            filled += sizes[row]
            continue
        count = _characters(text, begin, end, starts, ends) if characters else _words(text, begin, end, starts, ends)
        if count == 0:
            continue
        width = min(n, count)
        shingles = count - width + 1
        if filled + shingles > len(hashes):
            hashes = _head(hashes, filled, 2 * (filled + shingles))
        for s in range(shingles):
            if sha1:
                size = _joined(text, starts, ends, s, width, message)
                hashes[filled + s] = sha1_hash64(message, size, words, state)
            elif width == 1:
                hashes[filled + s] = hash64(text, starts[s], ends[s])
            else:
                hashes[filled + s] = hash64(message, 0, _joined(text, starts, ends, s, width, message))
        sizes[row] = _distinct(hashes[filled : filled + shingles], room)
        filled += sizes[row]
    return _head(hashes, filled, filled), sizes
