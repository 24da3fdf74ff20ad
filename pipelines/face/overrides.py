"""Command-line overrides: paths quoted so that any file name works, and the nearest legal names for a typo.

``input=a,b (1).parquet`` reaches Hydra as ``input='a,b (1).parquet'``: unquoted, its grammar would break or sweep.
A value that is quoted already, ``null``, or a ``[list]`` of inputs is left as it is. Nothing is composed here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from functools import cache
from typing import get_type_hints

from pipelines import settings

_OVERRIDE = re.compile(r"(?P<key>\+{0,2}[^=~+]+)=(?P<value>.*)", re.DOTALL)
_QUOTED = re.compile(r"'.*'|\".*\"", re.DOTALL)
_SWEEP = re.compile(r"(choice|glob)\(.*\)", re.DOTALL)
#: Keys of recipes whose tables are read as they are written, since a value may have any name: also 1990, or Österreich.
_TABLES = frozenset({"recipe.quotas"})
#: Keys whose values must never be repeated in a message.
_SECRET = re.compile(r"(?i)(?:key|token|secret|password|credentials?)(?:_env)?$")


def quoted(override: str, *, sweep: bool = False) -> str:
    """``override`` with its value quoted for Hydra's grammar where its key holds a path, a URL or a name.

    In a sweep, ``choice(a,b)`` is left as it is, so that a path can be swept over too.
    """
    match = _OVERRIDE.fullmatch(override)
    if match is None:
        return override
    key, value = match["key"], match["value"]
    if key.lstrip("+") not in literal_keys() or value == "" or value.lower() == "null" or _QUOTED.fullmatch(value):
        return override
    if (value[0], value[-1]) == ("[", "]") and key.lstrip("+") in ("input", "id_columns"):
        return override
    if sweep and _SWEEP.fullmatch(value):
        return override
    return f"{key}={_in_quotes(value)}"


def _in_quotes(value: str) -> str:
    from hydra.core.override_parser.types import Quote, QuotedString

    return str(QuotedString(value, Quote.single).with_quotes())


@cache
def literal_keys() -> frozenset[str]:
    """Dotted keys whose values are taken as they stand."""
    return (
        frozenset(key for key, literal in _keys(settings.Root) if literal)
        | {f"engine.{key}" for schema in settings.ENGINES.values() for key, literal in _keys(schema) if literal}
        | _TABLES
    )


def _keys(schema: type) -> Iterator[tuple[str, bool]]:
    types = get_type_hints(schema)
    for field in fields(schema):
        inner = types[field.name]
        if is_dataclass(inner):
            yield from ((f"{field.name}.{key}", literal) for key, literal in _keys(inner))  # type: ignore[arg-type]
        else:
            yield field.name, bool(field.metadata.get("literal"))


def nearest(name: str, legal: Iterable[str], most: int = 3) -> list[str]:
    """Up to ``most`` of ``legal`` that ``name`` may be a slip of, the likeliest first; [] when none is near."""
    by_lower = {one.lower(): one for one in legal}
    return [by_lower[hit] for hit in get_close_matches(name.lower(), by_lower, most, cutoff=0.6)]


def nearest_keys(key: str, legal: Iterable[str], most: int = 3) -> list[str]:
    """Dotted keys that ``key`` may be a slip of: its parts corrected one by one, or its last part somewhere else."""
    known = set(legal)
    corrected = _corrected(key.split("."), "", known)
    if any(one.count(".") == key.count(".") for one in corrected):
        return corrected[:most]
    last = key.rpartition(".")[2]
    elsewhere = sorted(one for one in known if one.rpartition(".")[2] == last)
    return [*corrected, *elsewhere][:most]


def _corrected(parts: list[str], at: str, known: set[str]) -> list[str]:
    """Legal keys below ``at`` whose parts are near ``parts``; what follows a part that leads no further is dropped."""
    children = {one[len(at) :] for one in known if one.startswith(at) and "." not in one[len(at) :]}
    near = [parts[0]] if parts[0] in children else nearest(parts[0], children)
    if len(parts) == 1:
        return [f"{at}{one}" for one in near]
    dropped = [] if near == parts[:1] else [f"{at}{one}" for one in near]
    return [found for one in near for found in _corrected(parts[1:], f"{at}{one}.", known)] or dropped


def did_you_mean(names: list[str], otherwise: str = "") -> str:
    """``did you mean a, b or c?``, or ``otherwise`` when there is no near name."""
    if not names:
        return otherwise
    listed = " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    return f"did you mean {listed}?"


def shown(key: str, value: object) -> str:
    """``key=value`` for a message; what may be a secret is not repeated."""
    return f"{key}=..." if _SECRET.search(key) else f"{key}={value}"
