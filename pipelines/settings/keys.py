"""How a configuration key is declared: with what it means, its default and the values it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING


@dataclass(frozen=True)
class Rule:
    """Which values a key takes beyond its type; null is left to the type."""

    says: str
    holds: Callable[[Any], bool]


def at_least(least: float) -> Rule:
    """Values from ``least`` up."""
    return Rule(f"at least {least}", lambda value: value >= least)


def between(least: int, most: int) -> Rule:
    """Values from ``least`` to ``most``."""
    return Rule(f"from {least} to {most:,}", lambda value: least <= value <= most)


ABOVE_ZERO = Rule("above 0", lambda value: value > 0)
SHARE = Rule("from 0 to 1", lambda value: 0 <= value <= 1)
SHARE_BELOW_ONE = Rule("above 0 and below 1", lambda value: 0 < value < 1)
SHARE_ABOVE_ZERO = Rule("above 0 and at most 1", lambda value: 0 < value <= 1)
NO_LIMIT_OR_ONE = Rule("-1 or at least 1", lambda value: value == -1 or value >= 1)
NOT_EMPTY = Rule("not empty", lambda value: value not in ("", []))


def only(value: str) -> Rule:
    """One value: what tells the schemas of a group apart."""
    return Rule(f"{value!r} and nothing else; choose another option of the group instead", lambda seen: seen == value)


def key(doc: str, default: Any = MISSING, rule: Rule | None = None, *, literal: bool = False) -> Any:
    """A documented configuration key; mutable defaults are copied.

    A ``literal`` key holds a path, a URL or a name: on the command line its value is taken as it stands.
    """
    metadata = {"doc": doc, "rule": rule, "literal": literal}
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)
