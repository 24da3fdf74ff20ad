"""Documents that do not answer a query, for training (papers.md 3.5, 4.3): drawn by lot from what a ranking finds.

The query's own document is never one, nor what is known to answer it too. Of a window of a ranking's ranks, those whose
score comes too near to the own document's can be refused: they may well answer the query. What a query lacks is told in
``refused``, by name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.dedup.found import Source
from pipelines.retrieval.dense import search
from pipelines.retrieval.lexical import Hits, opened
from pipelines.rows import digest

#: Why a document of the window was not taken.
OWN, ANSWER, TOO_NEAR = "own_document", "another_answer", "too_near"


def from_bm25(
    table: pa.Table, *, depth: int, first: int, count: int, margin: float | None, seed: int, lexicon: str = ""
) -> pa.Table:
    """Rows of ``query`` and ``doc_id`` with ``negatives``, a list of ids, and ``refused``, why others were not taken.

    Args:
        table: the pairs; where they have ``answers``, these are no negatives either.
        depth: ranks of BM25 that are drawn from.
        first: the first rank that counts, from 1: the best may be unjudged answers.
        count: documents drawn for each pair; fewer where the window has no more.
        margin: a document whose score is above ``margin`` times that of the pair's own one is refused, where the
            ranking has that one at all; None refuses none.
        seed: of the lots.
        lexicon: folder of the index.
    """
    queries = table["query"].to_pylist()
    hits = opened(lexicon).search(queries, depth) if queries else []
    return _drawn(table, hits, first, count, margin, seed)


def from_retriever(
    table: pa.Table,
    *,
    depth: int,
    first: int,
    count: int,
    margin: float | None,
    seed: int,
    encoder: str,
    batch_size: int,
    device: str | None,
    lexicon: str = "",
    vectors: str = "",
    model: str | None = None,
    threads: int | None = None,
) -> pa.Table:
    """As ``from_bm25``, from the ranking of a retriever: the other arguments are those of ``retrieval.dense``."""
    how: dict[str, Any] = {"encoder": encoder, "batch_size": batch_size, "device": device, "threads": threads}
    hits = search(table["query"].to_pylist(), depth, lexicon=lexicon, vectors=vectors, model=model, **how)
    return _drawn(table, hits, first, count, margin, seed)


def _drawn(table: pa.Table, hits: Sequence[Hits], first: int, count: int, margin: float | None, seed: int) -> pa.Table:
    known = table["answers"].to_pylist() if "answers" in table.column_names else [()] * len(table)
    pairs = zip(hits, table["doc_id"].to_pylist(), table["query"].to_pylist(), known, strict=True)
    drawn = [draw(one, own, first, count, margin, f"{seed} {own} {query}", more) for one, own, query, more in pairs]
    refused = [[f"{why} {number}" for why, number in sorted(counts.items())] for _, counts in drawn]
    lists = pa.list_(pa.string())
    return table.append_column("negatives", pa.array([some for some, _ in drawn], lists)).append_column(
        "refused", pa.array(refused, lists)
    )


def draw(
    hits: Hits, own: str, first: int, count: int, margin: float | None, lot: str, answers: Sequence[str] = ()
) -> tuple[list[str], Counter[str]]:
    """Up to ``count`` documents of a ranking from rank ``first`` on, by lot, and why others were not taken.

    The lot depends on ``lot`` and the documents alone, so the same ones are drawn wherever it is done.
    """
    refused: Counter[str] = Counter()
    scores = dict(zip(hits.ids, hits.scores, strict=True))
    most = scores[own] * margin if margin is not None and own in scores else None
    window: list[str] = []
    for document in hits.ids[first - 1 :]:
        if document == own:
            refused[OWN] += 1
        elif document in answers:
            refused[ANSWER] += 1
        elif most is not None and scores[document] > most:
            refused[TOO_NEAR] += 1
        else:
            window.append(document)
    return sorted(window, key=lambda document: digest(lot, document))[:count], refused


def refusals(rows: Source) -> dict[str, int]:
    """How many documents of all rows' windows were not taken, by reason."""
    totals: Counter[str] = Counter()
    for table in rows.batches(["refused"]):
        for one in pc.list_flatten(table["refused"]).to_pylist():
            why, _, number = one.partition(" ")
            totals[why] += int(number)
    return dict(totals.most_common())


def too_few(table: pa.Table, *, than: int) -> pa.Array:
    """A rule: pairs with fewer negatives."""
    return pc.less(pc.list_value_length(table["negatives"]), than)
