"""What queries that a model has written are like: how long, how much of their words their documents have, what of.

A query can be judged by how it looks beside those that people ask (papers.md 3.2: mean lengths, first words).
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.dedup.found import Source
from pipelines.filters.queries import words_of

#: Half of a 95% interval of a mean, in standard errors.
INTERVAL_95 = 1.96
#: First words by which English questions are told apart; anything else begins otherwise.
_BEGINNINGS = ("what", "how", "why", "when", "where", "who", "which", "is", "are", "do", "does", "can")


def written(rows: Source, *, query: str = "query", document: str = "document") -> dict[str, Any]:
    """Figures of some queries.

    Args:
        rows: the queries, with the documents they were asked of.
        query: the column of queries.
        document: the column of documents.

    Returns:
        ``queries``; ``words`` and ``copied`` (the share of a query's words that are in its document), each with its
        ``mean`` and half a 95% interval, ``within``; ``begin``: the share of queries by their first word, ``other``
        for those that are none of the usual ones. Of no queries all is 0.
    """
    lengths: list[int] = []
    shares: list[float] = []
    begin: Counter[str] = Counter()
    for table in rows.batches([query, document]):
        asked, told = (
            words_of(pc.fill_null(table[name].cast(pa.string()), "")).to_pylist() for name in (query, document)
        )
        for one, text in zip(asked, told, strict=True):
            words, there = one.split(), set(text.split())
            lengths.append(len(words))
            shares.append(sum(word in there for word in words) / max(1, len(words)))
            first = words[0] if words else ""
            begin[first if first in _BEGINNINGS else "other"] += 1
    count = len(lengths)
    return {
        "queries": count,
        "words": _mean(lengths),
        "copied": _mean(shares),
        "begin": {first: round(number / count, 4) for first, number in begin.most_common()},
    }


def _mean(values: list[int] | list[float]) -> dict[str, float]:
    some = np.array(values, np.float64)
    if not len(some):
        return {"mean": 0.0, "within": 0.0}
    return {
        "mean": round(float(some.mean()), 4),
        "within": round(INTERVAL_95 * float(some.std()) / len(some) ** 0.5, 4),
    }
