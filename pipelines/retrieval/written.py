"""What queries that a model has written are like: how long, how much of their words their documents have, what of.

A query can be judged by how it looks beside those that people ask (papers.md 3.2: mean lengths, first words).
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.dedup.found import Source
from pipelines.filters.queries import words_of
from pipelines.filters.text import strings

#: First words by which English questions are told apart; anything else begins otherwise.
_BEGINNINGS = ("what", "how", "why", "when", "where", "who", "which", "is", "are", "do", "does", "can")


def written(rows: Source) -> dict[str, Any]:
    """Figures of some queries.

    Args:
        rows: each a ``query`` with the ``document`` that it was asked of.

    Returns:
        ``queries``; ``words`` and ``copied`` (the share of a query's words that are in its document), each with its
        ``mean`` and half a 95% interval, ``within`` (None of fewer than two); ``begin``: the share of queries by their
        first word, ``other`` for those that are none of the usual ones. Of no queries means are 0.
    """
    lengths: list[int] = []
    shares: list[float] = []
    begin: Counter[str] = Counter()
    columns = ["query", "document"]
    for table in rows.batches(columns):
        asked, told = (words_of(strings(table, name)).to_pylist() for name in columns)
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


def _mean(values: list[int] | list[float]) -> dict[str, float | None]:
    some = np.array(values, np.float64)
    return {"mean": round(float(some.mean()), 4) if len(some) else 0.0, "within": within(some)}


def within(values: NDArray[np.float64]) -> float | None:
    """Half a 95% interval of a mean, by Student's t; None of fewer than two values, which tell nothing of it."""
    from scipy.stats import t

    if len(values) < 2:
        return None
    return round(float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5), 6)
