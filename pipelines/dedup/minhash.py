"""Near-duplicates by MinHash: shingle, sign, band, verify every candidate exactly, keep one row a cluster.

``find(dataset, text_column="persona", normalise=True)`` decides; it removes nothing. Signatures are those of
``datasketch.MinHash(num_perm, seed=1, scheme="affine32", hashfunc=token_hash32)``, bit for bit. Rows without a shingle
(null, empty or shorter than ``ngram`` words) are like nothing and stay. Everything runs in this process, on one core.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.dedup.found import Found, Source, id_order, removed_table
from pipelines.errors import UserError
from pipelines.filters.text import strings

if TYPE_CHECKING:
    Ints = NDArray[np.int64]


def token_hash32(shingle: bytes) -> int:
    """Our 32-bit hash of a shingle (UTF-8; words joined by one space), for ``datasketch.MinHash(hashfunc=...)``.

    The low half of 64-bit FNV-1a, finished by MurmurHash3's fmix64.
    """
    from pipelines.dedup.kernels import FNV_OFFSET, FNV_PRIME

    wide = (1 << 64) - 1
    h = int(FNV_OFFSET)
    for byte in shingle:
        h = (h ^ byte) * int(FNV_PRIME) & wide
    for multiplier in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        h = (h ^ (h >> 33)) * multiplier & wide
    return (h ^ (h >> 33)) & 0xFFFFFFFF


def normalised(texts: pa.Array) -> pa.Array:
    """Texts as they are compared, never as they are kept: NFKC, lower case, no punctuation (papers.md 1.4)."""
    return pc.replace_substring_regex(pc.utf8_lower(pc.utf8_normalize(texts, form="NFKC")), r"\p{P}+", "")


class ShingleSets(NamedTuple):
    """Sets of hashed shingles: set ``i`` is ``hashes[starts[i]:starts[i] + sizes[i]]``, ascending."""

    hashes: NDArray[np.uint64]
    starts: Ints
    sizes: Ints


def shingle(texts: pa.Array, *, ngram: int = 1, normalise: bool = False) -> ShingleSets:
    """The set of word n-grams of each text; words are parted by white space as ``str.split`` does."""
    from pipelines.dedup.kernels import shingle_sets

    texts = pc.fill_null(normalised(texts) if normalise else texts, "").cast(pa.large_string())
    _, offsets, data = texts.buffers()
    bounds = np.frombuffer(offsets, np.int64, len(texts) + 1, texts.offset * 8)
    text = np.frombuffer(data, np.uint8) if data is not None and data.size else np.zeros(0, np.uint8)
    hashes, sizes = shingle_sets(text, bounds, ngram)
    return ShingleSets(hashes, np.cumsum(sizes) - sizes, sizes)


def permutations(count: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """The multipliers and offsets of datasketch's default scheme (affine32, seed 1)."""
    from datasketch import MinHash

    a, b = MinHash(num_perm=count, seed=1, scheme="affine32").permutations
    return np.ascontiguousarray(a), np.ascontiguousarray(b)


def signatures(
    texts: pa.Array, *, num_permutations: int = 128, ngram: int = 1, normalise: bool = False
) -> NDArray[np.uint32]:
    """MinHash signatures, shape (texts, num_permutations); all ones for a text without shingles."""
    from pipelines.dedup import bands

    return bands.signatures(*shingle(texts, ngram=ngram, normalise=normalise), *permutations(num_permutations))


def proposed(similarity: float, num_permutations: int, bands: int) -> float:
    """Share of the pairs of this Jaccard similarity that some band proposes: 0.9999 at 0.9 with 16 bands of 8."""
    return float(1 - (1 - similarity ** (num_permutations // bands)) ** bands)


def find(
    dataset: Source,
    *,
    text_column: str,
    threshold: float = 0.9,
    num_permutations: int = 128,
    bands: int = 16,
    ngram: int = 1,
    normalise: bool = False,
) -> Found:
    """Rows whose shingle sets have a Jaccard similarity of at least ``threshold``, joined through chains.

    Each cluster keeps its lowest id. The result is the same in any order of the input.

    Args:
        dataset: rows with ``id`` and ``text_column``.
        text_column: what is compared.
        threshold: Jaccard similarity, in (0, 1].
        num_permutations: signature size; ``bands`` of ``num_permutations // bands`` each are used.
        bands: bands of the index; ``stats["proposed_at_threshold"]`` says what share of true pairs they find.
        ngram: words a shingle.
        normalise: compare texts without case, punctuation and compatibility forms.

    Raises:
        UserError: a setting out of range, a column that is absent or holds no text, ids that are not unique.
    """
    from pipelines.dedup.bands import band_keys
    from pipelines.dedup.clusters import join_band, keepers, same_sets
    from pipelines.dedup.kernels import fingerprints, jaccard

    _check(threshold, num_permutations, bands, ngram)
    ids, sets = _read(dataset, text_column, ngram, normalise)
    prints = fingerprints(*sets)
    first = same_sets(prints, np.argsort(prints, kind="stable"), *sets)

    # One row stands for all with the same set: 100,000 copies are signed and compared once.
    alone = np.flatnonzero(first == np.arange(len(first)))
    each = ShingleSets(sets.hashes, sets.starts[alone], sets.sizes[alone])
    keys = band_keys(*each, *permutations(num_permutations), bands)
    parent, edges = np.arange(len(alone)), np.empty((len(alone), 2), np.int64)
    joined = verified = 0
    for band in keys:
        joined, compared = join_band(band, np.argsort(band), *each, threshold, parent, edges, joined)
        verified += compared
    keeper, via = keepers(len(alone), edges[:joined])

    rows = np.flatnonzero(first >= 0)
    copies = first[rows] != rows
    place = np.searchsorted(alone, first[rows])
    keeper_rows = alone[keeper[place]]
    via_rows = np.where(copies, first[rows], alone[via[place]])
    gone = keeper_rows != rows
    rows, keeper_rows, via_rows = rows[gone], keeper_rows[gone], via_rows[gone]
    similarity, via_similarity = jaccard(*sets, rows, keeper_rows), jaccard(*sets, rows, via_rows)
    removed = removed_table(ids, rows, keeper_rows, "minhash", similarity, via_rows, via_similarity)
    stats: dict[str, Any] = {
        "rows": len(ids),
        "removed": len(rows),
        "clusters": len(np.unique(keeper_rows)),
        "without_shingles": int((first < 0).sum()),
        "same_set": int(copies.sum()),
        "pairs_verified": int(verified),
        "proposed_at_threshold": round(proposed(threshold, num_permutations, bands), 6),
    }
    return Found(removed, stats)


def _read(dataset: Source, text_column: str, ngram: int, normalise: bool) -> tuple[pa.Array, ShingleSets]:
    """Ids in ascending order, and their shingle sets; texts are let go part by part."""
    ids: list[pa.Array] = [pa.array([], pa.string())]
    parts: list[ShingleSets] = [shingle(pa.array([], pa.string()))]
    for table in dataset.batches(["id", text_column]):
        ids.append(strings(table, "id").cast(pa.string()))
        parts.append(shingle(strings(table, text_column), ngram=ngram, normalise=normalise))
    named = pa.concat_arrays(ids)
    order = id_order(named)
    sizes = np.concatenate([part.sizes for part in parts])
    hashes = np.concatenate([part.hashes for part in parts])
    at = order.to_numpy()
    return named.take(order), ShingleSets(hashes, (np.cumsum(sizes) - sizes)[at], sizes[at])


def _check(threshold: float, num_permutations: int, bands: int, ngram: int) -> None:
    if not 0 < threshold <= 1:
        raise UserError(f"dedup.minhash.threshold={threshold}: a Jaccard similarity lies above 0 and at most at 1")
    if not 1 <= bands <= num_permutations:
        raise UserError(
            f"dedup.minhash.bands={bands}: must be from 1 to dedup.minhash.num_permutations={num_permutations}"
        )
    if ngram < 1:
        raise UserError(f"dedup.minhash.ngram={ngram}: a shingle has at least 1 word")
