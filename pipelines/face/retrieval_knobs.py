"""The knobs of recipes over test collections, typed; ``knobs`` has those of the others. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pipelines.settings import Recipe
from pipelines.settings.keys import ABOVE_ZERO, NOT_EMPTY, SHARE, Rule, at_least, between, key


@dataclass
class Retrieval(Recipe):
    """What recipes share whose input is a test collection: a folder with corpus, queries and qrels."""

    seeds_from: str = key(
        "the part of the collection that rows are read from: corpus or queries",
        rule=Rule("corpus or queries", lambda part: part in ("corpus", "queries")),
    )
    collection: dict[str, Any] = key(
        "the collection's files as found in input, by part", {"corpus": [], "queries": [], "qrels": []}
    )
    split: str = key("the split of judgements that rankings are measured by", rule=NOT_EMPTY)
    depth: int = key("documents that BM25 finds for a query, at most", rule=at_least(10))
    k1: float = key("BM25: how much a word counts that is in a document again", rule=ABOVE_ZERO)
    b: float = key("BM25: how much the length of a document counts", rule=SHARE)
    stemmer: str | None = key("BM25: a Snowball stemmer (porter, english, german, ...); null for none")
    stopwords: bool = key("BM25: leave English stop words out")
    query_id: str = key("the column with a query's id", rule=NOT_EMPTY)
    query_text: str = key("the column with a query's text", rule=NOT_EMPTY)
    arms: dict[str, str] = key("what each ranking is called in tables, and the name its columns begin with", {})
    over: dict[str, str] = key("rankings that are compared with another than the first, by what both are called", {})
    notes: dict[str, str] = key("sentences below the table, each where the stage of its name was run", {})


@dataclass
class Evaluate(Retrieval):
    """Recipe ``evaluate``: given rankings measured beside each other, and one reranked where a model is named."""

    runs: Any = key("rankings in TREC's six columns: FILE, [FILE, FILE], or {NAME: FILE}", literal=True)
    run_files: Any = key("the files of rankings as found in runs", {})
    reranker: str | None = key("reranker by hub id, path or `packaged:NAME`; null: none", rule=NOT_EMPTY, literal=True)
    reranks: str | None = key("the ranking that is reranked, by its name; null: the first")
    rerank: int = key("documents of a ranking that are reranked", rule=at_least(1))
    pair_tokens: int = key("tokens of a query and a document that a reranker reads together", rule=at_least(32))


@dataclass
class Trained(Retrieval):
    """What recipes share that train a retriever."""

    scale: str = key(
        "paper, or small (for two CPUs: at most 100 steps of 16 pairs)",
        rule=Rule("paper or small", lambda scale: scale in ("paper", "small")),
    )
    scales: dict[str, Any] = key("what the keys below are at each scale", {})
    encoder: str = key(
        "encoder that training begins with: hub id, path or `packaged:NAME`", rule=NOT_EMPTY, literal=True
    )
    batch: int | None = key("pairs a step; null: 128 below 50,000 documents, 6,144 from there on", rule=at_least(2))
    steps: int | None = key("optimiser steps; null: 1,000 up to 500,000 documents, 5,000 above", rule=at_least(1))
    learning_rate: float = key("highest learning rate, after a tenth of the steps", rule=ABOVE_ZERO)
    temperature: float = key("of the softmax over a batch's documents", rule=ABOVE_ZERO)
    document_tokens: int = key("tokens of a document that count", rule=at_least(8))
    checkpoint_steps: int = key("steps between checkpoints: what a kill costs at most", rule=at_least(1))
    batch_at_once: int = key(
        "texts or pairs that a process holds at once in training; a larger batch is taken in pieces, to the same end",
        rule=at_least(1),
    )
    workers: int = key(
        "processes that train one model together through Ray Train, each with a GPU where there are any",
        rule=at_least(1),
    )
    reranker: str = key(
        "model that a reranker begins with, an encoder or a T5: hub id, path or `packaged:NAME`",
        rule=NOT_EMPTY,
        literal=True,
    )
    reranker_batch: int = key("pairs a step of the reranker, half of them negative", rule=at_least(2))
    reranker_steps: int = key("optimiser steps of the reranker", rule=at_least(1))
    reranker_learning_rate: float | None = key(
        "the reranker's highest learning rate; null: 5e-5 for an encoder, 1e-4 where its head is new, 1e-3 for a T5",
        rule=ABOVE_ZERO,
    )
    pair_tokens: int = key("tokens of a query and a document that a reranker reads together", rule=at_least(32))
    rerank: int = key("documents of a ranking that are reranked", rule=at_least(1))
    listwise: bool = key("train the reranker on a pair and its negatives as one list, not each by itself")
    negatives: int = key("documents drawn for each pair that do not answer it", rule=at_least(1))
    negative_depth: int = key("ranks that negatives are drawn from", rule=at_least(2))
    negative_first: int = key(
        "first rank of BM25 that a negative is drawn from; the best may be answers", rule=at_least(1)
    )
    negative_margin: float | None = key(
        "refuse a negative whose score is above this share of the own document's; null refuses none", rule=ABOVE_ZERO
    )


@dataclass
class TrainRetriever(Trained):
    """Recipe ``train_retriever``: a retriever trained on pairs that people judged, and what it is worth."""

    pairs: str = key(
        "human (the judged pairs of train_split), or a run or files with query and doc_id", rule=NOT_EMPTY, literal=True
    )
    pair_files: Any = key("the files of pairs as found in pairs", [])
    train_split: str = key("the split of judgements that is trained on", rule=NOT_EMPTY)
    tuned_on: int = key(
        "queries of train_split, a fifth of them at most, held out to choose the reranker's weight beside BM25; "
        "0 mixes nothing",
        rule=at_least(0),
    )


class Wording(StrEnum):
    """How InPars asks for a query."""

    vanilla = "vanilla"
    guided = "guided"


class Variant(StrEnum):
    """InPars as published: version 1, version 2, Light."""

    v1 = "v1"
    v2 = "v2"
    light = "light"


@dataclass
class Generated(Trained):
    """What recipes share that train on queries which a model has written."""

    document_chars: int = key("characters of title and text that a document needs to be asked about", rule=at_least(0))
    document_words: int = key("words of a document that a prompt shows", rule=at_least(1))
    least_tokens: int = key("tokens that a query needs", rule=at_least(1))
    refuse_copied: bool = key("reject a query whose words stand in its document as they are")
    round_trip: int | None = key(
        "keep a query if a retriever trained on all of them finds its document among so many; null asks none",
        rule=at_least(1),
    )


@dataclass
class InPars(Generated):
    """Recipe ``inpars``: one query a document; the best by score, by a reranker, or those that find their document."""

    variants: dict[str, Any] = key("what wording and round_trip are in each variant", {})
    variant: Variant = key("v1 (the best scores), v2 (the best by a reranker) or light (round trip)")
    wording: Wording = key("vanilla (examples with a query) or guided (with a good question and a bad one)")
    keep: int | None = key("v1, v2: queries kept, the best; null: all", rule=at_least(1))
    judge: str | None = key(
        "v2: a published reranker by hub id or path; null trains one on the pairs of the best scores",
        rule=NOT_EMPTY,
        literal=True,
    )


@dataclass
class Promptagator(Generated):
    """Recipe ``promptagator``: several queries a document by examples of the task, kept by round trip."""

    template: str = key("the kind of task (scifact, fiqa, ...), or zero_shot", rule=NOT_EMPTY)
    examples: int = key("examples shown, fewer where they do not fit", rule=between(0, 8))
    examples_split: str = key("the split of judgements that examples are drawn from", rule=NOT_EMPTY)
    samples: int = key("queries drawn of each document", rule=at_least(1))
