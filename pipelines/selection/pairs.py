"""Pairs of texts that are about as alike as asked (papers.md 1.8): for a study of what their likeness does.

``pairs_at(vectors, [0.4, 0.8], most=100)`` gives ``(level, i, j)`` for up to 100 pairs at each level, no text in two of
them. ``paired`` is the stage: those in a pair stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.dedup.found import Found, Source
from pipelines.errors import RunStopped
from pipelines.selection.lots import by_lot, ids_in, turned_away

Floats = NDArray[np.float32]

#: How far a pair's cosine may be from its level; pairs kept for each that is wanted, the nearest ones; rows at once.
WIDTH, SPARE, BLOCK = 0.02, 50, 1024


class Pair(NamedTuple):
    """Two texts by their places, and the cosine that they were picked for."""

    level: float
    left: int
    right: int


def paired(
    dataset: Source,
    *,
    text_column: str,
    levels: Sequence[float],
    pairs_per_level: int,
    sample: int,
    encoder: str,
    batch_size: int,
    device: str | None,
    reason: str,
) -> Found:
    """Let those rows stay that are in a pair, and turn the others away for ``reason``.

    Args:
        dataset: rows with ``id`` and ``text_column``.
        text_column: the texts that are compared.
        levels: cosines that pairs are wanted at.
        pairs_per_level: how many pairs at each, at most.
        sample: rows that are looked at, drawn by lot from their ids: their number squared is compared.
        encoder: as ``dedup.embedding.encoder``; ``batch_size`` and ``device`` are its.
        batch_size: see encoder.
        device: see encoder.
        reason: what the others are turned away for.

    Raises:
        RunStopped: no two texts are as alike as any level asks.
    """
    from pipelines.dedup.vectors.encoder import load

    ids: list[pa.Array] = [pa.array([], pa.large_string())]
    texts: list[pa.Array] = [pa.array([], pa.large_string())]
    for table in dataset.batches(["id", text_column]):
        ids.append(ids_in(table))
        texts.append(table[text_column].combine_chunks().cast(pa.large_string()))
    everyone = pa.concat_arrays(ids)
    # In the order of the lot: the same pairs in any order of the input.
    drawn = by_lot(everyone)[:sample]
    chosen = pa.concat_arrays(texts).take(pa.array(drawn)).fill_null("").to_pylist()
    vectors = load(encoder, batch_size, device)(chosen)
    found = pairs_at(vectors, levels, pairs_per_level)
    if not found:
        raise RunStopped(
            f"recipe.levels={list(levels)}: no two of {len(chosen):,} texts have a cosine within {WIDTH} of one of "
            "these; give more input, raise recipe.sample, or ask for other levels"
        )
    stays = np.zeros(len(everyone), bool)
    stays[drawn[[place for pair in found for place in (pair.left, pair.right)]]] = True
    counts = {f"{level:g}": sum(pair.level == level for pair in found) for level in levels}
    return turned_away(everyone, np.flatnonzero(~stays), reason, pairs=counts)


def pairs_at(vectors: Floats, levels: Sequence[float], most: int) -> list[Pair]:
    """Up to ``most`` pairs of vectors at each of ``levels``, those nearest to it first, none with a vector twice.

    The highest level chooses first, since the fewest are so alike. Of the vectors that are in a pair alone, the same
    pairs are chosen again, as long as no level has more than SPARE times as many candidates as are wanted.

    Args:
        vectors: of length 1, shape (texts, dimensions).
        levels: cosines; a pair is within WIDTH of its own.
        most: pairs at each level.
    """
    taken = np.zeros(len(vectors), bool)
    found: list[Pair] = []
    candidates = _candidates(vectors, levels, SPARE * most)
    for level in sorted(levels, reverse=True):
        wanted = most
        for left, right in candidates[level]:
            if wanted and not (taken[left] or taken[right]):
                taken[[left, right]] = True
                found.append(Pair(level, left, right))
                wanted -= 1
    return found


def _candidates(vectors: Floats, levels: Sequence[float], most: int) -> dict[float, Iterator[tuple[int, int]]]:
    """For each level the pairs nearest to it, nearest first, at most ``most``."""
    kept = {level: np.zeros((0, 3)) for level in levels}
    for start in range(0, len(vectors), BLOCK):
        cosines = vectors[start : start + BLOCK] @ vectors[start:].T
        for level in levels:
            off = np.abs(cosines - level)
            left, right = np.nonzero(off <= WIDTH)
            later = right > left
            left, right = left[later], right[later]
            every = np.concatenate([kept[level], np.stack([off[left, right], left + start, right + start], axis=1)])
            # By distance, then by places: no order of blocks shows.
            kept[level] = every[np.lexsort((every[:, 2], every[:, 1], every[:, 0]))][:most]
    return {level: ((int(left), int(right)) for _, left, right in rows) for level, rows in kept.items()}
