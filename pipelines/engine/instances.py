"""Made-up instances of a JSON schema, for the simulated engine.

``instance({"type": "array", "items": {"type": "string"}, "minItems": 2}, text, draw)`` is a list of texts. It knows
the keywords that structured output is asked with, and refuses any other by name instead of breaking it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from pipelines.engine.vocabulary import Draws
from pipelines.errors import UserError

Schema = Mapping[str, Any]

_CHOICES = frozenset({"const", "enum", "anyOf", "oneOf", "allOf", "$ref", "type"})
_OBJECT = frozenset({"properties", "required", "additionalProperties"})
_ARRAY = frozenset({"items", "prefixItems", "minItems", "maxItems", "uniqueItems"})
_STRING = frozenset({"minLength", "maxLength"})
_NUMBER = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"})
_NOTES = frozenset(
    {"$schema", "$id", "$defs", "definitions", "$comment", "title", "description", "default", "examples"}
)
_KNOWN = _CHOICES | _OBJECT | _ARRAY | _STRING | _NUMBER | _NOTES | {"format"}

#: Levels of nesting after which only what is required is made, so that a schema that holds itself comes to an end.
_DEEP = 4
#: Items beyond ``minItems`` that a list may have.
_MORE_ITEMS = 3
_RANGE = 100


def instance(schema: Schema, text: Callable[[], str], draw: Draws) -> Any:
    """A value that obeys the schema; its strings are made by ``text``.

    Of ``oneOf`` one branch is obeyed: branches that hold at once are not told apart. ``format`` is not looked at.

    Raises:
        UserError: a keyword that is not known, a reference outside the schema, or limits that exclude every value.
    """
    return _Maker(schema, text, draw).make(schema, 0)


class _Maker:
    """The whole schema (references point into it) and the sources of text and chance."""

    def __init__(self, root: Schema, text: Callable[[], str], draw: Draws) -> None:
        self.root = root
        self.text = text
        self.draw = draw

    def make(self, schema: Schema | bool, depth: int) -> Any:
        plain = self.resolved(schema)
        if "const" in plain:
            return plain["const"]
        if "enum" in plain:
            return self.one_of(plain["enum"])
        for keyword in ("anyOf", "oneOf"):
            if keyword in plain:
                rest = {key: value for key, value in plain.items() if key != keyword}
                branches = list(plain[keyword])
                # Deep down, branches that do not hold the schema again come first.
                flat = [branch for branch in branches if "$ref" not in json.dumps(branch)]
                return self.make(
                    {**rest, **self.resolved(self.one_of(flat if depth > _DEEP and flat else branches))}, depth
                )
        match self.kind(plain):
            case "object":
                return self.object(plain, depth)
            case "array":
                return self.array(plain, depth)
            case "integer" | "number" as kind:
                return self.number(plain, whole=kind == "integer")
            case "boolean":
                return next(self.draw) % 2 == 1
            case "null":
                return None
            case "string":
                return self.string(plain)
            case kind:
                raise UserError(f"the simulated engine does not know type {kind!r} of a JSON schema")

    def resolved(self, schema: Schema | bool) -> dict[str, Any]:
        """The schema with its reference and ``allOf`` merged in; later limits win."""
        if isinstance(schema, bool):
            if not schema:
                raise UserError("the answer's JSON schema holds `false`, which no value obeys")
            return {}
        unknown = sorted(set(schema) - _KNOWN)
        if unknown:
            raise UserError(
                f"the simulated engine does not know {', '.join(unknown)} in a JSON schema; "
                f"it knows {', '.join(sorted(_KNOWN))}"
            )
        plain = {key: value for key, value in schema.items() if key not in ("$ref", "allOf")}
        parts = list(schema.get("allOf", ()))
        if "$ref" in schema:
            parts.append(self.referred(schema["$ref"]))
        for part in parts:
            plain = {**self.resolved(part), **plain}
        return plain

    def referred(self, reference: str) -> Schema:
        if not reference.startswith("#"):
            raise UserError(f"the simulated engine follows references inside a JSON schema only, not {reference!r}")
        found: Any = self.root
        for step in reference.removeprefix("#").strip("/").split("/"):
            if step:
                key = step.replace("~1", "/").replace("~0", "~")
                if not isinstance(found, Mapping) or key not in found:
                    raise UserError(f"the answer's JSON schema refers to {reference!r}, which it does not hold")
                found = found[key]
        result: Schema = found
        return result

    def one_of(self, values: list[Any]) -> Any:
        return values[next(self.draw) % len(values)]

    def kind(self, plain: Schema) -> str:
        given = plain.get("type")
        if isinstance(given, list):
            return str(self.one_of(given))
        if given is not None:
            return str(given)
        for kind, keywords in (("object", _OBJECT), ("array", _ARRAY), ("number", _NUMBER)):
            if keywords & plain.keys():
                return kind
        return "string"

    def object(self, plain: Schema, depth: int) -> dict[str, Any]:
        properties = plain.get("properties", {})
        required = plain.get("required", ())
        names = [name for name in properties if depth <= _DEEP or name in required]
        made = {name: self.make(properties[name], depth + 1) for name in names}
        others = plain.get("additionalProperties", True)
        return made | {name: self.make(others, depth + 1) for name in required if name not in properties}

    def array(self, plain: Schema, depth: int) -> list[Any]:
        first = plain.get("prefixItems", ())
        least = max(plain.get("minItems", 0), 1 if depth <= _DEEP and plain.get("maxItems", 1) else 0)
        most = min(plain.get("maxItems", math.inf), least + (_MORE_ITEMS if depth <= _DEEP else 0))
        if plain.get("items", True) is False:
            most = min(most, len(first))
        if most < plain.get("minItems", 0):
            raise UserError(f"the answer's JSON schema asks for a list of at least {least} and at most {most} items")
        count = min(least, int(most)) + next(self.draw) % (int(most) - min(least, int(most)) + 1)
        made: list[Any] = []
        tries = 0
        while len(made) < count and tries < 20 * count + 20:
            item = self.make(first[len(made)] if len(made) < len(first) else plain.get("items", True), depth + 1)
            tries += 1
            if not (plain.get("uniqueItems") and _written(item) in map(_written, made)):
                made.append(item)
        if len(made) < plain.get("minItems", 0):
            raise UserError(
                f"the answer's JSON schema asks for {count} different items, and only {len(made)} were found"
            )
        return made

    def string(self, plain: Schema) -> str:
        made = self.text()
        while len(made) < plain.get("minLength", 0):
            made = f"{made} {self.text() or '.'}".strip()
        longest = plain.get("maxLength", len(made))
        if longest < plain.get("minLength", 0):
            raise UserError("the answer's JSON schema asks for a string whose minLength is above its maxLength")
        return made[:longest]

    def number(self, plain: Schema, *, whole: bool) -> int | float:
        step = plain.get("multipleOf", 1 if whole else None)
        low, low_out = _limit(plain.get("minimum"), plain.get("exclusiveMinimum"), max)
        high, high_out = _limit(plain.get("maximum"), plain.get("exclusiveMaximum"), min)
        if low is None:
            low = 0 if high is None else min(0, high - _RANGE)
        if high is None:
            high = low + _RANGE * (step or 1)
        if step is None:
            made = low + (high - low) * (next(self.draw) + 1) / 65538 if high > low else low
            outside = made < low or made > high or (low_out and made == low) or (high_out and made == high)
        else:
            first, last = math.ceil(low / step), math.floor(high / step)
            first += low_out and first * step == low
            last -= high_out and last * step == high
            outside = first > last
            made = (first + next(self.draw) % (last - first + 1)) * step if not outside else low
        if outside:
            raise UserError(f"the answer's JSON schema asks for a number between {low} and {high}; there is none")
        return int(made) if whole else made


def _limit(
    closed: float | None, open_: float | None, tighter: Callable[[float, float], float]
) -> tuple[float | None, bool]:
    """The tighter of two limits, and whether it is itself excluded."""
    if open_ is None or closed is None:
        return (closed, False) if open_ is None else (open_, True)
    limit = tighter(closed, open_)
    return limit, limit == open_


def _written(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
