"""APIs that a model may call (papers.md 2.6): descriptions, the schema of a call, and whether a text speaks of one.

``{"name": "get_tides", "description": "...", "parameters": [{"name": "harbour", "type": "string", "required": true,
"description": "..."}], "returns": "..."}`` is one; a list of such objects is what goes into a prompt.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jsonschema import Draft202012Validator

from pipelines.flows.structured import a_text, an_object

Api = Mapping[str, Any]

#: Types of parameters, as JSON Schema names them.
TYPES = ("string", "integer", "number", "boolean")
#: The longest string that a call may pass.
LONGEST_ARGUMENT = 2000
#: Parameters of an API, at most.
_PARAMETERS = 6
_WORD = re.compile(r"[^\W_]{3,}")


def api_schema(words: int) -> dict[str, Any]:
    """The schema of an API's description whose texts have at most ``words`` characters each."""
    parameter = an_object(
        name=a_text(40), type={"enum": list(TYPES)}, required={"type": "boolean"}, description=a_text(words)
    )
    return an_object(
        name=a_text(40),
        description=a_text(words),
        parameters={"type": "array", "items": parameter, "minItems": 1, "maxItems": _PARAMETERS},
        returns=a_text(words),
    )


#: What any API's description must be, from wherever it came.
_GIVEN = Draft202012Validator(api_schema(LONGEST_ARGUMENT))


def read_apis(text: str) -> list[Api] | None:
    """The APIs that a seed describes, if it is a JSON list of them (or one of them); None where it is not."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    apis = value if isinstance(value, list) else [value]
    return distinct(apis) if apis and all(_GIVEN.is_valid(api) for api in apis) else None


def distinct(apis: Iterable[Api]) -> list[Api]:
    """The APIs with names of their own, the first of each; names become identifiers."""
    found: dict[str, Api] = {}
    for api in apis:
        name = re.sub(r"\W+", "_", api["name"]).strip("_").lower()
        parameters = {one["name"]: one for one in api["parameters"]}
        if name and name not in found:
            found[name] = {**api, "name": name, "parameters": list(parameters.values())}
    return list(found.values())


def required(api: Api) -> list[str]:
    """Names of the parameters that a call must pass."""
    return [one["name"] for one in api["parameters"] if one["required"]]


def call_schema(api: Api) -> dict[str, Any]:
    """The schema of a call of an API."""
    properties = {
        one["name"]: {"type": one["type"], **({"maxLength": LONGEST_ARGUMENT} if one["type"] == "string" else {})}
        for one in api["parameters"]
    }
    arguments = {
        "type": "object",
        "properties": properties,
        "required": required(api),
        "additionalProperties": False,
    }
    return an_object(name={"const": api["name"]}, arguments=arguments)


def turn_schema(apis: Sequence[Api], longest: int) -> dict[str, Any]:
    """The schema of an assistant's turn: calls of ``apis``, or a text that asks or declines."""
    calls = {"type": "array", "items": {"anyOf": [call_schema(api) for api in apis]}, "maxItems": 4}
    return an_object(
        action={"enum": ["call", "ask", "decline"]},
        text={"type": "string", "maxLength": longest},
        calls=calls if apis else {"type": "array", "maxItems": 0},
    )


def speaks_of(text: str, *names: str) -> bool:
    """Whether a text has a telling word of one of ``names`` (``start_date``: start or date), singular or plural."""
    said = {word.lower().rstrip("s") for word in _WORD.findall(text)}
    return any(word.lower().rstrip("s") in said for name in names for word in _WORD.findall(_spaced(name)))


def _spaced(name: str) -> str:
    """``startDate`` and ``start_date`` as words."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", name)


def shown(apis: Sequence[Api]) -> str:
    """The list as it stands in a prompt."""
    return json.dumps(list(apis), ensure_ascii=False, indent=1)
