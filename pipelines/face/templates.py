"""A prompt's templates against the flow that renders them, before anything starts.

``prompt.templates.persona`` that says ``{{ txt }}`` where the flow gives ``text`` would fail every row of a night; here
it is one line with the near name. What a flow renders is read from its source, where it says
``prompts.render("persona", text=...)``; what it computes is not seen. Nothing is rendered or called.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeGuard

from jinja2 import TemplateSyntaxError

from pipelines.face.overrides import did_you_mean, nearest
from pipelines.face.targets import found
from pipelines.prompts import PromptSet


def syntax_mistakes(prompt: Mapping[str, Any]) -> Iterator[str]:
    """Templates of a ``prompt`` node that Jinja cannot read."""
    prompts = _prompt_set(prompt)
    for name in prompt["templates"]:
        try:
            prompts.names_in(name)
        except TemplateSyntaxError as error:
            yield f"prompt.templates.{name}, line {error.lineno}: {error.message}"


def _prompt_set(prompt: Mapping[str, Any]) -> PromptSet:
    return PromptSet(prompt["name"], prompt["templates"], prompt["system"], prompt["tables"])


def template_mistakes(node: Mapping[str, Any], at: str, prompt: Mapping[str, Any]) -> Iterator[str]:
    """Templates that the flow at ``node`` renders and the prompt lacks; names in them that the flow does not give."""
    if next(syntax_mistakes(prompt), None) is not None:
        return  # They are reported by themselves.
    try:
        calls = _renders(found(str(node["_target_"])))
    except (LookupError, OSError, SyntaxError):
        return
    templates: Mapping[str, str] = prompt["templates"]
    prompts = _prompt_set(prompt)
    for name, fields in calls.items():
        if name not in templates:
            near = did_you_mean(nearest(name, templates), f"it has {', '.join(sorted(templates)) or 'none'}")
            yield f"{at} renders the template {name!r}, which prompt {prompt['name']!r} lacks; {near}"
        elif fields is not None:
            for unknown in sorted(prompts.names_in(name) - fields):
                near = did_you_mean(nearest(unknown, fields | set(prompts.tables)), f"it gives {sorted(fields)}")
                yield f"prompt.templates.{name} uses {unknown!r}, which the flow does not give; {near}"


def _renders(function: Callable[..., Any]) -> dict[str, set[str] | None]:
    """Template name -> fields, of each ``prompts.render`` that ``function`` or its module's functions it uses call.

    The fields are None where a call passes ``**`` and they cannot be read.
    """
    try:
        module = ast.parse(inspect.getsource(inspect.getmodule(function) or function))
    except (TypeError, OSError):  # no Python source: nothing of it is known
        return {}
    bodies = {node.name: node for node in module.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    reached: set[str] = set()
    ahead = [function.__name__]
    calls: dict[str, set[str] | None] = {}
    while ahead:
        name = ahead.pop()
        if name in reached or name not in bodies:
            continue
        reached.add(name)
        for node in ast.walk(bodies[name]):
            match node:
                case ast.Name(id=used):
                    ahead.append(used)
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id="prompts"), attr="render"),
                    args=[ast.Constant(value=str(template))],
                ):
                    given, known = _given(node, bodies[name]), calls.get(template, set())
                    calls[template] = None if given is None or known is None else known | given
    return calls


def _given(call: ast.Call, body: ast.AST) -> set[str] | None:
    """Fields that a call of ``render`` passes, ``**fields`` included where ``body`` says ``fields = {"text": ...}``."""
    names: set[str] = set()
    for keyword in call.keywords:
        if keyword.arg is not None:
            names.add(keyword.arg)
            continue
        written = [_keys(node.value) for node in ast.walk(body) if _assigns(node, keyword.value)]
        if len(written) != 1 or written[0] is None:
            return None
        names |= written[0]
    return names - {"trim", "trim_from", "history"}


def _assigns(node: ast.AST, name: ast.expr) -> TypeGuard[ast.Assign]:
    return (
        isinstance(node, ast.Assign)
        and isinstance(name, ast.Name)
        and any(isinstance(target, ast.Name) and target.id == name.id for target in node.targets)
    )


def _keys(value: ast.expr) -> set[str] | None:
    if not isinstance(value, ast.Dict):
        return None
    keys = [key.value for key in value.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)]
    return set(keys) if len(keys) == len(value.keys) else None
