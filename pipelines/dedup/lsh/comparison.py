"""How rows are compared by MinHash: shingles, signatures, bands, threshold; checked, and defaults settled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.buffers import bytes_of
from pipelines.dedup.lsh.shingles import ShingleSets, Shingling
from pipelines.dedup.order import KEEP
from pipelines.errors import UserError

Keys = NDArray[np.uint64]

SCHEMES = ("affine32", "affine64")
VERIFY = ("exact", "estimate")
CLUSTERS = ("chains", "star")
#: Share of the pairs at the threshold that the default number of bands proposes, at least.
RECALL = 0.999
#: What the hash of a group is multiplied by before that of its next column goes in: their order counts.
_ODD = np.uint64(0x9E3779B97F4A7C15)


def permutations(count: int, scheme: str = "affine32") -> tuple[NDArray[Any], NDArray[Any]]:
    """The multipliers (odd) and offsets of a scheme of datasketch, as it draws them from seed 1.

    Drawn here, since importing datasketch takes as long as signing 500,000 rows.
    """
    drawn = np.random.RandomState(1)
    width, kind = (32, np.uint32) if scheme == "affine32" else (64, np.uint64)
    a = drawn.randint(0, 1 << (width - 1), count, dtype=kind) * kind(2) + kind(1)
    return a, drawn.randint(0, 1 << width, count, dtype=kind)


def signatures(
    texts: pa.Array, shingling: Shingling | None = None, *, num_permutations: int = 128, scheme: str = "affine32"
) -> NDArray[Any]:
    """MinHash signatures, shape (texts, num_permutations); all ones for a text without shingles."""
    from pipelines.dedup.lsh import bands

    sign = bands.signatures32 if scheme == "affine32" else bands.signatures64
    made: NDArray[Any] = sign(*(shingling or Shingling()).sets(texts), *permutations(num_permutations, scheme))
    return made


def proposed(similarity: float, num_permutations: int, bands: int) -> float:
    """Share of the pairs of this Jaccard similarity that some band proposes: 0.9999 at 0.9 with 16 bands of 8."""
    return float(1 - (1 - similarity ** (num_permutations // bands)) ** bands)


def recalling(threshold: float, num_permutations: int) -> int:
    """As many bands as the widest allows that propose at least RECALL of the pairs at the threshold.

    Of 128 permutations 16 bands of 8 at 0.9, 25 of 5 at 0.8: wider bands propose fewer pairs that are not alike.
    """
    widths = range(num_permutations, 0, -1)
    enough = (
        num_permutations // w for w in widths if proposed(threshold, num_permutations, num_permutations // w) >= RECALL
    )
    return next(enough, num_permutations)


@dataclass(frozen=True)
class Comparison:
    """How rows are compared, checked: what ``find`` is asked, with the number of bands settled."""

    shingling: Shingling
    threshold: float
    num_permutations: int
    bands: int
    scheme: str
    verify: str
    clusters: str
    keep: str
    within: tuple[str, ...] = ()

    @staticmethod
    def asked(
        threshold: float = 0.9,
        num_permutations: int = 128,
        bands: int | None = None,
        ngram: int = 1,
        unit: str = "word",
        normalise: Sequence[str] = (),
        hash: str = "token",
        scheme: str = "affine32",
        verify: str = "exact",
        clusters: str = "chains",
        keep: str = "first",
        within: str | Sequence[str] | None = None,
    ) -> Comparison:
        """The comparison that settings ask for (see ``minhash.find``), with the number of bands settled."""
        groups = (within,) if isinstance(within, str) else tuple(within or ())
        if bands is None:
            bands = recalling(threshold, num_permutations) if 0 < threshold <= 1 else 1
        shingling = Shingling(ngram, unit, tuple(normalise), hash)
        return Comparison(shingling, threshold, num_permutations, bands, scheme, verify, clusters, keep, groups)

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise UserError(
                f"dedup.minhash.threshold={self.threshold}: a Jaccard similarity lies above 0 and at most at 1"
            )
        if not 1 <= self.bands <= self.num_permutations:
            raise UserError(
                f"dedup.minhash.bands={self.bands}: must be from 1 to dedup.minhash.num_permutations="
                f"{self.num_permutations}"
            )
        legal = {"minhash.scheme": SCHEMES, "minhash.verify": VERIFY, "minhash.clusters": CLUSTERS, "keep": KEEP}
        for key, values in legal.items():
            value = getattr(self, key.rpartition(".")[2])
            if value not in values:
                raise UserError(f"dedup.{key}={value}: must be one of {', '.join(values)}")

    def keyed(self) -> Callable[[pa.Array, Sequence[pa.Array]], tuple[ShingleSets, Keys]]:
        """The function from texts, and the columns of their groups, to their sets and keys of bands, (bands, texts)."""
        from pipelines.dedup.lsh.sets import apart
        from pipelines.kernels import text_hashes

        drawn = permutations(self.num_permutations, self.scheme)

        def made(texts: pa.Array, groups: Sequence[pa.Array]) -> tuple[ShingleSets, Keys]:
            sets = self.shingling.sets(texts)
            if groups:
                first, *others = (text_hashes(*bytes_of(group)) for group in groups)
                for other in others:
                    first = first * _ODD ^ other
                sets = sets._replace(hashes=apart(*sets, first))
            return sets, self._keys(sets, *drawn)

        return made

    def band_keys(self, sets: ShingleSets) -> Keys:
        """The keys of the bands of sets, shape (bands, sets)."""
        return self._keys(sets, *permutations(self.num_permutations, self.scheme))

    def _keys(self, sets: ShingleSets, a: NDArray[Any], b: NDArray[Any]) -> Keys:
        from pipelines.dedup.lsh import bands

        kernel = bands.band_keys32 if self.scheme == "affine32" else bands.band_keys64
        keys = np.empty((self.bands, len(sets.starts)), np.uint64)
        kernel(*sets, a, b, self.bands, keys)
        return keys

    def sketches(self, sets: ShingleSets) -> NDArray[Any]:
        """Signatures of sets where they are compared by them; else an array of none."""
        from pipelines.dedup.lsh import bands

        sign, kind = (bands.signatures32, np.uint32) if self.scheme == "affine32" else (bands.signatures64, np.uint64)
        if self.verify == "exact":
            return np.empty((0, 0), kind)
        made: NDArray[Any] = sign(*sets, *permutations(self.num_permutations, self.scheme))
        return made

    def index_settings(self) -> dict[str, Any]:
        """What rows of one index must agree in, by the keys that set it."""
        shingling = self.shingling
        return {
            "dedup.minhash.ngram": shingling.ngram,
            "dedup.minhash.unit": shingling.unit,
            "dedup.minhash.normalise": sorted(shingling.normalise),
            "dedup.minhash.hash": shingling.hash,
            "dedup.minhash.scheme": self.scheme,
            "dedup.minhash.num_permutations": self.num_permutations,
            "dedup.minhash.bands": self.bands,
            "dedup.minhash.within": self.within[0] if len(self.within) == 1 else list(self.within) or None,
        }
