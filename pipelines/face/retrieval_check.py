"""What is wrong with a recipe over a test collection that can be told before a night is spent on it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pipelines.errors import UserError
from pipelines.retrieval.heads import answers_in_words, has_head, headless
from pipelines.stages.stage import chains

#: Modules of the extra ``retrieval`` that every such recipe loads.
_PACKAGES = ("bm25s", "Stemmer", "ir_measures", "scipy")


def retrieval_mistakes(config: Mapping[str, Any]) -> Iterator[str]:
    """Mistakes in the recipe's keys, and in the queries, judgements and models that they name; a line each."""
    recipe = config["recipe"]
    if missing := [name for name in _PACKAGES if find_spec(name) is None]:
        yield (
            f"recipe={recipe['name']}: {', '.join(missing)} is not installed; pip install 'nightmill[retrieval]' "
            "brings what recipes over test collections need"
        )
        return
    yield from _between_keys(recipe)
    if not recipe["collection"]["corpus"]:
        return  # it has been said why
    for check in _calls(recipe, chains(recipe)[0]):
        try:
            check()
        except UserError as error:
            yield str(error)
    yield from _models(recipe)


def _between_keys(recipe: Mapping[str, Any]) -> Iterator[str]:
    if "train_split" in recipe and recipe["train_split"] == recipe["split"]:
        yield (
            f"recipe.train_split={recipe['train_split']}: is recipe.split too, and nothing may be trained on what is "
            "measured; name two splits of the judgements"
        )
    if recipe.get("negative_first", 1) > recipe.get("negative_depth", 1):
        yield (
            f"recipe.negative_first={recipe['negative_first']}: must be at most recipe.negative_depth="
            f"{recipe['negative_depth']}, or no rank is left to draw from"
        )
    if recipe.get("judge") is not None and recipe["variant"] != "v2":
        yield f"recipe.judge={recipe['judge']}: only recipe.variant=v2 asks a judge, and this is {recipe['variant']}"
    for key in ("batch", "reranker_batch") if "workers" in recipe else ():
        if recipe[key] is not None and recipe[key] % recipe["workers"]:
            yield f"recipe.{key}={recipe[key]}: must be a multiple of recipe.workers={recipe['workers']}, who share it"


def _calls(recipe: Mapping[str, Any], stages: Mapping[str, Any]) -> Iterator[Callable[[], Any]]:
    """What a run will call for its words, queries and judgements, as calls that name what is wrong."""
    from pipelines.retrieval.analysis import analysis
    from pipelines.retrieval.collection import judged_pairs, judged_queries, judgements

    parts = recipe["collection"]
    yield lambda: analysis(recipe["stemmer"], recipe["stopwords"])
    if "measured" in stages:
        yield lambda: judged_queries(collection=parts, split=recipe["split"])
    if "train_split" in recipe:
        split = recipe["train_split"]
        if not recipe["pair_files"]:
            yield lambda: judged_pairs(collection=parts, split=split, setting="recipe.train_split")
        elif recipe["tuned_on"]:
            yield lambda: judgements(parts, split, "recipe.train_split")
    if recipe.get("examples"):
        split = recipe["examples_split"]
        yield lambda: judged_pairs(collection=parts, split=split, setting="recipe.examples_split")


def _models(recipe: Mapping[str, Any]) -> Iterator[str]:
    """Models that are not there, and those that are to rank as they are and cannot."""
    from pipelines.engine.weights import resolve

    trains = "reranker_steps" in recipe
    for key in ("encoder", "reranker", "judge"):
        name = recipe.get(key)
        if name is None or name == "simulated":
            continue
        try:
            place = Path(resolve(name, setting=f"recipe.{key}"))
        except UserError as error:
            yield str(error)
            continue
        if (key == "judge" or (key == "reranker" and not trains)) and not _ranks(place / "config.json"):
            yield str(headless(f"recipe.{key}={name}"))


def _ranks(config: Path) -> bool:
    """Whether a model ranks as it is, as far as this machine can tell: one on the hub is not looked at before."""
    if not config.exists():
        return True
    known = json.loads(config.read_text())
    kinds, labels = known.get("architectures"), len(known.get("id2label", ("", "")))  # two, where nothing is said
    return has_head(kinds, labels) or answers_in_words(kinds, known.get("model_type", ""))
