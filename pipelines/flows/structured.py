"""Answers that are JSON by a schema: the schema's parts, and what an answer says or why it is rejected."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import isfinite
from typing import Any, NoReturn

from jsonschema import Draft202012Validator

from pipelines.rows import Answer, reject, storable

Schema = Mapping[str, Any]


def structured(answer: Answer, schema: Schema) -> Any:
    """The value of an answer that was to obey ``schema``; a rejected item where it does not.

    An engine in this process is held to the schema; a server may not heed it. A whole number is an int where the schema
    says integer, however it is written; lone surrogates become question marks. Reasons: ``cut_by_max_tokens``,
    ``unparsable`` (also: a key that stands twice, NaN and what is no finite number, deep nesting), ``off_schema``.
    """
    try:
        value = read_json(answer.text)
        wrong = next(Draft202012Validator(schema).iter_errors(value), None)
    except (ValueError, RecursionError) as error:
        detail = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        return reject("cut_by_max_tokens" if answer.cut else "unparsable", answer, detail=detail)
    if wrong is not None:
        return reject("off_schema", answer, detail=f"{wrong.json_path}: {wrong.message}"[:500])
    return _whole(value, schema)


def read_json(text: str) -> Any:
    """The value of a text that is JSON and nothing else; lone surrogates in it become question marks.

    Raises:
        ValueError: it is none, it is nested too deeply, a key stands twice, or a number is none that JSON has.
    """
    try:
        return _clean(_READER.decode(text.strip()))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _whole(value: Any, schema: Schema) -> Any:
    """The value with an int wherever the schema says integer: 7.0 is one in JSON."""
    if isinstance(value, float) and schema.get("type") == "integer":
        return int(value)
    if isinstance(value, dict):
        inner = schema.get("properties", {})
        return {key: _whole(one, inner.get(key, {})) for key, one in value.items()}
    return [_whole(one, schema.get("items", {})) for one in value] if isinstance(value, list) else value


def filled(value: Any, schema: Schema) -> str | None:
    """Where in a value by ``schema`` a text is as long as it may be: there an engine that heeds it cut the text.

    ``.options[2]``, say; None where every text ends by itself.
    """
    if isinstance(value, str):
        return "" if len(value) >= schema.get("maxLength", len(value) + 1) else None
    if isinstance(value, list):
        parts = [(f"[{place}]", one, schema.get("items", {})) for place, one in enumerate(value)]
    elif isinstance(value, dict):
        parts = [(f".{name}", one, schema.get("properties", {}).get(name, {})) for name, one in value.items()]
    else:
        parts = []
    found = ((name, filled(one, part)) for name, one, part in parts)
    return next((f"{name}{below}" for name, below in found if below is not None), None)


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


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} stands twice")
    return value


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    return value if isfinite(value) else _no_number(digits)


_READER = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_no_number, parse_float=_finite, strict=False)


def _clean(value: Any) -> Any:
    """The value with texts that can be stored and sent on."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, list):
        return [_clean(one) for one in value]
    return {storable(name): _clean(one) for name, one in value.items()} if isinstance(value, dict) else value
