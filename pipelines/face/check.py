"""What is wrong with a composed configuration: values, stages, functions and templates, all of it at once.

Each check yields one line a mistake: the key, the value seen and the fix. A type is Hydra's business (compose.py); here
is what a type cannot say, such as a share above 1, a stage that is nothing, or a knob that its function does not have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pipelines.errors import UserError
from pipelines.face.overrides import did_you_mean, nearest, shown
from pipelines.face.retrieval_check import retrieval_mistakes
from pipelines.face.targets import target_mistakes
from pipelines.face.templates import syntax_mistakes, template_mistakes
from pipelines.settings.target import aims

#: Keys of a stage, by the one that makes it what it is.
STAGES = {
    "rows": ("enabled", "rows", "columns"),
    "flow": ("enabled", "from", "uses", "uses_most", "asks", "calls", "flow", "columns"),
    "map": ("enabled", "from", "uses", "shard_rows", "map"),
    "filters": ("enabled", "from", "filters"),
    "dedup": ("enabled", "from", "dedup"),
    "select": ("enabled", "from", "select"),
    "make": ("enabled", "from", "uses", "make"),
}


#: Knobs that only one task heeds, with that task and the value that asks for nothing.
ONE_TASKS = {"variant": ("reasoning", "plain"), "code": ("tool", False), "turns": ("instruction", 0)}


def rule_mistakes(config: DictConfig, at: str = "") -> Iterator[str]:
    """Values that break the rule which their schema states for them."""
    schema = OmegaConf.get_type(config)
    documented = fields(schema) if schema is not None and is_dataclass(schema) else ()
    metadata = {field.name: field.metadata for field in documented}
    for name in map(str, config):
        try:
            value = config[name]
        except OmegaConfBaseException:
            continue  # Missing values and broken references are reported by compose.
        dotted = f"{at}{name}"
        rule = metadata[name].get("rule") if name in metadata else None
        if isinstance(value, DictConfig):
            yield from rule_mistakes(value, f"{dotted}.")
        elif rule is not None and value is not None and not rule.holds(value):
            yield f"{shown(dotted, value)}: must be {rule.says} ({metadata[name]['doc']})"


def mistakes(config: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with a resolved configuration (plain values) beyond single keys."""
    yield from _between_keys(config)
    yield from syntax_mistakes(config["prompt"])
    recipe = config["recipe"]
    if recipe is None:
        return
    if "collection" in recipe:
        yield from retrieval_mistakes(config)
    if recipe["limit_by"] is not None:
        yield from target_mistakes(recipe["limit_by"], "recipe.limit_by")
    if recipe["report"] is not None:
        yield from target_mistakes({"report": recipe["report"]}, "recipe")
    if recipe["result"] is not None and recipe["result"] not in recipe["stages"]:
        yield f"recipe.result={recipe['result']}: no such stage; there are {', '.join(recipe['stages'])}"
    if recipe["until"] is not None:
        yield from _until_mistakes(config, recipe)
    yield from _reference_mistakes("recipe.stages", recipe["stages"])
    for name, node in recipe["stages"].items():
        yield from _name_mistakes(f"recipe.stages.{name}", name)
        if isinstance(node, Mapping) and "repeat" in node:
            if name == "r" or name[-1:].isdigit():
                yield f"recipe.stages.{name}: a block's name ends in no digit and is not r: repetitions are numbered"
            yield from _block_mistakes(f"recipe.stages.{name}", node, config["prompt"])
            if name != list(recipe["stages"])[-1]:
                yield f"recipe.stages.{name}: a block that is repeated must be the last of the stages"
        else:
            yield from _stage_mistakes(f"recipe.stages.{name}", name, node, config["prompt"])


def _between_keys(config: Mapping[str, Any]) -> Iterator[str]:
    longest, context = config["sampling"]["max_tokens"], config["model"]["context"]
    if longest >= context:
        yield f"sampling.max_tokens={longest}: must be below model.context={context}; no prompt fits beside the answer"
    minhash = config["dedup"]["minhash"]
    permutations, bands = minhash["num_permutations"], minhash["bands"]
    if bands is not None and bands > permutations:
        yield f"dedup.minhash.bands={bands}: must be at most dedup.minhash.num_permutations={permutations}"
    if config["dedup"]["keep"] == "highest" and not config["dedup"]["score_column"]:
        yield "dedup.keep=highest: name the column of numbers that decides, dedup.score_column=..."
    recipe = config["recipe"] or {}
    if recipe.get("agreement", 0) > recipe.get("solutions", 0):
        yield (
            f"recipe.agreement={recipe['agreement']}: must be at most recipe.solutions={recipe['solutions']}; no "
            "problem would stay"
        )
    for name, (task, neutral) in ONE_TASKS.items() if "task" in recipe else ():
        if recipe.get(name, neutral) != neutral and recipe["task"] != task:
            yield f"recipe.{name}={recipe[name]}: only recipe.task={task} heeds it, and this is {recipe['task']}"
    if "template" in recipe:
        kinds = config["prompt"]["tables"].get("kinds", {})
        if recipe["template"] not in (*kinds, "zero_shot"):
            near = did_you_mean(nearest(recipe["template"], kinds), f"there are {', '.join(kinds)} and zero_shot")
            yield f"recipe.template={recipe['template']}: no kind of task of prompt {config['prompt']['name']}; {near}"
        elif recipe["template"] == "zero_shot" and recipe["examples"]:
            yield (
                f"recipe.examples={recipe['examples']}: recipe.template=zero_shot shows none; set recipe.examples=0, "
                f"or choose a template of {', '.join(kinds)}"
            )
    engine = config["engine"]
    if engine["kind"] == "simulated" and engine["accepted"] + engine["duplicates"] > 1:
        yield (
            f"engine.accepted={engine['accepted']} and engine.duplicates={engine['duplicates']}: "
            "are shares of the same answers; together they must be at most 1"
        )


def _block_mistakes(at: str, node: Mapping[str, Any], prompt: Mapping[str, Any]) -> Iterator[str]:
    if set(node) != {"repeat", "stages"} or not isinstance(node["stages"], Mapping) or not node["stages"]:
        yield f"{at} has the keys {sorted(node)}; a block has repeat (a number) and stages"
        return
    if type(node["repeat"]) is not int or node["repeat"] < 0:
        yield f"{at}.repeat={node['repeat']!r}: must be a whole number, 0 or more"
    yield from _reference_mistakes(f"{at}.stages", node["stages"])
    for name, inner in node["stages"].items():
        yield from _name_mistakes(f"{at}.stages.{name}", name)
        yield from _stage_mistakes(f"{at}.stages.{name}", name, inner, prompt)


def _until_mistakes(config: Mapping[str, Any], recipe: Mapping[str, Any]) -> Iterator[str]:
    until, nodes = recipe["until"], recipe["stages"]
    known = [name for name, node in nodes.items() if "repeat" not in node and node.get("enabled", True)]
    if until not in known:
        yield f"recipe.until={until}: no such stage; " + did_you_mean(
            nearest(until, known), f"it can be one of {', '.join(known)}"
        )
    if aims(config):
        yield f"recipe.until={until}: a run towards a target goes through all stages; leave one of them out"


def _reference_mistakes(at: str, stages: Mapping[str, Any]) -> Iterator[str]:
    """Names in ``from`` and ``uses`` that are those of no stage before."""
    before = ["seeds"]
    for name, node in stages.items():
        if isinstance(node, Mapping):
            uses = node.get("uses") or {}
            asked = {"from": node["from"]} if "from" in node else {}
            asked |= {f"uses.{argument}": names for argument, names in uses.items()}
            for key, names in asked.items():
                for one in [names] if isinstance(names, str) else names:
                    if one not in before:
                        near = did_you_mean(nearest(str(one), before), f"stages before it are {', '.join(before)}")
                        yield f"{at}.{name}.{key}={one}: no stage before it; {near}"
        before.append(name)


def _name_mistakes(at: str, name: str) -> Iterator[str]:
    if not name or "." in name or "/" in name:
        yield f"{at}: a stage's name is a word without dots or slashes; it names a directory"


def _stage_mistakes(at: str, name: str, node: Any, prompt: Mapping[str, Any]) -> Iterator[str]:
    kinds = [kind for kind in STAGES if isinstance(node, Mapping) and kind in node]
    if len(kinds) != 1:
        seen = f"has the keys {sorted(node)}" if isinstance(node, Mapping) else f"is {node!r}"
        yield f"{at} {seen}; a stage has exactly one of {', '.join(STAGES)}"
        return
    legal = STAGES[kinds[0]]
    for key in node:
        if key not in legal:
            near = did_you_mean(nearest(key, legal), f"it has {', '.join(legal)}")
            yield f"{at}.{key}: no key of a {kinds[0]} stage; {near}"
    if isinstance(node.get("enabled", True), str | float):
        yield f"{at}.enabled={node['enabled']}: must be true or false, or a knob that switches it on when it is set"
    yield from target_mistakes({kinds[0]: node[kinds[0]]}, at)
    if kinds[0] in ("flow", "rows"):
        yield from _column_mistakes(name, node.get("columns"), at)
    if kinds[0] == "flow":
        yield from template_mistakes(node["flow"], f"{at}.flow", prompt)


def _column_mistakes(stage: str, columns: Any, at: str) -> Iterator[str]:
    from pipelines.stages.account import check_columns

    if not isinstance(columns, Mapping) or not columns:
        yield f"{at}.columns is missing: name what a kept item has, with types, such as {{persona: string}}"
        return
    for column, kind in columns.items():
        try:
            check_columns(stage, {column: kind})
        except UserError as error:
            yield str(error)
