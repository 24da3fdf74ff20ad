"""A test collection: documents, queries, and judgements of which document answers which query.

A folder with ``corpus``, ``queries`` and ``qrels`` as Parquet (``doc_id, title, text``; ``query_id, text``; ``query_id,
doc_id, score`` and, where there is one, ``split``) or in BEIR's layout (``corpus.jsonl``, ``queries.jsonl``,
``qrels/test.tsv``). Each may be one file or a folder of files, and compressed as inputs may be. Judgements may have
TREC's four columns (``qrels.trec``). Without a split every judgement is of the test split.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.errors import UserError
from pipelines.retrieval.trec import read_qrels
from pipelines.rows import digest
from pipelines.store.inputs.find import files_of
from pipelines.store.inputs.formats import FORMATS, SUPPORTED, format_of
from pipelines.store.inputs.source import InputFile, content_digest, is_remote, open_text, reading

#: The parts of a collection; a file or folder of that name, whatever its ending.
PARTS = ("corpus", "queries", "qrels")
#: The split of judgements that say none.
SPLIT = "test"
#: Ends of files of judgements in TREC's columns.
_TREC = (".trec", ".qrels", ".txt")
#: What columns are called: ours, BEIR's and others.
_DOCUMENT = {"doc_id": ("doc_id", "_id", "docid", "id"), "title": ("title",), "text": ("text", "contents")}
_QUERY = {"query_id": ("query_id", "_id", "qid", "id"), "text": ("text", "query")}
_JUDGEMENT = {
    "query_id": ("query_id", "query-id", "qid"),
    "doc_id": ("doc_id", "corpus-id", "docid", "doc-id"),
    "score": ("score", "relevance", "rel", "label"),
    "split": ("split",),
}
#: Rows that columns are known by, in formats that have no header.
_LOOKED_AT = 1000
#: Columns that a file need not have.
_OPTIONAL = ("title", "split")

#: A collection as a configuration holds it: for each part its files, each with path, digest and (qrels) split.
Parts = Mapping[str, Sequence[Mapping[str, Any]]]
#: Judgements: query -> document -> grade.
Qrels = dict[str, dict[str, int]]


def locate(place: str) -> dict[str, list[dict[str, Any]]]:
    """The files of the collection in a folder, by part, each with a digest of its content.

    Raises:
        UserError: it is no folder, or it has no corpus; queries and judgements may be absent.
    """
    if not is_remote(place) and os.path.isfile(os.path.expanduser(place)):
        raise UserError(f"input={place}: a collection is a folder with {', '.join(PARTS)}, and this is a file")
    found: dict[str, list[dict[str, Any]]] = {part: [] for part in PARTS}
    stems: dict[str, set[str]] = {part: set() for part in PARTS}
    for file in files_of(place):
        stem = file.name.partition("/")[0]
        part = stem.partition(".")[0]
        if part in found and (format_of(file.path) or (part == "qrels" and file.path.endswith(_TREC))):
            one = {"path": file.path, "digest": digest_of(file)}
            found[part].append(one | ({"split": _split(file.name)} if part == "qrels" else {}))
            stems[part].add(stem)
    if not found["corpus"]:
        raise UserError(
            f"input={place}: has no corpus (corpus.parquet, corpus.jsonl or a folder of that name); a collection has "
            f"{', '.join(PARTS)}; endings that are read: {SUPPORTED}"
        )
    for some in stems.values():
        if len(some) > 1:
            raise UserError(f"input={place}: has {' and '.join(sorted(some))}; leave one of them")
    return found


def columns_of(parts: Parts, part: str) -> dict[str, str]:
    """What the columns of the corpus or the queries are called in their first file, by our names for them."""
    file = files_of(parts[part][0]["path"])[0]
    names = _DOCUMENT if part == "corpus" else _QUERY
    return _named(file, _schema(file), names)


def documents(parts: Parts) -> Iterator[pa.Table]:
    """The documents in order, some at a time: doc_id, title, text; what a document lacks is an empty text.

    Raises:
        UserError: a file cannot be read, lacks a column, or has a document without an id.
    """
    for one in parts["corpus"]:
        for table in tables_of(one["path"], _DOCUMENT):
            yield table.set_column(1, "title", pc.fill_null(table["title"], "")).set_column(
                2, "text", pc.fill_null(table["text"], "")
            )


def whole_texts(table: pa.Table) -> pa.ChunkedArray:
    """Documents as they are indexed and shown to a model: the title, where there is one, a space and the text."""
    titles, texts = pc.utf8_trim_whitespace(table["title"]), pc.utf8_trim_whitespace(table["text"])
    return pc.utf8_trim_whitespace(pc.binary_join_element_wise(titles, texts, " "))


def queries(parts: Parts) -> dict[str, str]:
    """The queries by id, white space within them made single spaces: tabs and line breaks would break runs.

    Raises:
        UserError: there are none, one is there twice, or a file cannot be read.
    """
    if not parts["queries"]:
        raise UserError("input: the collection has no queries (queries.parquet or queries.jsonl); add them")
    found: dict[str, str] = {}
    for one in parts["queries"]:
        for table in tables_of(one["path"], _QUERY):
            for id_, text in zip(table["query_id"].to_pylist(), table["text"].to_pylist(), strict=True):
                if id_ in found:
                    raise UserError(f"input: {one['path']} has query {id_} twice; leave one")
                found[id_] = " ".join((text or "").split())
    return found


def judgements(parts: Parts, split: str, setting: str = "recipe.split") -> Qrels:
    """The judgements of a split; ``setting`` is the key that holds its name, for messages.

    Raises:
        UserError: there are none, one says two things, or a file cannot be read.
    """
    found: Qrels = {}
    splits: set[str] = set()
    for one in parts["qrels"]:
        for query, document, grade, own in _judged(one):
            splits.add(own)
            if own == split and found.setdefault(query, {}).setdefault(document, grade) != grade:
                raise UserError(f"input: {one['path']} judges document {document} for query {query} in two ways")
    if not found:
        told = f"there are {', '.join(sorted(splits))}" if splits else "the collection has no judgements (qrels)"
        raise UserError(f"{setting}={split}: no judgement is of this split; {told}")
    return found


def judged_queries(*, collection: Parts, split: str) -> list[dict[str, str]]:
    """The queries of a split as rows: ``query_id`` and ``text``, in the order of their file.

    Raises:
        UserError: as ``queries`` and ``judgements``; or none of the queries is judged.
    """
    judged = judgements(collection, split)
    rows = [{"query_id": id_, "text": text} for id_, text in queries(collection).items() if id_ in judged and text]
    if not rows:
        raise UserError(f"recipe.split={split}: no query of the collection is judged in it; their ids differ, perhaps")
    return rows


def judged_pairs(*, collection: Parts, split: str, setting: str) -> list[dict[str, Any]]:
    """The pairs of a query and a document that answers it, by the judgements of a split: what people asked.

    Each has ``answers``, what else answers its query. ``setting`` is the key that holds ``split``, for messages.

    Raises:
        UserError: there are none.
    """
    texts = queries(collection)
    pairs = []
    for query, some in judgements(collection, split, setting).items():
        answers = [document for document, grade in some.items() if grade > 0]
        if texts.get(query):
            for own in answers:
                others = [document for document in answers if document != own]
                pairs.append({"query_id": query, "query": texts[query], "doc_id": own, "answers": others})
    if not pairs:
        raise UserError(f"{setting}={split}: no judgement of it says that a document answers a query")
    return pairs


def examples(*, collection: Parts, split: str, count: int, words: int, seed: int) -> list[dict[str, str]]:
    """Up to ``count`` judged pairs with the text of their documents, for a prompt to show (papers.md 3.1).

    Drawn by lot, none of a query or a document twice; of a document the first ``words`` words.

    Raises:
        UserError: there is no judged pair in the split whose document is in the corpus.
    """
    pairs = judged_pairs(collection=collection, split=split, setting="recipe.examples_split")
    texts, wanted = dict[str, str](), {pair["doc_id"] for pair in pairs}
    for table in documents(collection):
        for id_, text in zip(table["doc_id"].to_pylist(), whole_texts(table).to_pylist(), strict=True):
            if id_ in wanted and text:
                texts[id_] = text
    pairs = [pair for pair in pairs if pair["doc_id"] in texts]
    drawn: list[dict[str, str]] = []
    seen: set[str] = set()
    for pair in sorted(pairs, key=lambda pair: digest(seed, pair["query_id"], pair["doc_id"])):
        marks = {f"q {pair['query_id']}", f"d {pair['doc_id']}"}
        if len(drawn) < count and not marks & seen:
            shown = " ".join(texts[pair["doc_id"]].split(" ")[:words])
            drawn.append({name: pair[name] for name in ("query_id", "query", "doc_id")} | {"document": shown})
            seen |= marks
    if not drawn:
        raise UserError(
            f"recipe.examples_split={split}: no document of the corpus answers a query by its judgements; choose "
            "another split, or recipe.template=zero_shot with recipe.examples=0"
        )
    return drawn


def _judged(one: Mapping[str, Any]) -> Iterator[tuple[str, str, int, str]]:
    if format_of(one["path"]) in (None, "text"):
        with open_text(files_of(one["path"])[0]) as lines:
            for query, document, number in read_qrels(lines, one["path"]):
                yield query, document, number, one["split"] or SPLIT
        return
    for table in tables_of(one["path"], _JUDGEMENT):
        for row in table.to_pylist():
            grade = _grade(row["score"])
            if grade is None:
                raise UserError(f"input: {one['path']}: the score {row['score']!r} of a judgement is no whole number")
            yield row["query_id"], row["doc_id"], grade, row["split"] or one["split"] or SPLIT


def _grade(score: str | None) -> int | None:
    """A grade as a number: 1 of "1" and "1.0"; None where it is none."""
    try:
        value = float(score or "")
    except ValueError:
        return None
    return int(value) if value.is_integer() else None


def tables_of(path: str, names: Mapping[str, Sequence[str]]) -> Iterator[pa.Table]:
    """A file's rows with the columns asked for, as texts, by our names for them."""
    file = files_of(path)[0]
    schema = _schema(file)
    # What the first rows lack others may have.
    called = {ours: ours for ours in names if ours in _OPTIONAL} | _named(file, schema, names)
    wanted = [schema.field(name) if name in schema.names else pa.field(name, pa.string()) for name in called.values()]
    for chunk in FORMATS[format_of(path) or ""].chunks(file, pa.schema(wanted), called.get("text", "")):
        if chunk.faults:
            reason, detail = next(iter(chunk.faults.values()))
            raise UserError(f"input: {path}: {reason}: {detail or 'a row cannot be read'}; mend it")
        columns = {}
        for ours in names:
            columns[ours] = chunk.table[called[ours]].cast(pa.string())
            if ours.endswith("_id") and columns[ours].null_count:
                raise UserError(f"input: {path} has a row without {called[ours]}; give it one, or take it out")
        yield pa.table(columns)


def _schema(file: InputFile) -> pa.Schema:
    """The columns of a file, as far as its first rows tell."""
    with reading(file):
        return FORMATS[format_of(file.path) or ""].describe(file, _LOOKED_AT).schema


def _named(file: InputFile, schema: pa.Schema, names: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """For each of our names the column of a file that it stands for."""
    found = {ours: next((one for one in theirs if one in schema.names), None) for ours, theirs in names.items()}
    for ours, column in found.items():
        if column is None and ours not in _OPTIONAL:
            raise UserError(
                f"input: {file.path} has no column {' or '.join(names[ours])}; it has {', '.join(schema.names)}"
            )
    return {ours: column for ours, column in found.items() if column is not None}


def _split(name: str) -> str | None:
    """The split that a file of judgements is named after: test of qrels/test.tsv; None for qrels.tsv."""
    folder, _, rest = name.partition("/")
    return rest.rpartition("/")[2].partition(".")[0] or None if rest else None


def digest_of(file: InputFile) -> str:
    """A digest of a file's content, or what its store says in place of one."""
    if file.digest:
        return file.digest
    with reading(file):
        return content_digest(file.path, file.size)
