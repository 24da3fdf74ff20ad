"""The folder that a retrieval recipe is given, as settings: its files, and which of them rows are read from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.errors import UserError


def collection(given: Any, recipe: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The settings that follow from ``input=DIR`` and the recipe's files, by key, and what is wrong, a line each.

    ``recipe.collection`` holds every file with its digest, so a file that changes is another setting; ``input`` becomes
    the files of the part that rows are read from, ``id_column`` and ``text_column`` its columns. So do
    ``recipe.pair_files`` and ``recipe.run_files`` hold those of ``recipe.pairs`` and ``recipe.runs``.
    """
    from pipelines.retrieval.collection import columns_of, locate  # other recipes need not load what it takes

    seeds_from = recipe["seeds_from"]
    if not isinstance(given, str):
        return {}, [f"input={given}: name one folder, with corpus, queries and qrels in it"]
    try:
        parts = locate(given)
        if not parts[seeds_from]:
            return {}, [f"input={given}: has no {seeds_from}; add {seeds_from}.parquet or {seeds_from}.jsonl"]
        columns = columns_of(parts, seeds_from)
        more = _beside(recipe)
    except UserError as error:
        return {}, [str(error)]
    return more | {
        "recipe.collection": parts,
        "input": [one["path"] for one in parts[seeds_from]],
        "id_column": columns["doc_id" if seeds_from == "corpus" else "query_id"],
        "text_column": columns["text"],
    }, []


def _beside(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that follow from what a recipe is given beside the collection."""
    from pipelines.retrieval.given import locate_pairs, locate_runs

    more: dict[str, Any] = {}
    if "pairs" in recipe:
        more["recipe.pair_files"] = locate_pairs(recipe["pairs"])
    if "runs" in recipe and recipe["runs"] != "???":
        files = locate_runs(recipe["runs"])
        first = recipe["reranks"] or next(iter(files))
        if first not in files:
            raise UserError(f"recipe.reranks={first}: no ranking of recipe.runs, which has {', '.join(files)}")
        arms = {name: name for name in files}
        if recipe["reranker"] is not None:
            if "reranked" in files:
                raise UserError(
                    "recipe.runs: reranked is what recipe.reranker's ranking is called; name yours otherwise"
                )
            arms[f"{first} + reranker"] = "reranked"
        more |= {"recipe.run_files": files, "recipe.reranks": first, "recipe.arms": arms}
    return more
