"""From texts to shingle sets: what is normalised, what a shingle is, how it is hashed.

``Shingling(ngram=3, unit="character", normalise=("lowercase",)).sets(texts)`` is a ``ShingleSets``. A text with fewer
pieces than ``ngram``, but any, has one shingle: all of it. A text without any has the empty set, and is like nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.buffers import bytes_of
from pipelines.errors import UserError

if TYPE_CHECKING:
    Ints = NDArray[np.int64]

UNITS = ("word", "character")
#: What may be done to texts before they are compared, in this order; never to what is kept.
STEPS = ("nfkc", "lowercase", "strip_punctuation")
HASHES = ("token", "sha1")


def token_hash64(shingle: bytes) -> int:
    """Our 64-bit hash of a shingle (UTF-8; words joined by one space), for ``datasketch.MinHash(hashfunc=...)``.

    Eight bytes at a time (little-endian, the last padded with zeros) are mixed in by a multiplication and a shift; the
    length goes in first, and MurmurHash3's fmix64 last. With ``scheme="affine64"``.
    """
    wide = (1 << 64) - 1
    h = 0xCBF29CE484222325 ^ (len(shingle) * 0x9E3779B97F4A7C15 & wide)
    for start in range(0, len(shingle), 8):
        h = (h ^ int.from_bytes(shingle[start : start + 8], "little")) * 0x9E3779B97F4A7C15 & wide
        h ^= h >> 32
    for multiplier in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        h = (h ^ (h >> 33)) * multiplier & wide
    return h ^ (h >> 33)


def token_hash32(shingle: bytes) -> int:
    """The low half of ``token_hash64``, for ``datasketch.MinHash(hashfunc=token_hash32)``."""
    return token_hash64(shingle) & 0xFFFFFFFF


class ShingleSets(NamedTuple):
    """Sets of hashed shingles: set ``i`` is ``hashes[starts[i]:starts[i] + sizes[i]]``, ascending."""

    hashes: NDArray[np.uint64]
    starts: Ints
    sizes: Ints


NO_SETS = ShingleSets(np.zeros(0, np.uint64), np.zeros(0, np.int64), np.zeros(0, np.int64))


@dataclass(frozen=True)
class Shingling:
    """How texts become sets.

    Attributes:
        ngram: words or characters (code points) of a shingle.
        unit: ``word`` (parted by white space as ``str.split`` does) or ``character``.
        normalise: steps of STEPS.
        hash: ``token`` (ours) or ``sha1`` (datasketch's own; slower).
    """

    ngram: int = 1
    unit: str = "word"
    normalise: Sequence[str] = ()
    hash: str = "token"

    def __post_init__(self) -> None:
        if self.ngram < 1:
            raise UserError(f"dedup.minhash.ngram={self.ngram}: a shingle has at least 1 {self.unit}")
        for key, value, legal in (("unit", self.unit, UNITS), ("hash", self.hash, HASHES)):
            if value not in legal:
                raise UserError(f"dedup.minhash.{key}={value}: must be one of {', '.join(legal)}")
        if unknown := sorted(set(self.normalise) - set(STEPS)):
            raise UserError(f"dedup.minhash.normalise={unknown[0]}: a step is one of {', '.join(STEPS)}")

    def sets(self, texts: pa.Array) -> ShingleSets:
        """The shingle set of each text; nulls have the empty one."""
        from pipelines.dedup.lsh.pieces import shingle_sets

        text, bounds = bytes_of(normalised(texts, self.normalise))
        hashes, sizes = shingle_sets(text, bounds, self.ngram, self.unit == "character", self.hash == "sha1")
        return ShingleSets(hashes, np.cumsum(sizes) - sizes, sizes)


def normalised(texts: pa.Array, steps: Sequence[str]) -> pa.Array:
    """Texts as they are compared."""
    if "nfkc" in steps:
        texts = pc.utf8_normalize(texts, form="NFKC")
    if "lowercase" in steps:
        texts = pc.utf8_lower(texts)
    if "strip_punctuation" in steps:
        texts = pc.replace_substring_regex(texts, r"\p{P}+", "")
    return texts
