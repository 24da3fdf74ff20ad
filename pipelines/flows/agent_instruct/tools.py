"""APIs that a model may call (papers.md 2.6): descriptions, and the schema of a call.

``{"name": "get_tides", "description": "...", "parameters": [{"name": "harbour", "type": "string", "required": true,
"description": "..."}], "returns": "..."}`` is one; a list of such objects is what goes into a prompt. A list that is
given may also say ``errors``, and of parameters ``enum`` and ``items``, and have arrays and objects for parameters; it
may be in the form that chat APIs (``{"type": "function", "function": {...}}``) and MCP servers (``inputSchema``) take.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jsonschema import Draft202012Validator

from pipelines.flows.structured import a_text, an_object, read_json
from pipelines.rows import storable

Api = Mapping[str, Any]

#: Types of parameters that a model may give an API, as JSON Schema names them; a given API has two more.
TYPES = ("string", "integer", "number", "boolean")
_ALL_TYPES = (*TYPES, "array", "object")
#: The longest string that a call may pass.
LONGEST_ARGUMENT = 2000
#: The longest name that a model may give, and the most parameters.
_NAME, _PARAMETERS = 40, 6
#: How deep lists and objects within an argument go where its API does not say what is in them.
_DEPTH = 3
#: Where chat APIs and MCP servers have the JSON Schema of what an API takes.
_SCHEMAS = ("parameters", "input_schema", "inputSchema")


def api_schema(words: int) -> dict[str, Any]:
    """The schema of an API's description whose texts have at most ``words`` characters each."""
    parameter = an_object(
        name=a_text(_NAME), type={"enum": list(TYPES)}, required={"type": "boolean"}, description=a_text(words)
    )
    return an_object(
        name=a_text(_NAME),
        description=a_text(words),
        parameters={"type": "array", "items": parameter, "minItems": 0, "maxItems": _PARAMETERS},
        returns=a_text(words),
    )


def whole(api: Api, words: int) -> Api | None:
    """An API that a model described by ``api_schema(words)``: texts that the schema cut end in an ellipsis.

    None where it cut a name, which cannot be told from another then.
    """
    if any(len(one["name"]) >= _NAME for one in (api, *api["parameters"])):
        return None
    parameters = [{**one, "description": marked(one["description"], words)} for one in api["parameters"]]
    texts = {key: marked(api[key], words) for key in ("description", "returns")}
    return {**api, **texts, "parameters": parameters}


def marked(text: str, longest: int) -> str:
    """A text; one that fills the ``longest`` that its schema allows was cut, and ends after a word with an ellipsis."""
    if len(text) < longest:
        return text
    return f"{text[: longest - 1].rpartition(' ')[0] or text[: longest - 1]}…"


def _given() -> dict[str, Any]:
    """The schema of an API in a list that is given; what it says beyond this is kept as well."""
    text: dict[str, Any] = {"type": "string"}
    kind: dict[str, Any] = {
        "type": {"enum": list(_ALL_TYPES)},
        "enum": {"type": "array", "minItems": 1, "items": {"type": ["string", "number", "boolean", "null"]}},
    }
    items = {"type": "object", "properties": kind, "required": ["type"]}
    said = {"name": {**text, "minLength": 1}, "description": text, "required": {"type": "boolean"}}
    parameter = {"type": "object", "properties": {**said, **kind, "items": items}, "required": ["name", "type"]}
    return {
        "type": "object",
        "properties": {
            "name": {**text, "minLength": 1},
            "description": text,
            "parameters": {"type": "array", "items": parameter},
        },
        "required": ["name", "description"],
        "anyOf": [{"required": ["parameters"]}, {"required": ["returns"]}],
    }


_GIVEN = Draft202012Validator(_given())
#: What stands under one of ``_SCHEMAS``.
_TAKEN = Draft202012Validator(
    {
        "type": "object",
        "properties": {
            "type": {"const": "object"},
            "properties": {"type": "object", "additionalProperties": {"type": "object"}},
            "required": {"type": "array"},
        },
        "required": ["type"],
    }
)


def read_apis(text: str) -> list[Api] | None:
    """The APIs that a seed describes, if it is a JSON list of them (or one of them); None where it is not."""
    try:
        value = read_json(text)
        apis = [_listed(api) for api in (value if isinstance(value, list) else [value])]
        return (distinct(apis) or None) if all(_GIVEN.is_valid(api) for api in apis) else None
    except (ValueError, RecursionError):
        return None


def _listed(given: Any) -> Any:
    """An API in the form of chat APIs or MCP servers in the form of this module; anything else as it is given."""
    if not isinstance(given, dict):
        return given
    if given.get("type") == "function" and isinstance(given.get("function"), dict):
        given = given["function"]
    key = next((key for key in _SCHEMAS if _TAKEN.is_valid(given.get(key))), None)
    if key is None:
        return given
    needed = given[key].get("required", [])
    parameters = [
        {**one, "name": name, "type": _first_type(one.get("type")), "required": name in needed}
        for name, one in given[key].get("properties", {}).items()
    ]
    return {**{name: value for name, value in given.items() if name != key}, "parameters": parameters}


def _first_type(kind: Any) -> Any:
    """The type of a parameter: of ``["string", "null"]``, which one that may be left out has, the first."""
    return next((one for one in kind if one != "null"), None) if isinstance(kind, list) else kind


def distinct(apis: Iterable[Api]) -> list[Api]:
    """The APIs with names of their own, the first of each; a name that is no identifier is made one.

    Names that differ in case alone are the same.
    """
    found: dict[str, Api] = {}
    for api in apis:
        name = _identifier(api["name"])
        parameters = {parameter["name"]: parameter for parameter in api.get("parameters", ())}
        if name and name.casefold() not in found:
            found[name.casefold()] = {**api, "name": name, "parameters": list(parameters.values())}
    return list(found.values())


def _identifier(name: str) -> str:
    if name.isidentifier():
        return name
    made = re.sub(r"\W+", "_", name).strip("_")
    return made if not made or made.isidentifier() else f"_{made}"


def required(api: Api) -> list[Mapping[str, Any]]:
    """The parameters that a call must pass."""
    return [one for one in api["parameters"] if one.get("required")]


def call_schema(api: Api) -> dict[str, Any]:
    """The schema of a call of an API."""
    arguments = {
        "type": "object",
        "properties": {one["name"]: _value(one) for one in api["parameters"]},
        "required": [one["name"] for one in required(api)],
        "additionalProperties": False,
    }
    return an_object(name={"const": api["name"]}, arguments=arguments)


def _value(parameter: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of what is passed for a parameter, or is in a list that is."""
    kind, items = parameter["type"], parameter.get("items")
    if "enum" in parameter:
        return {"enum": list(parameter["enum"])}
    if kind == "array":
        inner = {key: items[key] for key in ("type", "enum") if key in items} if items else None
        return {"type": kind, "items": _value(inner) if inner else _any(_DEPTH - 1)}
    if kind == "object":
        return {"type": kind, "additionalProperties": _any(_DEPTH - 1)}
    return {"type": kind, **({"maxLength": LONGEST_ARGUMENT} if kind == "string" else {})}


def _any(depth: int) -> dict[str, Any]:
    """The schema of any value that is no deeper; without a depth a model could nest it until its answer ends."""
    plain = [{"type": "string", "maxLength": LONGEST_ARGUMENT}, {"type": ["number", "boolean", "null"]}]
    if not depth:
        return {"anyOf": plain}
    inner = _any(depth - 1)
    deeper = [{"type": "array", "items": inner}, {"type": "object", "additionalProperties": inner}]
    return {"anyOf": [*plain, *deeper]}


def turn_schema(apis: Sequence[Api], longest: int) -> dict[str, Any]:
    """The schema of an assistant's turn: calls of ``apis``, and a text that asks, declines or says what is missing."""
    calls = {"type": "array", "items": {"anyOf": [call_schema(api) for api in apis]}, "maxItems": 4}
    return an_object(
        action={"enum": ["call", "ask", "decline"]},
        text={"type": "string", "maxLength": longest},
        calls=calls if apis else {"type": "array", "maxItems": 0},
    )


def shown(apis: Sequence[Api]) -> str:
    """The list as it stands in a prompt."""
    return as_json(list(apis), indent=1)


def as_json(value: Any, indent: int | None = None) -> str:
    """JSON for a prompt, in any script, without what UTF-8 cannot hold."""
    return storable(json.dumps(value, ensure_ascii=False, indent=indent))
