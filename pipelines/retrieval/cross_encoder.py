"""Rerankers that read a query and a document together (papers.md 3.5, 4.3, 4.5): one number for each pair.

An encoder with one logit, or a T5 that says true or false (``t5``).

Trained on pairs that belong together and pairs that do not, one for one (InPars), or on the softmax over a pair's
document and several negatives (Promptagator++). Of a pair that is too long the document is cut; a query has half of the
room at most.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from threading import Lock
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.dedup.found import Source
from pipelines.engine.weights import resolve
from pipelines.errors import RunStopped
from pipelines.retrieval.heads import has_head, headless
from pipelines.retrieval.lexical import opened
from pipelines.retrieval.together import together
from pipelines.retrieval.training import arguments, fitted, loaded, model_of, on_one_device, shared, take_threads

_READING = Lock()


def train(
    made: str,
    dataset: Source,
    *,
    lexicon: str = "",
    base: str,
    batch: int,
    at_once: int,
    steps: int,
    learning_rate: float | None,
    pair_tokens: int,
    listwise: bool,
    checkpoint_steps: int,
    seed: int,
    device: str | None,
    workers: int,
) -> dict[str, Any]:
    """Train a reranker on pairs with negatives, into ``made/model``.

    Args:
        made: a folder that is there; an earlier start's checkpoints in it are gone on from.
        dataset: rows of ``query``, ``doc_id`` and ``negatives``.
        lexicon: folder of an index, whose texts are taken.
        base: hub id, path or ``packaged:NAME`` of a cross-encoder, of an encoder that is to become one, or of a T5.
        batch: pairs a step, half of them negative; with ``listwise`` lists a step.
        at_once: pairs that a process reads at once; a larger batch is taken in pieces, with the same gradient.
        steps: optimiser steps.
        learning_rate: of an encoder at the end of a warm-up over a tenth of the steps, from where it falls to 0
            linearly; of a T5 all the time. None: 5e-5 (1e-4 where its head is new) and 1e-3.
        pair_tokens: tokens of a query and its document together.
        listwise: softmax over the document and all of its negatives, instead of one decision a pair.
        checkpoint_steps: steps between checkpoints.
        seed: of the order of pairs, and of a new head.
        device: cpu, cuda, ...; None takes a GPU where there is one.
        workers: processes that train together, which share a batch.

    Returns:
        ``pairs``, ``negatives`` (of all), ``batch``, ``steps``, and ``loss`` of the first and last tenth.

    Raises:
        RunStopped: no pair has a negative.
    """
    from pipelines.retrieval.t5 import reads_as_t5

    tables = [table.filter(pc.greater(pc.list_value_length(table["negatives"]), 0)) for table in _given(dataset)]
    rows = pa.concat_tables([_ROWS.empty_table(), *tables])
    if not len(rows):
        raise RunStopped(
            "no query has a document that does not answer it, so there is nothing to train a reranker on; loosen the "
            "filters before, or raise limit"
        )
    examples = _lists(rows) if listwise else _pairs(rows)
    steady = reads_as_t5(base)
    usual = _T5_RATE if steady else _ENCODER_RATE if _has_head(base) else _NEW_HEAD_RATE
    how = {
        "batch": shared(min(batch, len(examples)), workers),
        "steps": steps,
        "learning_rate": learning_rate or usual,
        "checkpoint_steps": checkpoint_steps,
        "seed": seed,
        "device": device,
        "steady": steady,
        "at_once": at_once // (1 + pc.max(pc.list_value_length(rows["negatives"])).as_py() if listwise else 1),
    }
    fit = partial(_fit, examples=examples, lexicon=lexicon, base=base, pair_tokens=pair_tokens, how=how)
    loss = together(fit, made, workers, device)
    negatives = pc.sum(pc.list_value_length(rows["negatives"])).as_py()
    return {"pairs": len(rows), "negatives": negatives, "batch": how["batch"], "steps": steps, "loss": loss}


#: What a reranker is trained on.
_ROWS = pa.schema([("query", pa.string()), ("doc_id", pa.string()), ("negatives", pa.list_(pa.string()))])
#: Learning rates where none is set: of encoders ours, of T5 as published (papers.md 4.3). A new head has all to learn.
_ENCODER_RATE, _NEW_HEAD_RATE, _T5_RATE = 5e-5, 1e-4, 1e-3
#: The loss over a list wants the softmax of its labels; of this one and zeros that is 1 for the pair's own document.
_SURE = 50.0


def _has_head(base: str) -> bool:
    """Whether a model comes with a head that turns a pair into a number, as a published cross-encoder does."""
    from transformers import AutoConfig

    with loaded("recipe.reranker", base):
        config = AutoConfig.from_pretrained(resolve(base, setting="recipe.reranker"))
    return has_head(config.architectures, config.num_labels)


def _given(dataset: Source) -> Iterator[pa.Table]:
    for table in dataset.batches(_ROWS.names):
        yield table.cast(_ROWS)


def _pairs(rows: pa.Table) -> pa.Table:
    """Each query with its document and with one negative: as many of the ones as of the others (papers.md 4.8, 3)."""
    queries = [query for query in rows["query"].to_pylist() for _ in range(2)]
    firsts = pc.list_element(rows["negatives"], 0).to_pylist()
    ids = [one for both in zip(rows["doc_id"].to_pylist(), firsts, strict=True) for one in both]
    return pa.table({"query": queries, "document": ids, "label": [1.0, 0.0] * len(rows)})


def _lists(rows: pa.Table) -> pa.Table:
    both = zip(rows["doc_id"].to_pylist(), rows["negatives"].to_pylist(), strict=True)
    lists = [[own, *others] for own, others in both]
    labels = [[_SURE] + [0.0] * (len(ids) - 1) for ids in lists]
    return pa.table({"query": rows["query"], "document": lists, "label": labels})


def _fit(
    made: str, *, examples: pa.Table, lexicon: str, base: str, pair_tokens: int, how: dict[str, Any]
) -> list[float]:
    """Train in this process, or in as many as have begun this together; the losses that ``fitted`` tells."""
    from datasets import Dataset
    from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
    from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss, ListNetLoss

    index = opened(lexicon)
    learner = cross_encoder(base, how["device"], pair_tokens, how["seed"])
    listwise = pa.types.is_list(examples.schema.field("document").type)

    def texts(rows: dict[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
        queries = [asked(query, learner.tokenizer, pair_tokens) for query in rows["query"]]
        documents = [index.text(ids) for ids in rows["document"]] if listwise else index.text(rows["document"])
        return {"query": queries, "document": documents, "label": rows["label"]}

    trainer = CrossEncoderTrainer(
        model=learner,
        args=on_one_device(CrossEncoderTrainingArguments(**arguments(made, **how))),
        train_dataset=Dataset(examples).with_transform(texts),
        loss=ListNetLoss(learner) if listwise else BinaryCrossEntropyLoss(learner),
    )
    return fitted(trainer, made)


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
    from pipelines.retrieval.t5 import reads_as_t5

    if not reads_as_t5(model) and not _has_head(model):
        raise headless(f"recipe.reranker={model}")
    return cross_encoder(model, device, pair_tokens, seed=0)


def cross_encoder(name: str, device: str | None, pair_tokens: int, seed: int) -> Any:
    """A model with one number a pair; the head of an encoder that has none is drawn from ``seed``.

    Raises:
        UserError: it cannot be loaded.
    """
    from sentence_transformers.cross_encoder import CrossEncoder
    from transformers import set_seed

    from pipelines.retrieval.t5 import T5Verdict, reads_as_t5

    set_seed(seed)
    with loaded("recipe.reranker", name):
        place = resolve(name, setting="recipe.reranker")
        if reads_as_t5(name):
            return CrossEncoder(modules=[T5Verdict(place, pair_tokens)], device=device)
        # A head of another shape than is asked for is drawn anew, as one that is missing is.
        own = {"ignore_mismatched_sizes": True}
        found = CrossEncoder(place, num_labels=1, device=device, model_kwargs=own)
        found.max_seq_length = min(pair_tokens, found.max_seq_length or pair_tokens)
        return found
