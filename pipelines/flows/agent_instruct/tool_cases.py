"""Requests of the skill tool_use (papers.md 2.6): seven cases, and what each says the assistant must do.

A case decides which APIs a request needs, which of them the assistant sees and which required parameter goes unsaid; so
a program knows whether it must call, ask for that parameter, or name the ability that is missing. A refined request has
the plan of the first one: who makes and who edits a request sees the APIs that it needs, not those that the assistant
sees, and is held to the same rules.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipelines.errors import PromptTooLong
from pipelines.flows.agent_instruct.drafts import Content, Draft, drawn
from pipelines.flows.agent_instruct.lesson import Lesson
from pipelines.flows.agent_instruct.named import can_be_named, says, speaks_of
from pipelines.flows.agent_instruct.skill import Agent
from pipelines.flows.agent_instruct.tools import Api, required, shown
from pipelines.flows.structured import a_text, an_object, filled, structured
from pipelines.rows import Item, reject

#: Of each case: how many APIs are needed, how many of these the assistant does not see, whether a parameter is unsaid.
CASES: Mapping[str, tuple[int, int, bool]] = {
    "t1_all_given": (1, 0, False),
    "t2_superfluous": (1, 0, False),
    "t3_missing_parameter": (1, 0, True),
    "t4_several_apis": (2, 0, False),
    "t5_several_missing": (2, 0, True),
    "t6_absent_api": (1, 1, False),
    "t7_some_absent": (2, 1, False),
}


@dataclass(frozen=True)
class Plan:
    """What a case asks for: APIs that are needed, those of them that are not there, and the parameter left unsaid."""

    needed: tuple[Api, ...]
    hidden: tuple[Api, ...] = ()
    unsaid: Mapping[str, Any] | None = None

    @property
    def action(self) -> str:
        """What the assistant must do first; where it must decline, it may call those of the APIs that are there."""
        return "ask" if self.unsaid else "decline" if self.hidden else "call"

    @property
    def there(self) -> tuple[Api, ...]:
        """The APIs that are needed and that the assistant sees."""
        return tuple(api for api in self.needed if api not in self.hidden)

    def expected(self) -> str:
        """The plan as an item shows it."""
        names = {key: [api["name"] for api in apis] for key, apis in (("apis", self.needed), ("absent", self.hidden))}
        return json.dumps({"action": self.action, **names, "unsaid": self.unsaid and self.unsaid["name"]})

    def asks(self, text: str) -> bool:
        """Whether a text asks for what is unsaid, by the words of its name or of its description."""
        if self.unsaid is None:
            return False
        others = [one["name"] for api in self.needed for one in api["parameters"] if one["name"] != self.unsaid["name"]]
        return speaks_of(
            text,
            self.unsaid["name"],
            self.unsaid.get("description", ""),
            others=" ".join(others),
            around=_words_of(self.needed),
        )

    def declines(self, text: str, seen: Sequence[Api]) -> bool:
        """Whether a text names every ability that is absent, by words that those ``seen`` do not have."""
        others = _words_of(seen)
        return all(speaks_of(text, api["name"], api["description"], others=others) for api in self.hidden)


def _words_of(apis: Sequence[Api]) -> str:
    return "\n".join(f"{api['name']} {api['description']}" for api in apis)


async def instruct(lesson: Lesson, content: Content) -> tuple[list[Draft], list[Item]]:
    """A request for each case that is drawn.

    Rejects: ``too_few_apis`` (the case needs more than there are), ``no_required_parameter`` (none to leave unsaid that
    words can ask for), ``prompt_too_long``, ``cut_by_schema``, what ``structured`` and ``refined`` reject.
    """
    apis = json.loads(content.text)
    chosen = drawn(list(lesson.skill.types.values()), lesson.scale.types, *lesson.lot("types"))
    found = await asyncio.gather(*(_request(lesson, content, apis, kind) for kind in chosen))
    return [one for one in found if isinstance(one, Draft)], [one for one in found if isinstance(one, Item)]


async def _request(lesson: Lesson, content: Content, apis: Sequence[Api], kind: Agent) -> Draft | Item:
    count, absent, unsaid = CASES[kind.name]
    bare = Draft(kind.name, content, "", answers=content.answers)
    if len(apis) < count:
        return bare.item(reject("too_few_apis", detail=f"{len(apis)} of {count}"))
    needed = tuple(drawn(apis, count, *lesson.lot("needed", kind.name)))
    parameters = [
        one for api in needed for one in required(api) if can_be_named(one["name"], one.get("description", ""))
    ]
    if unsaid and not parameters:
        return bare.item(reject("no_required_parameter"))
    left_out = drawn(parameters, 1, *lesson.lot("unsaid", kind.name))[0] if unsaid else None
    plan = Plan(needed, needed[:absent], left_out)
    seen = [api for api in apis if api not in plan.hidden]
    draft = replace(
        bare,
        content=replace(content, text=shown(seen)),
        maker=shown(needed),
        expected=plan.expected(),
        extra=plan,
    )
    schema = an_object(request=a_text(lesson.characters(0.8)))
    fields = {"content": draft.maker, "ask": kind.ask, "unsaid": left_out and left_out["name"]}
    try:
        answer = await lesson.ask("instruct", "request", schema=schema, **fields)
    except PromptTooLong as error:
        return draft.item(reject("prompt_too_long", detail=str(error)))
    made = structured(answer, schema)
    if isinstance(made, Item):
        return draft.item(made)
    draft = replace(draft, instruction=made["request"].strip(), answers=(*draft.answers, answer))
    if filled(made, schema) is not None:
        return draft.item(reject("cut_by_schema", answer, detail=".request"))
    return refined(lesson, draft)


def refined(lesson: Lesson, draft: Draft) -> Draft | Item:
    """A request as it was made or edited, held to its plan, which stays what is expected.

    Rejects: ``too_short`` (there is nothing in it), ``says_what_is_missing`` (it has the words of the unsaid
    parameter's name).
    """
    plan: Plan = draft.extra
    draft = replace(draft, expected=plan.expected())
    if not draft.instruction:
        return draft.item(reject("too_short", draft.answers[-1]))
    if plan.unsaid and says(draft.instruction, plan.unsaid["name"]):
        return draft.item(reject("says_what_is_missing", draft.answers[-1], detail=plan.unsaid["name"]))
    return draft
