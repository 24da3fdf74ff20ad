"""Answers that are JSON by a schema: the schema's parts, and what an answer says or why it is rejected."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from jsonschema import Draft202012Validator

from pipelines.rows import Answer, reject

Schema = Mapping[str, Any]


def structured(answer: Answer, schema: Schema) -> Any:
    """The value of an answer that was to obey ``schema``; a rejected item where it does not.

    An engine in this process is held to the schema; a server may not heed it. Reasons: ``cut_by_max_tokens``,
    ``unparsable``, ``off_schema``. A whole number is an int where the schema says integer, however it is written.
    """
    try:
        value = json.loads(answer.text, strict=False)
    except ValueError as error:
        return reject("cut_by_max_tokens" if answer.cut else "unparsable", answer, detail=str(error))
    wrong = next(Draft202012Validator(schema).iter_errors(value), None)
    if wrong is not None:
        return reject("off_schema", answer, detail=f"{wrong.json_path}: {wrong.message}"[:500])
    return _whole(value, schema)


def _whole(value: Any, schema: Schema) -> Any:
    """The value with an int wherever the schema says integer: 7.0 is one in JSON."""
    if isinstance(value, float) and schema.get("type") == "integer":
        return int(value)
    if isinstance(value, dict):
        inner = schema.get("properties", {})
        return {key: _whole(one, inner.get(key, {})) for key, one in value.items()}
    return [_whole(one, schema.get("items", {})) for one in value] if isinstance(value, list) else value


def an_object(**properties: Schema) -> dict[str, Any]:
    """The schema of an object with exactly these properties."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def a_text(longest: int) -> dict[str, Any]:
    """The schema of a text that is not empty, of at most ``longest`` characters."""
    return {"type": "string", "minLength": 1, "maxLength": longest}
