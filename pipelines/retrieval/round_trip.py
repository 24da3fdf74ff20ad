"""Whether a query finds the document that it was asked of (papers.md 3.3): its rank among the whole corpus."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.dedup.vectors.encoder import load
from pipelines.retrieval.dense import vectors_in
from pipelines.retrieval.lexical import opened
from pipelines.retrieval.training import model_of

#: Copies of a text that were encoded in other batches differ by less.
_SAME = 1e-6


def own_rank(
    table: pa.Table,
    *,
    encoder: str,
    batch_size: int,
    device: str | None,
    lexicon: str = "",
    vectors: str = "",
    model: str | None = None,
    threads: int | None = None,
) -> pa.Table:
    """Pairs with ``rank``: at which place of the corpus the query's document stands, from 1; copies of it do not count.

    Args:
        table: rows of ``query`` and ``doc_id``.
        encoder: as in ``retrieval.dense``; ``batch_size``, ``device`` and ``model`` too.
        batch_size: see encoder.
        device: see encoder.
        lexicon: folder of the index that says where documents are; without rows none is needed.
        vectors: folder of the corpus's vectors.
        model: see encoder.
        threads: CPU threads; None takes every CPU.
    """
    queries = table["query"].to_pylist()
    ranks: list[int] = []
    if queries:
        asked = load(model_of(model, encoder), batch_size, device, threads=threads, setting="recipe.encoder")(queries)
        documents, own = vectors_in(vectors), opened(lexicon).places(table["doc_id"].to_pylist())
        for query, place in zip(asked, own, strict=True):
            scores = documents @ query
            ranks.append(1 + int(np.count_nonzero(scores > scores[place] + _SAME)))
    return table.append_column("rank", pa.array(ranks, pa.int64()))


def below(table: pa.Table, *, rank: int | None) -> pa.Array:
    """A rule: pairs whose document stands below a rank; None lets all pass."""
    return pa.nulls(table.num_rows, pa.bool_()) if rank is None else pc.greater(table["rank"], rank)
