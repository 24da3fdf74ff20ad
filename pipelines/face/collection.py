"""The folder that a retrieval recipe is given, as settings: its files, and which of them rows are read from."""

from __future__ import annotations

from typing import Any

from pipelines.errors import UserError

#: What follows from a folder that is none: nothing further is said of it.
_NOTHING: dict[str, Any] = {"recipe.collection": {}}


def collection(given: Any, seeds_from: str) -> tuple[dict[str, Any], list[str]]:
    """The settings that follow from ``input=DIR``, by key, and what is wrong with it, a line each.

    ``recipe.collection`` holds every file with its digest, so a file that changes is another setting; ``input`` becomes
    the files of the part that rows are read from, ``id_column`` and ``text_column`` its columns.
    """
    from pipelines.retrieval.collection import columns_of, locate  # other recipes need not load what it takes

    if not isinstance(given, str):
        return _NOTHING, [f"input={given}: name one folder, with corpus, queries and qrels in it"]
    try:
        parts = locate(given)
        if not parts[seeds_from]:
            return _NOTHING, [f"input={given}: has no {seeds_from}; add {seeds_from}.parquet or {seeds_from}.jsonl"]
        columns = columns_of(parts, seeds_from)
    except UserError as error:
        return _NOTHING, [str(error)]
    return {
        "recipe.collection": parts,
        "input": [one["path"] for one in parts[seeds_from]],
        "id_column": columns["doc_id" if seeds_from == "corpus" else "query_id"],
        "text_column": columns["text"],
    }, []
