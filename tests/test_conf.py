"""Every shipped configuration file composes, in every combination that a user may ask for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml

from pipelines import settings
from pipelines.compose import compose
from pipelines.face.groups import GROUPS, conf_dir, options
from pipelines.prompts import PromptSet
from pipelines.recipe import stages_of
from pipelines.verbs.sample import first_flow, judged, way_to
from tests.retrieval.conftest import as_parquet

#: What an option cannot know.
#: What an engine or a recipe cannot be composed without.
GIVEN = {"endpoint": ["engine.base_url=http://localhost:8000/v1"], "evaluate": ["recipe.runs=mine.trec"]}


def test_every_group_has_options_and_every_file_is_one() -> None:
    assert all(options(group) for group in GROUPS)
    files = {path.relative_to(conf_dir()) for path in conf_dir().rglob("*.yaml")} - {Path("config.yaml")}
    # Fragments of recipes and skills are no options of a user's.
    fragments = {path for path in files if path.parts[0] in ("stage", "taxonomy")}
    assert files - fragments == {Path(group, f"{option}.yaml") for group in GROUPS for option in options(group)}


#: Recipes with engines, and engines with models: a recipe asks nothing of a model but by its engine.
PAIRS = sorted(
    {(recipe, engine, options("model")[0]) for recipe in options("recipe") for engine in options("engine")}
    | {(options("recipe")[0], engine, model) for engine in options("engine") for model in options("model")}
)


@pytest.mark.parametrize(("recipe", "engine", "model"), PAIRS)
def test_every_recipe_and_every_model_composes_with_every_engine(
    recipe: str, engine: str, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_parquet(tmp_path)  # retrieval recipes look at the collection that they are given
    (tmp_path / "mine.trec").write_text("q1 Q0 d1 1 1.0 mine\n")
    monkeypatch.chdir(tmp_path)
    given = [f"input={tmp_path}", "output=b", *GIVEN.get(engine, []), *GIVEN.get(recipe, [])]
    config = compose([f"recipe={recipe}", f"engine={engine}", f"model={model}", *given])
    assert settings.Model(**config["model"]).name == model
    assert settings.ENGINES[config["engine"]["kind"]](**config["engine"]).kind == config["engine"]["kind"]
    assert config["io"]["shard_rows"] == config["engine"]["shard_rows"]


@pytest.mark.parametrize(("group", "option"), [(g, o) for g in GROUPS[3:] for o in options(g) if g != "prompt"])
def test_every_other_option_composes(group: str, option: str) -> None:
    config = compose(["recipe=text_to_persona", f"{group}={option}", "input=a", "output=b"])
    assert settings.Sampling(**config["sampling"]).max_tokens == config["sampling"]["max_tokens"]


@pytest.mark.parametrize("recipe", options("recipe"))
def test_a_recipe_file_opens_with_the_command_that_runs_it(recipe: str) -> None:
    first, second = (conf_dir() / "recipe" / f"{recipe}.yaml").read_text().splitlines()[:2]
    assert first == "# @package _global_"  # Hydra reads this only from the first line
    assert second.startswith(f"# nightmill run recipe={recipe} input=")


@pytest.mark.parametrize("model", options("model"))
def test_a_preset_is_complete_and_named_as_its_file(model: str) -> None:
    preset: dict[str, Any] = yaml.safe_load((conf_dir() / "model" / f"{model}.yaml").read_text())
    assert preset["name"] == model
    assert {"weights", "context", "parameters"} <= set(preset)
    # 16 bits a parameter, on GPUs of 80 GB of which nine tenths may be used.
    assert preset["parameters"] * 2 / preset.get("tensor_parallel_size", 1) < 0.9 * 80


def test_there_are_instruct_presets_from_half_a_billion_to_seventy_billion_parameters() -> None:
    presets = [yaml.safe_load((conf_dir() / "model" / f"{m}.yaml").read_text()) for m in options("model")]
    from_hub = [preset for preset in presets if not preset["weights"].startswith("packaged:")]
    assert len(from_hub) >= 8
    assert min(p["parameters"] for p in from_hub) < 0.6
    assert max(p["parameters"] for p in from_hub) > 70


def test_the_default_run_is_the_packaged_model_on_this_machine() -> None:
    config = compose(["recipe=text_to_persona", "input=a", "output=b"])
    assert config["model"]["weights"] == "packaged:smollm2-135m"
    assert (config["engine"]["kind"], config["engine"]["device"]) == ("vllm", "cpu")


@pytest.mark.parametrize("granularity", ["coarse", "medium", "fine"])
def test_granularity_changes_the_instruction_only(granularity: str) -> None:
    prompt = compose(["recipe=text_to_persona", "input=a", "output=b"])["prompt"]
    prompts = PromptSet(prompt["name"], prompt["templates"], prompt["system"], prompt["tables"])
    fields = {"text": "How to set a violin's neck.", "relation": "write"}
    rendered = prompts.render("persona", granularity=granularity, **fields).messages[-1][1]
    instruction = prompt["tables"]["granularities"][granularity]
    assert instruction in rendered
    assert rendered.replace(instruction, "") == prompts.render("persona", granularity="fine", **fields).messages[-1][
        1
    ].replace(prompt["tables"]["granularities"]["fine"], "")


def test_every_relation_is_asked_for_in_a_sentence_and_one_of_ones_own_by_its_name() -> None:
    config = compose(["recipe=persona_to_persona", "input=a", "output=b"])
    prompt, types = config["prompt"], config["recipe"]["relation_types"]
    assert list(prompt["tables"]["relatives"]) == types
    prompts = PromptSet(prompt["name"], prompt["templates"], prompt["system"], prompt["tables"])
    said = {one: prompts.render("related", persona="A baker", relation=one).messages[-1][1] for one in (*types, "muse")}
    assert "\nDescribe a parent of the person above. Give an occupation" in said["parent"]
    assert "\nDescribe someone who cleans where the person above works. Give" in said["cleaner at their workplace"]
    assert "\nDescribe someone whose relation to the person above is: muse. Give" in said["muse"]


def test_a_text_stands_between_delimiters_in_the_prompt() -> None:
    prompt = compose(["recipe=text_to_persona", "input=a", "output=b"])["prompt"]
    prompts = PromptSet(prompt["name"], prompt["templates"], prompt["system"], prompt["tables"])
    text = "{{ 7*7 }} {% include 'x' %}"
    for template, more in {"persona": {}, "personas": {"count": 3}}.items():
        rendered = prompts.render(template, text=text, relation="read", granularity="fine", **more)
        assert f'"""\n{text}\n"""' in rendered.messages[-1][1]


@pytest.mark.parametrize("recipe", ["persona_synthesis", "persona_math", "similarity_study"])
def test_what_is_no_persona_is_turned_away_by_name_before_a_model_is_asked(recipe: str) -> None:
    stages = stages_of(compose([f"recipe={recipe}", "input=a", "output=b", "text_column=persona"]), "f")
    bad = {
        "refusal": "I cannot help with that.",
        "contact": "Write to me@example.com, a nurse",
        "too_long": "A teacher " + "who walks along the river and counts the boats " * 50,
        "several": "1. A nurse who sings\n2. A baker who runs",
    }
    table = pa.table({"id": ["sound", *bad], "persona": ["A baker of rye who sings", *bad.values()]})
    passed, told = judged(table, way_to(stages, first_flow(stages)))
    assert passed["id"].to_pylist() == ["sound"]
    assert told == {reason: ("personas", reason) for reason in bad}
