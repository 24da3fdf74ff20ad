"""Training of a retriever (papers.md 3.4): one encoder for queries and documents, softmax over a batch's documents.

Queries of one document in a batch are no negatives of each other: their documents are masked (papers.md 3.8). Batch
size and steps follow the size of the corpus unless they are set. Checkpoints lie in the stage's folder while it is at
work, so a start after a kill goes on from the last one. Texts are read from the index as batches need them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.dedup.found import Source
from pipelines.engine.weights import resolve
from pipelines.errors import RunStopped
from pipelines.retrieval.lexical import opened
from pipelines.retrieval.together import together
from pipelines.retrieval.training import arguments, fitted, loaded, model_of, on_one_device, shared

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
    at_once: int,
    steps: int | None,
    learning_rate: float,
    temperature: float,
    document_tokens: int,
    checkpoint_steps: int,
    seed: int,
    device: str | None,
    workers: int,
    answers: str | None = None,
) -> dict[str, Any]:
    """Train an encoder on pairs of a query and a document, into ``made/model``.

    Args:
        made: a folder that is there; an earlier start's checkpoints in it are gone on from.
        dataset: rows of ``query`` and ``doc_id``.
        lexicon: folder of an index, whose texts are taken.
        model: folder of a model that a stage has trained, to go on training; None begins with ``encoder``.
        encoder: as ``dedup.embedding.encoder``.
        batch: pairs a step; None: by ``group``, and no more than there are.
        at_once: texts that a process encodes at once; more are taken in pieces, with the same gradient.
        steps: optimiser steps; None: by ``group``.
        learning_rate: at the end of a warm-up over a tenth of the steps; it falls to 0 linearly.
        temperature: what cosines are divided by.
        document_tokens: tokens of a text that count.
        checkpoint_steps: steps between checkpoints.
        seed: of the order of pairs.
        device: cpu, cuda, ...; None takes a GPU where there is one.
        workers: processes that train together, which share a batch.
        answers: the column with other documents that are known to answer a query; None where there is none.

    Returns:
        ``pairs``, ``documents`` (different ones), ``batch``, ``steps``, and ``loss`` of the first and last tenth.

    Raises:
        RunStopped: fewer than two documents have a query: there is nothing to tell apart.
    """
    columns = [*_PAIRS.names, *([answers] if answers else [])]
    pairs = pa.concat_tables([_PAIRS.empty_table(), *dataset.batches(columns)], promote_options="default")
    documents = pc.count_distinct(pairs["doc_id"]).as_py()
    if documents < 2:
        raise RunStopped(
            f"there are {len(pairs):,} queries of {documents:,} documents to train on, and two documents are "
            "needed at least; loosen the filters before, or raise limit"
        )
    others = pairs[answers].to_pylist() if answers else [()] * len(pairs)
    pairs = pairs.select(_PAIRS.names).append_column("label", _labels(pairs["doc_id"].to_pylist(), others, lexicon))
    by_group = group(len(opened(lexicon)))
    batch, steps = shared(min(batch or by_group[0], len(pairs)), workers), steps or by_group[1]
    fit = partial(
        _fit,
        pairs=pairs,
        lexicon=lexicon,
        model=model_of(model, encoder),
        how={
            "batch": batch,
            "steps": steps,
            "learning_rate": learning_rate,
            "checkpoint_steps": checkpoint_steps,
            "seed": seed,
            "device": device,
        },
        at_once=at_once,
        temperature=temperature,
        document_tokens=document_tokens,
    )
    loss = together(fit, made, workers, device)
    return {"pairs": len(pairs), "documents": documents, "batch": batch, "steps": steps, "loss": loss}


#: What a retriever is trained on.
_PAIRS = pa.schema([("query", pa.string()), ("doc_id", pa.string())])


def _labels(own: Sequence[str], answers: Sequence[Sequence[str] | None], lexicon: str) -> pa.Array:
    """Numbers of what answers each query, its own document first, as lists of one length filled up with -1."""
    index = opened(lexicon)
    found = [
        [place, *index.places(index.known(some or ()))] for place, some in zip(index.places(own), answers, strict=True)
    ]
    width = max(map(len, found), default=1)
    return pa.array([places + [-1] * (width - len(places)) for places in found], pa.list_(pa.int64()))


def _fit(
    made: str,
    *,
    pairs: pa.Table,
    lexicon: str,
    model: str,
    how: dict[str, Any],
    at_once: int,
    temperature: float,
    document_tokens: int,
) -> list[float]:
    """Train in this process, or in as many as have begun this together; the losses that ``fitted`` tells."""
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
    from sentence_transformers.sentence_transformer.training_args import SentenceTransformerTrainingArguments

    from pipelines.retrieval.losses import InBatchSoftmax

    index = opened(lexicon)

    def texts(rows: dict[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
        ids = rows["doc_id"]
        return {"query": rows["query"], "document": index.text(ids), "label": rows["label"]}

    with loaded("recipe.encoder", model):
        learner = SentenceTransformer(resolve(model, setting="recipe.encoder"), device=how["device"])
    learner.max_seq_length = min(document_tokens, learner.max_seq_length or document_tokens)
    trainer = SentenceTransformerTrainer(
        model=learner,
        args=on_one_device(SentenceTransformerTrainingArguments(**arguments(made, **how))),
        train_dataset=Dataset(pairs).with_transform(texts),
        loss=InBatchSoftmax(learner, 1 / temperature, at_once),
    )
    return fitted(trainer, made)
