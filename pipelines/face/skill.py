"""What is wrong with a skill of a taxonomy, a line each: every key, name, schema and template, before anything starts.

The keys are the fields of ``Skill`` and ``Agent``; here stands what each of them takes.
"""

from __future__ import annotations

import importlib
import math
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, fields
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from pipelines.face.overrides import did_you_mean, nearest
from pipelines.flows.agent_instruct.constraints import CONSTRAINTS
from pipelines.flows.agent_instruct.respond import VERDICTS
from pipelines.flows.agent_instruct.skill import TABLES, Agent, Skill
from pipelines.prompts import PromptSet
from pipelines.settings.keys import Rule

#: Tables within tables that a file may have.
_DEEPEST = 40


def _among(*values: str) -> Rule:
    return Rule(" or ".join(values), lambda value: isinstance(value, str) and value in values)


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and value.isidentifier()


def _is_count(value: Any) -> bool:
    return isinstance(value, bool) or (isinstance(value, int) and 2 <= value <= 8)


_TRUTH = Rule("true or false", lambda value: isinstance(value, bool))
_ENTRIES = Rule("a table of entries by name, with one at least", lambda value: isinstance(value, dict) and value != {})
_TABLE = Rule("a table", lambda value: isinstance(value, dict))
_TEXT = Rule("a text", lambda value: isinstance(value, str))
#: What each key takes.
RULES: Mapping[type, Mapping[str, Rule]] = {
    Skill: {
        "name": Rule("a word of letters, digits and _", _is_word),
        "takes": _among("text", "code"),
        "transformers": _ENTRIES,
        "types": _ENTRIES,
        "router": _TABLE,
        "refiners": _TABLE,
        "split": Rule("a word of letters, digits and _, or null", lambda value: value is None or _is_word(value)),
        "content": _among("shown", "hidden"),
        "several_turns": _TRUTH,
        "respond": Rule("a JSON schema, or null", lambda value: value is None or isinstance(value, dict)),
        "steps": Rule("a Python module, or null", lambda value: value is None or isinstance(value, str)),
        "templates": _TABLE,
    },
    Agent: {
        "source": _among("published", "ours"),
        "ask": _TEXT,
        "copy": _TRUTH,
        "options": Rule("true, false or a number from 2 to 8", _is_count),
        "constraints": Rule("a list", lambda value: isinstance(value, list)),
        "edits": _among("content", "instruction"),
        "judge": Rule(
            f"{' or '.join(VERDICTS)}, or null",
            lambda value: value is None or (isinstance(value, str) and value in VERDICTS),
        ),
    },
}
#: Values of the kind that templates are given, to try them with.
_GIVEN: Mapping[str, Any] = {"options": ("one", "two"), "count": 2, "call": {"name": "a", "arguments": {}}}


def mistakes(at: str, skill: Any, prompt: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with a skill that was read from the file ``at``.

    ``prompt`` is the prompt set whose templates it may word anew.
    """
    if not isinstance(skill, dict):
        yield f"{at}: is no skill; see conf/taxonomy/reading_comprehension.yaml for one"
        return
    said = list(_strange(at, skill, ())) or [*_keys(at, skill, fields(Skill), RULES[Skill]), *_entries(at, skill)]
    # What stands in relation to something else is looked at where that is sound.
    said = said or [*_router(at, skill), *_schema(f"{at}: respond", skill.get("respond")), *_steps(at, skill)]
    yield from said or _templates(at, skill, prompt)


def _strange(at: str, node: Any, within: tuple[int, ...]) -> Iterator[str]:
    """Values that JSON has no form for, which YAML makes of 2024-01-01, .nan or an anchor in itself."""
    if len(within) > _DEEPEST or id(node) in within:
        yield f"{at}: holds itself, or more than {_DEEPEST} tables in each other"
    elif isinstance(node, dict | list):
        for name, one in node.items() if isinstance(node, dict) else enumerate(node, 1):
            if found := next(_strange(f"{at}: {name}", one, (*within, id(node))), None):
                yield found
                return
    elif not isinstance(node, str | bool | int | float | None) or (isinstance(node, float) and not math.isfinite(node)):
        yield f"{at}: {reprlib.repr(node)} is no text, number, list or table; write a text in quotes"


def _keys(at: str, node: Mapping[str, Any], keys: Sequence[Field[Any]], rules: Mapping[str, Rule]) -> Iterator[str]:
    legal = [key.name for key in keys]
    for name, value in node.items():
        if name not in legal:
            near = did_you_mean(nearest(name, legal), f"it has {', '.join(legal)}")
            yield f"{at}: {name}: no such key; {near}"
        elif not rules[name].holds(value):
            yield f"{at}: {name}: {reprlib.repr(value)} must be {rules[name].says}"
    for key in keys:
        if key.default is MISSING and key.default_factory is MISSING and key.name not in node:
            yield f"{at}: {key.name} is missing; it must be {rules[key.name].says}"


def _entries(at: str, skill: Mapping[str, Any]) -> Iterator[str]:
    for table in TABLES:
        entries = skill.get(table)
        keys = [key for key in fields(Agent) if key.name != "name" and key.metadata.get("table", table) == table]
        for name, entry in entries.items() if isinstance(entries, dict) else ():
            where = f"{at}: {table}.{name}"
            if not name.strip():
                yield f"{where}: its name is empty"
            elif not isinstance(entry, dict):
                legal = ", ".join(key.name for key in keys)
                yield f"{where}: must be a table with {legal}; it is {reprlib.repr(entry)}"
            else:
                yield from _keys(where, entry, keys, RULES[Agent])
                if entry.get("copy") is not True and not str(entry.get("ask", "")).strip():
                    yield f"{where}: ask is missing: say what the model is asked for"
                if isinstance(named := entry.get("constraints"), list):
                    yield from _names(f"{where}: constraints", named, CONSTRAINTS, "constraint")


def _router(at: str, skill: Mapping[str, Any]) -> Iterator[str]:
    for transformer, names in skill.get("router", {}).items():
        where = f"{at}: router.{transformer}"
        if transformer not in skill["transformers"]:
            near = did_you_mean(nearest(transformer, skill["transformers"]), "see transformers")
            yield f"{where}: no such transformer; {near}"
        if not isinstance(names, list) or not names:
            yield f"{where}: must be a list of types, with one at least"
        else:
            yield from _names(where, names, skill["types"], "type")


def _names(at: str, names: Sequence[Any], legal: Mapping[str, Any], what: str) -> Iterator[str]:
    """Names of a list that are none of those there are, or stand twice."""
    for name in names:
        if not isinstance(name, str) or name not in legal:
            near = did_you_mean(nearest(str(name), legal), f"there are {', '.join(legal)}")
            yield f"{at}: no {what} {reprlib.repr(name).strip(chr(39))}; {near}"
        elif names.count(name) > 1:
            yield f"{at}: {name} stands twice"
            return


def _schema(at: str, schema: Mapping[str, Any] | None) -> Iterator[str]:
    if schema is None:
        return
    try:
        Draft202012Validator.check_schema(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
    except SchemaError as error:
        yield f"{at}: is no JSON schema: {error.json_path}: {error.message[:200]}"
        return
    if schema.get("type") != "object":
        yield f"{at}: type: {reprlib.repr(schema.get('type'))} must be object: the model answers with a JSON object"
    within = Registry().with_resource("", DRAFT202012.create_resource(schema)).resolver()
    for reference in _references(schema):
        try:
            within.lookup(reference)
        except (Unresolvable, ValueError) as error:
            yield f"{at}: $ref: {reference} leads nowhere in the schema: {error}"


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        node = list(node.values())
    for one in node if isinstance(node, list) else ():
        yield from _references(one)


def _steps(at: str, skill: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the module of a skill's own steps; it may name the ``TYPES`` that it knows."""
    name = skill.get("steps")
    if name is None:
        return
    try:
        module = importlib.import_module(name)
    except (Exception, SystemExit) as error:  # whatever a module does when it is imported
        yield f"{at}: steps: {name} cannot be imported: {type(error).__name__}: {error}"
        return
    if not any(callable(getattr(module, step, None)) for step in ("transform", "instruct", "respond")):
        yield f"{at}: steps: {name} has no transform, instruct or respond"
    known = getattr(module, "TYPES", None)
    if known is not None:
        yield from _names(f"{at}: types", list(skill["types"]), dict.fromkeys(known), f"type of {name}")


def _templates(at: str, skill: Mapping[str, Any], prompt: Mapping[str, Any]) -> Iterator[str]:
    """Templates that the skill does not ask by, or that do not work with what is given there."""
    asks_by = Skill.read(skill).asks_by()
    shared = PromptSet("shared", prompt["templates"], tables=prompt.get("tables", {}))
    for name, text in skill.get("templates", {}).items():
        where = f"{at}: templates.{name}"
        if name not in asks_by or name not in shared.templates:
            near = did_you_mean(nearest(name, asks_by), f"this skill asks by {', '.join(asks_by)}")
            yield f"{where}: no such template; {near}"
            continue
        if not isinstance(text, str) or not text.strip():
            yield f"{where}: {reprlib.repr(text)} must be a text that is not empty"
            continue
        own = PromptSet("own", {name: text}, tables=shared.tables)
        given = {field: _GIVEN.get(field, "text") for field in shared.names_in(name)}
        try:
            unknown = sorted(own.names_in(name) - given.keys())
            if not unknown:
                own.render(name, **given | ({"options": 4} if name == "instruct" else {}))
        except Exception as error:  # whatever Jinja says of a text that is no template
            yield f"{where}: {error}"
            continue
        for field in unknown:
            yield f"{where}: uses {field!r}, which is not given there; there are {', '.join(sorted(given))}"
