"""Seed instruction generation (papers.md 2.2): types of instruction drawn by lot, each asked for a list of them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pipelines.flows.agent_instruct import constraints
from pipelines.flows.agent_instruct.checks import Wrong, wrong_with
from pipelines.flows.agent_instruct.drafts import Content, Draft, drawn
from pipelines.flows.agent_instruct.lesson import Lesson
from pipelines.flows.agent_instruct.skill import Agent
from pipelines.flows.structured import Schema, a_text, an_object, filled, structured
from pipelines.rows import Answer, Item, reject


async def instruct(lesson: Lesson, content: Content) -> tuple[list[Draft], list[Item]]:
    """First instructions on a text, and the rejected ones.

    Only types that the router allows for the transformer are drawn. A type may decline with an empty list. Rejects:
    ``unsuited`` (the type declined), ``cut_by_schema``, what ``structured`` and ``wrong_with`` reject.
    """
    allowed = lesson.skill.types_for(content.transformer)
    chosen = drawn(allowed, lesson.scale.types, *lesson.lot("types"))
    found = await asyncio.gather(*(_of_type(lesson, content, agent) for agent in chosen))
    drafts = [draft for some, _ in found for draft in some]
    return drafts, [item for _, items in found for item in items]


async def _of_type(lesson: Lesson, content: Content, agent: Agent) -> tuple[list[Draft], list[Item]]:
    count = lesson.scale.instructions
    constraint = constraints.draw(agent.constraints, content.text, *lesson.lot("constraint", agent.name))
    each = one_of(lesson, agent.options, count)
    schema = an_object(instructions={"type": "array", "items": each, "minItems": 0, "maxItems": count})
    wording = constraints.wording(constraint)
    fields = {
        "content": content.text,
        "ask": agent.ask,
        "count": count,
        "options": agent.options,
        "constraint": wording,
    }
    answer = await lesson.ask("instruct", "instruct", schema=schema, **fields)
    made = structured(answer, schema)
    bare = Draft(agent.name, content, "", constraint=constraint, answers=content.answers)
    if isinstance(made, Item):
        return [], [bare.item(made)]
    if not made["instructions"]:
        return [], [bare.item(reject("unsuited", answer))]
    drafts: list[Draft] = []
    rejected: list[Item] = []
    for one in made["instructions"]:
        draft = draft_of(one, answer, bare, wording)
        wrong = cut(one, each) or wrong_with(draft, lesson.skill, agent.ask)
        if wrong is None:
            drafts.append(draft)
        else:
            rejected.append(draft.item(reject(wrong.reason, answer, detail=wrong.detail)))
    return drafts, rejected


def one_of(lesson: Lesson, options: int, count: int) -> dict[str, Any]:
    """The schema of one instruction, with so many ``options``, among ``count`` of an answer."""
    if not options:
        return an_object(
            instruction=a_text(lesson.characters(0.6 / count)), answer=a_text(lesson.characters(0.25 / count))
        )
    option = a_text(lesson.characters(0.4 / count / options))
    return an_object(
        instruction=a_text(lesson.characters(0.4 / count)),
        options={"type": "array", "items": option, "minItems": options, "maxItems": options},
        answer={"enum": [letter(place) for place in range(options)]},
    )


def cut(one: Mapping[str, Any], schema: Schema) -> Wrong | None:
    """Whether the instruction or an option of an object of ``one_of`` was cut at the length that its schema sets."""
    asked = {name: value for name, value in one.items() if name != "answer"}
    return None if (place := filled(asked, schema)) is None else Wrong("cut_by_schema", place)


def draft_of(one: Mapping[str, Any], answer: Answer, bare: Draft, wording: str) -> Draft:
    """The draft that an object of ``one_of`` says, on the text and of the type of ``bare``."""
    instruction = one["instruction"].strip()
    if wording and wording.lower() not in instruction.lower():
        instruction = f"{instruction} {wording}".strip()
    return replace(
        bare,
        instruction=instruction,
        options=tuple(option.strip() for option in one.get("options", ())),
        expected=one["answer"].strip(),
        answers=(*bare.answers, answer),
    )


def letter(place: int) -> str:
    """The letter of the option at a place: A for 0."""
    return chr(ord("A") + place)
