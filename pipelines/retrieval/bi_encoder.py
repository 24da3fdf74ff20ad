"""Training of a retriever (papers.md 3.4): one encoder for queries and documents, softmax over a batch's documents.

Queries of one document in a batch are no negatives of each other: their documents are masked (papers.md 3.8). Batch
size and steps follow the size of the corpus unless they are set. Checkpoints lie in the stage's folder while it is at
work, so a start after a kill goes on from the last one.
"""

from __future__ import annotations

from typing import Any

from pipelines.dedup.found import Source
from pipelines.engine.weights import resolve
from pipelines.errors import RunStopped
from pipelines.retrieval.lexical import opened
from pipelines.retrieval.training import arguments, fitted, model_of, take_threads

#: Corpora of fewer documents are small ones, of more than the second number large ones (papers.md 3.4).
SMALL, LARGE = 50_000, 500_000


def group(documents: int) -> tuple[int, int]:
    """Batch size and steps by the number of documents in the corpus: 128 or 6,144, and 1,000 or 5,000."""
    return (128 if documents < SMALL else 6_144), (5_000 if documents > LARGE else 1_000)


def train(
    made: str,
    dataset: Source,
    *,
    lexicon: str = "",
    model: str | None = None,
    encoder: str,
    batch: int | None,
    steps: int | None,
    learning_rate: float,
    temperature: float,
    document_tokens: int,
    checkpoint_steps: int,
    seed: int,
    device: str | None,
) -> dict[str, Any]:
    """Train an encoder on pairs of a query and a document, into ``made/model``.

    Args:
        made: a folder that is there; an earlier start's checkpoints in it are gone on from.
        dataset: rows of ``query`` and ``doc_id``.
        lexicon: folder of an index, whose texts are taken.
        model: folder of a model that a stage has trained, to go on training; None begins with ``encoder``.
        encoder: as ``dedup.embedding.encoder``.
        batch: pairs a step; None: by ``group``, and no more than there are.
        steps: optimiser steps; None: by ``group``.
        learning_rate: at the end of a warm-up over a tenth of the steps; it falls to 0 linearly.
        temperature: what cosines are divided by.
        document_tokens: tokens of a text that count.
        checkpoint_steps: steps between checkpoints.
        seed: of the order of pairs.
        device: cpu, cuda, ...; None takes a GPU where there is one.

    Returns:
        ``pairs``, ``documents`` (different ones), ``batch``, ``steps``, and ``loss`` of the first and last tenth.

    Raises:
        RunStopped: fewer than two documents have a query: there is nothing to tell apart.
    """
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
    from sentence_transformers.sentence_transformer.training_args import SentenceTransformerTrainingArguments

    from pipelines.retrieval.losses import InBatchSoftmax

    index = opened(lexicon)
    queries, ids = pairs_of(dataset)
    distinct = {one: number for number, one in enumerate(dict.fromkeys(ids))}
    if len(distinct) < 2:
        raise RunStopped(
            f"there are {len(queries):,} queries of {len(distinct):,} documents to train on, and two documents are "
            "needed at least; loosen the filters before, or raise limit"
        )
    by_group = group(len(index))
    batch, steps = min(batch or by_group[0], len(queries)), steps or by_group[1]
    rows = {"query": queries, "document": index.text(ids), "label": [distinct[one] for one in ids]}
    take_threads(None)
    learner = SentenceTransformer(resolve(model_of(model, encoder)), device=device)
    learner.max_seq_length = min(document_tokens, learner.max_seq_length or document_tokens)
    how = arguments(made, batch, steps, learning_rate, checkpoint_steps, seed, device)
    trainer = SentenceTransformerTrainer(
        model=learner,
        args=SentenceTransformerTrainingArguments(**how),
        train_dataset=Dataset.from_dict(rows),
        loss=InBatchSoftmax(learner, 1 / temperature),
    )
    loss = fitted(trainer, made)
    return {"pairs": len(queries), "documents": len(distinct), "batch": batch, "steps": steps, "loss": loss}


def pairs_of(dataset: Source) -> tuple[list[str], list[str]]:
    """The queries of rows, and the ids of their documents."""
    queries: list[str] = []
    ids: list[str] = []
    for table in dataset.batches(["query", "doc_id"]):
        queries += table["query"].to_pylist()
        ids += table["doc_id"].to_pylist()
    return queries, ids
