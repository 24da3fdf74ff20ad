"""Every ``_target_`` of a recipe, found and bound to its signature before anything starts.

``recipe.stages.quality.filters.too_short: {_target_: pipelines.filters.persona.fewer_words, _partial_: true, than: 3}``
is right when the function exists, takes ``(table, *, than, ...)`` and 3 fits what it says of ``than``. All that is
wrong is reported together, each with the nearest names. Functions are looked up, never called.
"""

from __future__ import annotations

import importlib
import inspect
import types
import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Any

from pipelines.face.overrides import did_you_mean, nearest

#: What a stage calls its function with, by the key of its node; everything else is a knob, given by name.
GIVEN: dict[str, tuple[str, ...]] = {
    "flow": ("row", "llm", "prompts"),
    "map": ("table",),
    "filters": ("table",),
    "dedup": ("dataset",),
    "select": ("dataset",),
    "make": ("made", "dataset"),
    "report": ("stages", "place"),
    "label": ("table",),
}


def target_mistakes(node: Any, at: str, given: tuple[str, ...] = ()) -> Iterator[str]:
    """What is wrong with every ``_target_`` in ``node``, a composed node found at the dotted key ``at``."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield from _mistakes_of(node, at, given)
        for key, inner in node.items():
            yield from target_mistakes(inner, f"{at}.{key}", GIVEN.get(key, given if "_target_" not in node else ()))
    elif isinstance(node, list):
        for index, inner in enumerate(node):
            yield from target_mistakes(inner, f"{at}[{index}]")


def found(path: str) -> Callable[..., Any]:
    """The function at a dotted path.

    Raises:
        LookupError: there is none; the message says which part is missing and what is near it.
    """
    module_path, _, name = path.rpartition(".")
    try:
        module = importlib.import_module(module_path)
    except ImportError as error:
        raise LookupError(f"module {module_path!r} cannot be imported: {error}") from error
    function = getattr(module, name, None)
    if not callable(function):
        near = nearest(name, [n for n, value in vars(module).items() if callable(value) and not n.startswith("_")])
        raise LookupError(f"module {module_path} has no function {name!r}; {did_you_mean(near, 'check the name')}")
    return typing.cast("Callable[..., Any]", function)


def _mistakes_of(node: Mapping[str, Any], at: str, given: tuple[str, ...]) -> Iterator[str]:
    path = node["_target_"]
    try:
        function = found(str(path))
    except LookupError as error:
        yield f"{at}._target_={path}: {error}"
        return
    if given and node.get("_partial_") is not True:
        yield f"{at}: add _partial_: true; the stage calls it with ({', '.join(given)})"
    parameters = inspect.signature(function).parameters
    by_name = {n: p for n, p in parameters.items() if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
    positional = [n for n, p in parameters.items() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if given and len(positional) < len(given) and not _has(parameters, inspect.Parameter.VAR_POSITIONAL):
        takes = ", ".join(positional)
        yield f"{at}._target_={path}: the stage calls it with ({', '.join(given)}), but it takes ({takes})"
    for name in positional[: len(given)]:
        by_name.pop(name, None)
    knobs = {k: v for k, v in node.items() if k not in ("_target_", "_partial_", "_convert_", "_recursive_", "_args_")}
    hints = _hints(function)
    for knob, value in knobs.items():
        if knob not in by_name:
            if not _has(parameters, inspect.Parameter.VAR_KEYWORD):
                fix = did_you_mean(nearest(knob, by_name), f"it takes {', '.join(by_name) or 'none'}")
                yield f"{at}.{knob}: {path} has no such knob; {fix}"
        elif knob in hints and not fits(value, hints[knob]):
            yield f"{at}.{knob}={value!r}: {path} expects {_named(hints[knob])}"
    for name, parameter in by_name.items():
        if parameter.default is parameter.empty and name not in knobs:
            yield f"{at}.{name} is missing: {path} needs it"


def _has(parameters: Mapping[str, inspect.Parameter], kind: Any) -> bool:
    return any(parameter.kind is kind for parameter in parameters.values())


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Annotated types by parameter; none where they name things that are only imported for type checkers."""
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError, AttributeError):
        return {}


def _named(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint).replace("typing.", "")


def fits(value: Any, hint: Any) -> bool:
    """Whether a plain value (as YAML gives it) is of an annotated type; types that YAML cannot say always fit."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, one) for one in inner)
    if origin is typing.Literal:
        return value in inner
    if hint is None or hint is types.NoneType:
        return value is None
    container = origin or hint
    if isinstance(container, type):
        if issubclass(container, Enum):
            return value in [member.name for member in container]
        if container is float:
            return isinstance(value, (int, float)) and not isinstance(value, bool)
        if container in (int, str, bool):
            return type(value) is container
        if issubclass(container, Mapping):
            return isinstance(value, Mapping)
        if container in _SEQUENCES:
            return isinstance(value, list) and (not inner or all(fits(one, inner[0]) for one in value))
    return True


_SEQUENCES = (list, tuple, set, frozenset, Sequence, Iterable, Collection)
