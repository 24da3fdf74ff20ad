"""Skills that a recipe is given by name or as files of their own: read and proven when the configuration is composed.

``recipe.skill`` is ``all``, the name of a shipped skill (a file of ``conf/taxonomy``), a path of a file like those, or
a list of these. A name that is not known, or stands twice, is named here and not in the night.
"""

from __future__ import annotations

import importlib
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from pipelines.face.groups import conf_dir, options
from pipelines.face.overrides import did_you_mean, nearest
from pipelines.prompts import PromptSet

#: Keys of a skill, and of its entries by the table they stand in.
SKILL = (
    "name",
    "split",
    "takes",
    "content",
    "several_turns",
    "respond",
    "steps",
    "transformers",
    "types",
    "router",
    "refiners",
    "templates",
)
ENTRIES = {
    "transformers": ("source", "ask", "copy"),
    "types": ("source", "ask", "options", "constraints"),
    "refiners": ("source", "ask", "edits", "judge"),
}
#: What keys take that have few values.
VALUES: Mapping[str, tuple[Any, ...]] = {
    "takes": ("text", "code"),
    "content": ("shown", "hidden"),
    "several_turns": (True, False),
    "source": ("published", "ours"),
    "copy": (True, False),
    "options": (True, False),
    "edits": ("content", "instruction"),
    "judge": ("unanswerable", "changed_answer"),
}


class _Once(yaml.SafeLoader):
    """Reads YAML in which no key stands twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"{key.value} stands twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def taxonomy(given: Any, prompt: Mapping[str, Any]) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """The skills that ``recipe.skill`` names, by name, and what is wrong with them, a line each.

    ``prompt`` is the prompt set whose templates a skill may word anew.
    """
    shipped = options("taxonomy")
    names = shipped if given == "all" else given if isinstance(given, list) else [given]
    found: dict[str, dict[str, Any]] = {}
    wrong: list[str] = [] if names else ["recipe.skill=[]: name a skill, or all"]
    for name in map(str, names):
        path = Path(name).expanduser() if name.endswith((".yaml", ".yml")) else conf_dir() / "taxonomy" / f"{name}.yaml"
        if path.parent == conf_dir() / "taxonomy" and path.stem not in shipped:
            near = did_you_mean(nearest(name, shipped), f"there are {', '.join(shipped)}, all and files of your own")
            wrong.append(f"recipe.skill={name}: no such skill; {near}")
            continue
        try:
            skill = yaml.load(path.read_text(encoding="utf-8"), _Once)
        except (OSError, UnicodeDecodeError) as error:
            wrong.append(f"recipe.skill={name}: cannot be read: {error}")
            continue
        except yaml.YAMLError as error:
            wrong.append(f"{path}: {' '.join(str(error).split())}")
            continue
        mistakes = list(_mistakes(str(path), skill, prompt))
        if not mistakes and skill["name"] in found:
            mistakes = [f"{path}: name: {skill['name']} is that of another skill given"]
        wrong += mistakes
        if not mistakes:
            found[skill["name"]] = skill
    return found, wrong


def _mistakes(at: str, skill: Any, prompt: Mapping[str, Any]) -> Iterator[str]:
    if not isinstance(skill, dict):
        yield f"{at}: is no skill; see conf/taxonomy/reading_comprehension.yaml for one"
        return
    yield from _keys(at, skill, SKILL, needed=("name", "takes", "transformers", "types"))
    if not isinstance(skill.get("name"), str) or not skill["name"].isidentifier():
        yield f"{at}: name: {skill.get('name')!r} must be a word of letters, digits and _"
    for table, keys in ENTRIES.items():
        entries = skill.get(table, {})
        if not isinstance(entries, dict) or (not entries and table != "refiners"):
            yield f"{at}: {table} must be a table of entries by name, with one at least"
            continue
        for name, entry in entries.items():
            yield from _entry(f"{at}: {table}.{name}", entry, keys)
    yield from _router(at, skill)
    yield from _templates(at, skill, prompt)
    if steps := skill.get("steps"):
        try:
            importlib.import_module(steps)
        except ImportError as error:
            yield f"{at}: steps: {steps} cannot be imported: {error}"


def _keys(at: str, node: Mapping[str, Any], legal: tuple[str, ...], needed: tuple[str, ...]) -> Iterator[str]:
    for key, value in node.items():
        if key not in legal:
            near = did_you_mean(nearest(str(key), legal), f"it has {', '.join(legal)}")
            yield f"{at}: {key}: no such key; {near}"
        elif key in VALUES and value not in VALUES[key]:
            yield f"{at}: {key}: {value!r} is none of {', '.join(map(str, VALUES[key]))}"
    for key in needed:
        if key not in node:
            yield f"{at}: {key} is missing"


def _entry(at: str, entry: Any, keys: tuple[str, ...]) -> Iterator[str]:
    if not isinstance(entry, dict):
        yield f"{at}: must be a table with {', '.join(keys)}; it is {entry!r}"
        return
    yield from _keys(at, entry, keys, needed=("source",))
    if not entry.get("copy") and not (isinstance(entry.get("ask"), str) and entry["ask"].strip()):
        yield f"{at}: ask is missing: say what the model is asked for"
    if entry.get("constraints"):
        from pipelines.flows.agent_instruct.constraints import CONSTRAINTS

        for name in entry["constraints"]:
            if name not in CONSTRAINTS:
                near = did_you_mean(nearest(str(name), CONSTRAINTS), f"there are {', '.join(CONSTRAINTS)}")
                yield f"{at}: constraints: no constraint {name}; {near}"


def _router(at: str, skill: Mapping[str, Any]) -> Iterator[str]:
    """Names in the router that are none of the skill's."""
    router, types = skill.get("router", {}), skill.get("types") or {}
    if not isinstance(router, dict):
        yield f"{at}: router must be a table of lists of types by transformer"
        return
    for transformer, names in router.items():
        if transformer not in (skill.get("transformers") or {}):
            near = did_you_mean(nearest(str(transformer), skill["transformers"]), "see transformers")
            yield f"{at}: router.{transformer}: no such transformer; {near}"
        if not isinstance(names, list) or not names:
            yield f"{at}: router.{transformer}: must be a list of types, with one at least"
            continue
        for name in names:
            if name not in types:
                near = did_you_mean(nearest(str(name), types), "see types")
                yield f"{at}: router.{transformer}: no type {name}; {near}"
        if len(set(map(str, names))) < len(names):
            yield f"{at}: router.{transformer}: a type stands twice"


def _templates(at: str, skill: Mapping[str, Any], prompt: Mapping[str, Any]) -> Iterator[str]:
    """Templates that are none of the prompt set's, or that use what is not given."""
    shared = PromptSet("shared", prompt["templates"])
    own = skill.get("templates", {})
    for name, text in own.items():
        if name not in shared.templates:
            near = did_you_mean(nearest(str(name), shared.templates), f"there are {', '.join(shared.templates)}")
            yield f"{at}: templates.{name}: no such template; {near}"
            continue
        try:
            unknown = PromptSet("own", {name: text}).names_in(name) - shared.names_in(name)
        except Exception as error:  # whatever Jinja says of a text that is no template
            yield f"{at}: templates.{name}: {error}"
            continue
        for field in sorted(unknown):
            yield f"{at}: templates.{name} uses {field!r}, which is not given there"
