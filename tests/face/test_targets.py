"""Functions of a recipe found and bound without being called; templates read against the flow that renders them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

import pytest

from pipelines.face.targets import fits, found, target_mistakes
from pipelines.face.templates import syntax_mistakes, template_mistakes

MODULE = """
async def flow(row, llm, prompts, *, count: int, languages: "list[str]" = ()):
    return await ask(prompts, row, count)

async def ask(prompts, row, count):
    fields = {"text": row["text"], "relation": "read"}
    prompts.render("persona", trim="text", **fields)
    return prompts.render("several", count=count, history=(), **fields)

async def computed(row, llm, prompts, *, template: str):
    return prompts.render(template, **row)

def other(row, llm, prompts):
    return prompts.render("elsewhere", text="")

def reject(table, *, than: int = 3):
    raise AssertionError("a target is never called here")

def anything(table, **knobs): ...
def narrow(): ...
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "made_flows.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("made_flows", None)


def wrong(kind: str, function: str, **knobs: Any) -> list[str]:
    node = {kind: {"_target_": f"made_flows.{function}", "_partial_": True, **knobs}}
    return list(target_mistakes(node, "recipe.stages.s"))


def test_a_right_target_has_no_mistakes() -> None:
    assert wrong("flow", "flow", count=3, languages=["en"]) == []
    assert wrong("dedup", "anything", whatever=1) == []


def test_every_mistake_of_every_target_is_found() -> None:
    node = {
        "filters": {
            "short": {"_target_": "made_flows.reject", "_partial_": True, "thn": 3},
            "long": {"_target_": "made_flows.rejct", "_partial_": True},
            "typed": {"_target_": "made_flows.reject", "than": "3"},
            "narrow": {"_target_": "made_flows.narrow", "_partial_": True},
            "nested": {
                "_target_": "made_flows.anything",
                "_partial_": True,
                "inner": [{"_target_": "made_flows.reject", "x": 1}],
            },
        }
    }
    assert list(target_mistakes(node, "s")) == [
        "s.filters.short.thn: made_flows.reject has no such knob; did you mean than?",
        "s.filters.long._target_=made_flows.rejct: module made_flows has no function 'rejct'; did you mean reject?",
        "s.filters.typed: add _partial_: true; the stage calls it with (table)",
        "s.filters.typed.than='3': made_flows.reject expects int",
        "s.filters.narrow._target_=made_flows.narrow: the stage calls it with (table), but it takes ()",
        "s.filters.nested.inner[0].x: made_flows.reject has no such knob; it takes table, than",
        "s.filters.nested.inner[0].table is missing: made_flows.reject needs it",
    ]


def test_a_knob_that_is_needed_and_missing_is_named() -> None:
    assert wrong("flow", "flow") == ["recipe.stages.s.flow.count is missing: made_flows.flow needs it"]


def test_a_module_that_is_not_there_is_named() -> None:
    with pytest.raises(LookupError, match="module 'nowhere.at' cannot be imported"):
        found("nowhere.at.all")


class Colour(StrEnum):
    red = "red"


@pytest.mark.parametrize(
    ("value", "hint", "right"),
    [
        (3, int, True), (True, int, False), (3, float, True), (3.5, int, False), ("3", int, False), (True, bool, True),
        (None, int | None, True), (None, int, False), (["a"], list[str], True), ([1], list[str], False),
        ("ab", list[str], False), ([1], Sequence[float], True), ({}, Mapping[str, int], True), ([], dict, False),
        ("red", Colour, True), ("blue", Colour, False), ("a", Literal["a", "b"], True), ("c", Literal["a", "b"], False),
        (object(), Any, True), (3, Callable[[], int], True),
    ],
)  # fmt: skip
def test_plain_values_against_annotations(value: Any, hint: Any, right: bool) -> None:
    assert fits(value, hint) is right


def prompt(**templates: str) -> dict[str, Any]:
    return {"name": "made", "system": "", "templates": templates, "tables": {"how": {"fine": "closely"}}}


def against(function: str, given: dict[str, Any]) -> list[str]:
    return list(template_mistakes({"_target_": f"made_flows.{function}"}, "s.flow", given))


def test_templates_that_fit_their_flow() -> None:
    right = prompt(
        persona="{{ text }} {{ relation }} {{ how.fine }}", several="{{ count }} {{ text }}", spare="{{ x }}"
    )
    assert against("flow", right) == []


def test_a_name_that_the_flow_does_not_give_is_answered_with_the_nearest() -> None:
    (message,) = against("flow", prompt(persona="{{ txt }}", several="{{ count }}"))
    assert message == "prompt.templates.persona uses 'txt', which the flow does not give; did you mean text?"


def test_a_template_that_is_not_there_is_answered_with_the_nearest() -> None:
    (message,) = against("flow", prompt(personas="{{ text }}", several=""))
    assert message == "s.flow renders the template 'persona', which prompt 'made' lacks; did you mean personas?"


def test_what_a_flow_computes_is_not_judged() -> None:
    assert against("computed", prompt()) == []


def test_a_template_that_jinja_cannot_read_is_named_with_its_line() -> None:
    (message,) = syntax_mistakes(prompt(right="{{ text }}", wrong="one\n{% if %}"))
    assert message.startswith("prompt.templates.wrong, line 2: ")
