"""The head of a ranking in the order that a reranker gives it; what stands below keeps its order (papers.md 4.6)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.dedup.found import Source
from pipelines.retrieval.collection import Parts, judgements
from pipelines.retrieval.cross_encoder import score
from pipelines.retrieval.lexical import Hits, opened
from pipelines.retrieval.measures import MAIN, measures_of
from pipelines.retrieval.search import with_hits
from pipelines.retrieval.training import model_of

#: The file with the weight that was chosen, and those that are tried.
WEIGHT = "weight.json"
_WEIGHTS = [round(0.05 * step, 2) for step in range(21)]


def rerank(
    table: pa.Table,
    *,
    text_column: str,
    of: str,
    arm: str,
    depth: int,
    base: str | None,
    batch_size: int,
    pair_tokens: int,
    device: str | None,
    lexicon: str = "",
    model: str | None = None,
    threads: int | None = None,
) -> pa.Table:
    """Queries with a ranking whose first ``depth`` documents a reranker has put in order.

    Args:
        table: rows of queries with the ranking ``of``.
        text_column: their texts.
        of: what the columns of the ranking begin with that is reranked.
        arm: what the columns of the new one begin with.
        depth: documents that are reranked.
        base: a published reranker, where no stage has trained one (``model``).
        batch_size: pairs read at once.
        pair_tokens: tokens of a query and a document together.
        device: cpu, cuda, ...; None takes a GPU where there is one.
        lexicon: folder of the index with the texts; without rows none is needed.
        model: folder of a reranker that a stage has trained.
        threads: CPU threads; None takes every CPU.
    """
    queries = table[text_column].to_pylist()
    lists = table[f"{of}_docs"].to_pylist()
    texts = opened(lexicon).text([one for ids in lists for one in ids[:depth]]) if queries else []
    repeated = [query for query, ids in zip(queries, lists, strict=True) for _ in ids[:depth]]
    how: dict[str, Any] = {"pair_tokens": pair_tokens, "device": device, "threads": threads}
    pairs = list(zip(repeated, texts, strict=True))
    scores = iter(score(model_of(model, base or ""), pairs, batch_size=batch_size, **how))
    return with_hits(table, arm, [reordered(ids, list(islice(scores, len(ids[:depth])))) for ids in lists])


def reordered(ids: Sequence[str], scores: Sequence[float]) -> Hits:
    """A ranking with its first documents in order of their new scores, equal ones in the order they had.

    Those below come after them, in their order, each a little lower than the one before.
    """
    head = sorted(range(len(scores)), key=lambda place: -scores[place])
    least = min(scores, default=0.0)
    below = list(ids[len(scores) :])
    return Hits(
        [*(ids[place] for place in head), *below],
        [*(scores[place] for place in head), *(least - 1.0 - place for place in range(len(below)))],
    )


def mix(table: pa.Table, *, of: str, reranked: str, arm: str, depth: int, weight: str = "") -> pa.Table:
    """Queries with a ranking whose head is in the order of two rankings' scores together.

    Args:
        table: rows with the rankings ``of`` and ``reranked`` (which has the head of ``of`` in another order).
        of: what the columns of the first begin with.
        reranked: what those of the second begin with.
        arm: what the columns of the new one begin with.
        depth: documents of the head.
        weight: folder in which ``tune`` left the weight; without rows none is needed.
    """
    share = json.loads((Path(weight) / WEIGHT).read_text()) if table.num_rows else 0.0
    return with_hits(table, arm, [mixed(one, other, depth, share) for one, other in _both(table, of, reranked)])


def tune(
    made: str, dataset: Source, *, collection: Parts, split: str, of: str, reranked: str, depth: int
) -> dict[str, Any]:
    """Choose the weight of a reranker beside the ranking that it reranks, by judgements that are not measured by.

    Args:
        made: a folder that is there, for the weight.
        dataset: rows of ``query_id`` with both rankings.
        collection: where the judgements are.
        split: which of them decide.
        of: as in ``mix``; ``reranked`` and ``depth`` too.
        reranked: see of.
        depth: see of.

    Returns:
        ``weight``, of 0 to 1 in steps of 0.05 the one of the highest mean nDCG@10 (the middle one of equal ones), that
        ``nDCG@10`` (None where there is no query to tell by), and how many ``queries`` decided.
    """
    judged = judgements(collection, split, "recipe.train_split")
    rankings: dict[str, tuple[Hits, Hits]] = {}
    for table in dataset.batches():
        rankings |= zip(table["query_id"].to_pylist(), _both(table, of, reranked), strict=True)
    own = {query: judged[query] for query in rankings}
    found: dict[float, float] = {}
    for weight in _WEIGHTS:
        runs = {query: list(zip(*mixed(*some, depth, weight), strict=True)) for query, some in rankings.items()}
        figures = measures_of(runs, own)
        found[weight] = sum(one[MAIN] for one in figures.values()) / max(1, len(figures))
    best = [weight for weight, value in found.items() if value == max(found.values())]
    weight = best[len(best) // 2]
    (Path(made) / WEIGHT).write_text(json.dumps(weight))
    return {"weight": weight, MAIN: round(found[weight], 6) if rankings else None, "queries": len(rankings)}


def mixed(first: Hits, second: Hits, depth: int, weight: float) -> Hits:
    """The head of a ranking by ``weight`` of its scores in the second one and the rest of its own, each over 0 to 1."""
    head = first.ids[:depth]
    scores = dict(zip(second.ids, second.scores, strict=True))
    one, other = _over_one(first.scores[:depth]), _over_one([scores[document] for document in head])
    return reordered(first.ids, [(1 - weight) * a + weight * b for a, b in zip(one, other, strict=True)])


def _over_one(scores: Sequence[float]) -> list[float]:
    low, high = min(scores, default=0.0), max(scores, default=0.0)
    return [(value - low) / ((high - low) or 1.0) for value in scores]


def _both(table: pa.Table, *arms: str) -> Iterator[tuple[Hits, Hits]]:
    columns = [[table[f"{arm}_{part}"].to_pylist() for part in ("docs", "scores")] for arm in arms]
    for one, other in zip(*(zip(*column, strict=True) for column in columns), strict=True):
        yield Hits(*one), Hits(*other)
