"""From a node of a configuration that names a function to the function, with the node's other keys bound to it.

``{_target_: pipelines.filters.text.fewer_words, column: text, than: 4}`` becomes a function of a table.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any


def bind(node: Mapping[str, Any]) -> Callable[..., Any]:
    """The function a node's ``_target_`` names, with the node's other keys as its keyword arguments."""
    return partial(named(node["_target_"]), **_knobs(node))


def beside(node: Mapping[str, Any], name: str) -> Callable[..., Any] | None:
    """The function ``name`` in the module of a node's ``_target_``, with the node's knobs; None where there is none."""
    found = getattr(importlib.import_module(node["_target_"].rpartition(".")[0]), name, None)
    return None if found is None else partial(found, **_knobs(node))


def _knobs(node: Mapping[str, Any]) -> dict[str, Any]:
    """A node's keys that are its function's own."""
    return {key: value for key, value in node.items() if not key.startswith("_")}


def named(target: str) -> Callable[..., Any]:
    """The function at a dotted path. Raises ImportError or AttributeError when there is none."""
    module, _, name = target.rpartition(".")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function
