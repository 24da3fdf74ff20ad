"""Near-duplicates by meaning: encode, then keep a row only if no kept row before it is too close.

``find(dataset, text_column="persona", encoder="packaged:all-minilm-l6-v2")`` decides; it removes nothing. The search
(``search.py``) confirms every decision in float64 and measures what it missed: ``stats["recall"]``. Vectors lie in
memory, 1.5 kB a row of 384 dimensions. Rows without text stay.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.dedup.encoder import Encode, load
from pipelines.dedup.found import Found, Source, removed_table
from pipelines.dedup.order import columns_read, keeper_order, scores_of
from pipelines.dedup.search import greedy
from pipelines.errors import UserError
from pipelines.filters.text import strings

Floats = NDArray[np.float32]

#: Texts handed to the encoder at once; it sorts them by length.
ENCODED_AT_ONCE = 8192


def find(
    dataset: Source,
    *,
    text_column: str,
    threshold: float = 0.9,
    encoder: str,
    batch_size: int = 64,
    keep: str = "first",
    score_column: str | None = None,
) -> Found:
    """Rows whose cosine with an earlier kept row is above ``threshold``, in keeper order (papers.md 1.4).

    The keeper is the first kept row that is too close; ``via`` is the keeper. The result is the same in any order of
    the input. A lower threshold almost always keeps fewer rows, but greedy keep-first does not promise it: a row that
    goes no longer pushes out others.

    Args:
        dataset: rows with ``id`` and ``text_column``.
        text_column: what is compared.
        threshold: cosine, at least -1 and below 1.
        encoder: hub id, path, ``packaged:NAME``, or ``simulated`` (load tests only).
        batch_size: texts encoded at once.
        keep: which row of two comes first: ``first`` (lowest id), ``longest`` (text) or ``highest`` (score_column).
        score_column: a column of numbers, for ``highest``.

    Raises:
        UserError: a setting out of range, a column that is absent or holds no text, ids that are not unique.
    """
    if not -1 <= threshold < 1:
        raise UserError(f"dedup.embedding.threshold={threshold}: a cosine to stay above lies in [-1, 1)")
    ids, texts = _read(dataset, text_column, keep, score_column)
    filled = pc.greater(pc.utf8_length(pc.fill_null(pc.utf8_trim_whitespace(texts), "")), 0)
    worded = np.flatnonzero(filled.to_numpy(zero_copy_only=False))
    vectors = _encoded(texts.take(pa.array(worded)), load(encoder, batch_size))
    usable = np.isfinite(vectors).all(axis=1) & vectors.any(axis=1)
    vectors, place = vectors[usable], worded[usable]

    found = greedy(vectors, threshold)
    gone, kept = place[found.rows], place[found.keepers]
    removed = removed_table(ids, gone, kept, "embedding", found.cosines, kept, found.cosines)
    stats = {
        "rows": len(ids),
        "removed": len(gone),
        "clusters": len(np.unique(kept)),
        "without_text": len(ids) - len(worded),
        "without_direction": int((~usable).sum()),
        "encoder": encoder,
        **found.stats,
    }
    return Found(removed.sort_by("id"), stats)


def _encoded(texts: pa.Array, encode: Encode) -> Floats:
    """Vectors of all texts. They come in order of id, so that batches too are the same in any order of the input."""
    first = encode(texts.slice(0, ENCODED_AT_ONCE).to_pylist()) if len(texts) else np.zeros((0, 1), np.float32)
    vectors = np.empty((len(texts), first.shape[1]), np.float32)
    vectors[: len(first)] = first
    for start in range(len(first), len(texts), ENCODED_AT_ONCE):
        chunk = texts.slice(start, ENCODED_AT_ONCE).to_pylist()
        vectors[start : start + len(chunk)] = encode(chunk)
    return vectors


def _read(dataset: Source, text_column: str, keep: str, score_column: str | None) -> tuple[pa.Array, pa.Array]:
    """Ids in keeper order, and their texts."""
    ids: list[pa.Array] = [pa.array([], pa.string())]
    texts: list[pa.Array] = [pa.array([], pa.large_string())]
    scores: list[NDArray[np.float64]] = [np.zeros(0)]
    for table in dataset.batches(columns_read(text_column, keep, score_column)):
        ids.append(strings(table, "id").cast(pa.string()))
        texts.append(strings(table, text_column).cast(pa.large_string()))
        scores.append(scores_of(table, text_column, keep, score_column))
    named = pa.concat_arrays(ids)
    order = pa.array(keeper_order(named, keep, np.concatenate(scores)))
    return named.take(order), pa.concat_arrays(texts).take(order)
