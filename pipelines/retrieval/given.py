"""What an earlier command made, as input beside a collection: pairs to train on, and rankings in TREC's columns."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.errors import UserError
from pipelines.retrieval.collection import Parts, digest_of, documents, judged_pairs, tables_of
from pipelines.retrieval.lexical import Hits
from pipelines.retrieval.measures import judged_in
from pipelines.retrieval.search import with_hits
from pipelines.retrieval.trec import Ranked, read_run, word
from pipelines.rows import canonical
from pipelines.store.files import folder
from pipelines.store.inputs.find import files_of, find
from pipelines.store.inputs.source import open_text

#: Pairs that people judged, as a setting.
HUMAN = "human"
_PAIR = {"query": ("query",), "doc_id": ("doc_id", "docid", "corpus-id")}
#: What a ranking may be called: it names columns and a file.
_NAME = re.compile(r"\w[\w.-]*")


def locate_pairs(given: str) -> list[dict[str, str]]:
    """The files that ``recipe.pairs`` names, each with a digest: none for human, else those of a run or a path.

    Raises:
        UserError: nothing is there, or nothing that is read.
    """
    if given == HUMAN:
        return []
    names: list[str] = []
    with suppress(UserError):  # a file, or a place that holds no run
        names = folder(given).names()
    wanted = f"{given.rstrip('/')}/data" if "metadata.json" in names else given
    try:
        return [{"path": file.path, "digest": digest_of(file)} for file in find(wanted).files]
    except UserError as error:
        raise UserError(f"recipe.pairs={given}: {str(error).removeprefix(f'input={wanted}: ')}") from None


def locate_runs(given: Any) -> dict[str, dict[str, str]]:
    """The files of rankings that ``recipe.runs`` names, by what each is called, with a digest of its content.

    ``given`` is a mapping of names to paths, or a path or a list of them, whose names are those of the files.

    Raises:
        UserError: there is none, one cannot be read or is there twice, or a name is no word.
    """
    if not isinstance(given, (str, Mapping, list, tuple)):
        raise UserError(f"recipe.runs={given}: names no file; FILE, [FILE, FILE] or {{NAME: FILE}}")
    if not isinstance(given, Mapping):
        paths = [given] if isinstance(given, str) else list(given)
        names = [str(path).rstrip("/").rpartition("/")[2].partition(".")[0] for path in paths]
        if len(set(names)) < len(names):
            raise UserError(
                f"recipe.runs={given}: two have one name; give each its own: recipe.runs={{NAME: FILE, ...}}"
            )
        given = dict(zip(names, paths, strict=True))
    if not given:
        raise UserError("recipe.runs: names no file; a ranking has six columns, query Q0 document rank score tag")
    found: dict[str, dict[str, str]] = {}
    for name, path in given.items():
        if not _NAME.fullmatch(str(name)):
            raise UserError(f"recipe.runs: {name!r} names columns and a file; letters, digits, . - and _ only")
        files = files_of(str(path))
        if len(files) != 1:
            raise UserError(f"recipe.runs: {name}={path} is no file")
        found[str(name)] = {"path": files[0].path, "digest": digest_of(files[0])}
    return found


def pairs(*, collection: Parts, split: str, files: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    """Pairs of a query and a document that answers it: those of files, or without files those that people judged.

    ``answers`` are documents that are known to answer the query too.

    Raises:
        UserError: there are none, a row lacks one of both, or a file lacks a column.
    """
    if not files:
        return judged_pairs(collection=collection, split=split, setting="recipe.train_split")
    rows: dict[tuple[str, str], None] = {}  # what two models wrote alike counts once
    for one in files:
        for table in tables_of(one["path"], _PAIR):
            rows |= dict.fromkeys(zip(table["query"].to_pylist(), table["doc_id"].to_pylist(), strict=True))
    found = [
        {"query_id": "", "query": query, "doc_id": document, "answers": list[str]()}
        for query, document in rows
        if query and query.strip()
    ]
    if not found:
        raise UserError(f"recipe.pairs: {', '.join(one['path'] for one in files)} hold no pair of query and doc_id")
    return found


def not_in_corpus(table: pa.Table, *, collection: Parts) -> pa.ChunkedArray:
    """A rule: pairs whose document the corpus does not have; judgements may name what was taken out of it."""
    return pc.invert(pc.is_in(table["doc_id"], value_set=_ids(canonical(collection))))


@cache
def _ids(collection: str) -> pa.Array:
    """The ids of a corpus, read once in a process."""
    tables = [table.select(["doc_id"]) for table in documents(json.loads(collection))]
    return pa.concat_tables(tables)["doc_id"].combine_chunks()


def rankings(
    table: pa.Table, *, runs: Mapping[str, Mapping[str, str]], query_column: str, collection: Parts, split: str
) -> pa.Table:
    """Queries with what each run has for them, best first.

    Args:
        table: rows of queries.
        runs: files by what their columns begin with (``locate_runs``).
        query_column: the column with the query's id.
        collection: where the judgements are.
        split: which of them are measured by.

    Raises:
        UserError: a file is no run, or none of its queries is judged.
    """
    judged = {word(query) for query in judged_in(collection, split)}
    for name, one in runs.items():
        found = _run(one["path"], one["digest"])
        if found.keys().isdisjoint(judged):
            raise UserError(
                f"recipe.runs: no query of {one['path']} is judged in recipe.split={split}; their ids differ, perhaps"
            )
        ranked = [found.get(word(id_), ()) for id_ in table[query_column].to_pylist()]
        # The corpus is read for them only where ids may have had white space.
        marked = any("_" in document for some in ranked for document, _ in some)
        spaced = _spaced(canonical(collection)) if marked else {}
        hits = [Hits([spaced.get(d, d) for d, _ in some], [s for _, s in some]) for some in ranked]
        table = with_hits(table, name, hits)
    return table


@cache
def _spaced(collection: str) -> Mapping[str, str]:
    """Ids of the corpus that hold white space, by what a run has for them."""
    ids = _ids(collection)
    return {word(id_): id_ for id_ in ids.filter(pc.match_substring_regex(ids, r"\s")).to_pylist()}


@cache
def _run(path: str, digest: str) -> Mapping[str, Ranked]:
    """A run, read once in a process; ``digest`` keeps apart what a file was and is."""
    with open_text(files_of(path)[0]) as lines:
        return read_run(lines, path)
