"""Rankings as columns of the queries' rows: ``<arm>_docs`` and ``<arm>_scores``, lists with the best first."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from pipelines.retrieval.lexical import Hits, opened

DOCS, SCORES = pa.list_(pa.string()), pa.list_(pa.float64())


def lexical(table: pa.Table, *, text_column: str, depth: int, arm: str = "bm25", index: str | None = None) -> pa.Table:
    """Queries with what BM25 finds for them.

    Args:
        table: rows of queries.
        text_column: their texts.
        depth: documents a query, at most.
        arm: what the columns' names begin with.
        index: folder of an index (``retrieval.lexical``); without rows none is needed.
    """
    texts = table[text_column].to_pylist()
    return with_hits(table, arm, opened(index).search(texts, depth) if index is not None and texts else [])


def with_hits(table: pa.Table, arm: str, hits: Sequence[Hits]) -> pa.Table:
    """Rows with a ranking beside them."""
    return table.append_column(f"{arm}_docs", pa.array([one.ids for one in hits], DOCS)).append_column(
        f"{arm}_scores", pa.array([one.scores for one in hits], SCORES)
    )
