"""Rerankers that read a query and a document together (papers.md 3.5, 4.3, 4.5): one number for each pair.

Trained on pairs that belong together and pairs that do not, one for one (InPars), or on the softmax over a pair's
document and several negatives (Promptagator++). A pair that is too long loses the end of its document, never a word of
its query.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from threading import Lock
from typing import Any

import pyarrow as pa

from pipelines.dedup.found import Source
from pipelines.engine.weights import resolve
from pipelines.errors import RunStopped
from pipelines.retrieval.lexical import Lexicon, opened
from pipelines.retrieval.training import arguments, fitted, model_of, take_threads

_READING = Lock()


def train(
    made: str,
    dataset: Source,
    *,
    lexicon: str = "",
    base: str,
    batch: int,
    steps: int,
    learning_rate: float,
    pair_tokens: int,
    listwise: bool,
    checkpoint_steps: int,
    seed: int,
    device: str | None,
) -> dict[str, Any]:
    """Train a reranker on pairs with negatives, into ``made/model``.

    Args:
        made: a folder that is there; an earlier start's checkpoints in it are gone on from.
        dataset: rows of ``query``, ``doc_id`` and ``negatives``.
        lexicon: folder of an index, whose texts are taken.
        base: hub id, path or ``packaged:NAME`` of a cross-encoder, or of an encoder that is to become one.
        batch: pairs a step, half of them negative; with ``listwise`` lists a step.
        steps: optimiser steps.
        learning_rate: at the end of a warm-up over a tenth of the steps; it falls to 0 linearly.
        pair_tokens: tokens of a query and its document together.
        listwise: softmax over the document and all of its negatives, instead of one decision a pair.
        checkpoint_steps: steps between checkpoints.
        seed: of the order of pairs, and of a new head.
        device: cpu, cuda, ...; None takes a GPU where there is one.

    Returns:
        ``pairs``, ``negatives`` (of all), ``batch``, ``steps``, and ``loss`` of the first and last tenth.

    Raises:
        RunStopped: no pair has a negative.
    """
    from datasets import Dataset
    from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
    from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss, ListNetLoss

    index = opened(lexicon)
    rows = [row for table in dataset.batches(["query", "doc_id", "negatives"]) for row in table.to_pylist()]
    rows = [row for row in rows if row["negatives"]]
    if not rows:
        raise RunStopped(
            "no query has a document that does not answer it, so there is nothing to train a reranker on; loosen the "
            "filters before, or raise limit"
        )
    take_threads(None)
    learner = _cross_encoder(base, device, pair_tokens, seed)
    rows = [{**row, "query": asked(row["query"], learner.tokenizer, pair_tokens)} for row in rows]
    examples = _lists(rows, index) if listwise else _pairs(rows, index)
    batch = min(batch, len(examples["query"]))
    how = arguments(made, batch, steps, learning_rate, checkpoint_steps, seed, device)
    trainer = CrossEncoderTrainer(
        model=learner,
        args=CrossEncoderTrainingArguments(**how),
        train_dataset=Dataset.from_dict(examples),
        loss=ListNetLoss(learner) if listwise else BinaryCrossEntropyLoss(learner),
    )
    loss = fitted(trainer, made)
    negatives = sum(len(row["negatives"]) for row in rows)
    return {"pairs": len(rows), "negatives": negatives, "batch": batch, "steps": steps, "loss": loss}


def _pairs(rows: Sequence[dict[str, Any]], index: Lexicon) -> dict[str, list[Any]]:
    """Each query with its document and with one negative: as many of the ones as of the others (papers.md 4.8, 3)."""
    queries = [row["query"] for row in rows for _ in range(2)]
    ids = [one for row in rows for one in (row["doc_id"], row["negatives"][0])]
    return {"query": queries, "document": index.text(ids), "label": [1.0, 0.0] * len(rows)}


def _lists(rows: Sequence[dict[str, Any]], index: Lexicon) -> dict[str, list[Any]]:
    lists = [[row["doc_id"], *row["negatives"]] for row in rows]
    return {
        "query": [row["query"] for row in rows],
        "docs": [index.text(ids) for ids in lists],
        "labels": [[1.0] + [0.0] * (len(ids) - 1) for ids in lists],
    }


def judge(
    table: pa.Table,
    *,
    base: str | None,
    batch_size: int,
    pair_tokens: int,
    device: str | None,
    lexicon: str = "",
    model: str | None = None,
    threads: int | None = None,
) -> pa.Table:
    """Pairs with ``relevance``: how well a reranker thinks that the document answers the query, 0 to 1 (papers.md 4.4).

    Args:
        table: rows of ``query`` and ``doc_id``.
        base: a published reranker by name; None where a stage has trained one.
        batch_size: pairs read at once.
        pair_tokens: tokens of a query and a document together.
        device: cpu, cuda, ...; None takes a GPU where there is one.
        lexicon: folder of the index with the texts; without rows none is needed.
        model: folder of a reranker that a stage has trained.
        threads: CPU threads; None takes every CPU.
    """
    queries, ids = table["query"].to_pylist(), table["doc_id"].to_pylist()
    pairs = list(zip(queries, opened(lexicon).text(ids), strict=True)) if queries else []
    how: dict[str, Any] = {"pair_tokens": pair_tokens, "device": device, "threads": threads}
    found = score(model_of(model, base or ""), pairs, batch_size=batch_size, **how)
    return table.append_column("relevance", pa.array(found, pa.float64()))


def asked(query: str, tokenizer: Any, pair_tokens: int) -> str:
    """A query as a reranker reads it: no more than half of a pair's tokens, so that it is its document that is cut.

    A tokenizer takes from the longer of two texts until both fit.
    """
    most = (pair_tokens - 3) // 2
    tokens = tokenizer.tokenize(query)
    return query if len(tokens) <= most else str(tokenizer.convert_tokens_to_string(tokens[:most]))


def score(
    model: str,
    pairs: Sequence[tuple[str, str]],
    *,
    batch_size: int,
    pair_tokens: int,
    device: str | None,
    threads: int | None = None,
) -> list[float]:
    """How well each document answers its query, by a model in a folder or by name; one process loads it once."""
    if not pairs:
        return []
    # One at a time: each uses every CPU thread that there is.
    with _READING:
        take_threads(threads)
        reader = _loaded(model, device, pair_tokens)
        found = reader.predict(
            [(asked(query, reader.tokenizer, pair_tokens), text) for query, text in pairs],
            batch_size=batch_size,
            show_progress_bar=False,
        )
    return [float(value) for value in found]


@lru_cache(maxsize=2)
def _loaded(model: str, device: str | None, pair_tokens: int) -> Any:
    return _cross_encoder(model, device, pair_tokens, seed=0)


def _cross_encoder(name: str, device: str | None, pair_tokens: int, seed: int) -> Any:
    """A model with one number a pair; the head of an encoder that has none is drawn from ``seed``."""
    from sentence_transformers.cross_encoder import CrossEncoder
    from transformers import set_seed

    set_seed(seed)
    return CrossEncoder(resolve(name), num_labels=1, max_length=pair_tokens, device=device)
