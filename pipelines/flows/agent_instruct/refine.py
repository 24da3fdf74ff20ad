"""Refinement of instructions (papers.md 2.2, 2.4): a suggester proposes, an editor follows, the result is added."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pipelines.errors import PromptTooLong
from pipelines.flows.agent_instruct import constraints
from pipelines.flows.agent_instruct.checks import wrong_with
from pipelines.flows.agent_instruct.drafts import Draft, drawn
from pipelines.flows.agent_instruct.instruct import cut, draft_of, one_of
from pipelines.flows.agent_instruct.lesson import Lesson
from pipelines.flows.agent_instruct.skill import Agent
from pipelines.flows.structured import a_text, an_object, filled, structured
from pipelines.rows import Item, reject

#: Sentences that one suggestion may change.
_EDITS = 3
_SENTENCE = re.compile(r".+?(?:[.!?](?=[\"'”’)\]]*(?:\s|$))[\"'”’)\]]*|[。！？؟]|\n|$)\s*", re.DOTALL)


async def refine(lesson: Lesson, first: Sequence[Draft]) -> tuple[list[Draft], list[Item]]:
    """``first`` with what rounds of refinement add to it, and the refinements that are rejected.

    A round takes each of the goals that are drawn to one instruction drawn among all there are by then, so the number
    of instructions grows evenly and not by multiplication. What was made unanswerable is refined no further: its
    judge would not see what becomes of it. Rejects: ``unchanged`` (the edit changed nothing), ``nothing_left`` (it took
    all the text), ``prompt_too_long``, ``cut_by_schema``, what ``structured`` and ``wrong_with`` reject.
    """
    drafts, rejected = list(first), list[Item]()
    for number in range(1, lesson.scale.rounds + 1):
        places = [place for place, draft in enumerate(drafts) if lesson.judge_of(draft) != "unanswerable"]
        if not places:
            break
        goals = drawn(list(lesson.skill.refiners.values()), lesson.scale.goals, *lesson.lot("goals", number))
        lots = [drawn(places, 1, *lesson.lot("refined", number, goal.name))[0] for goal in goals]
        found = await asyncio.gather(
            *(_to(lesson, goal, drafts[place], place, number) for goal, place in zip(goals, lots, strict=True))
        )
        drafts += [draft for some, _ in found for draft in some]
        rejected += [item for _, items in found for item in items]
    return drafts, rejected


async def _to(lesson: Lesson, goal: Agent, draft: Draft, place: int, number: int) -> tuple[list[Draft], list[Item]]:
    """What a draft, that at ``place``, becomes by suggestions towards a goal."""
    count = lesson.scale.suggestions
    suggestion = a_text(lesson.characters(0.8 / count))
    schema = an_object(suggestions={"type": "array", "items": suggestion, "minItems": 1, "maxItems": count})
    bare = replace(draft, parent=place, round=number, goal=goal.name, expected=None)
    try:
        answer = await lesson.ask(
            "suggest", "suggest", schema=schema, ask=goal.ask, count=count, **draft.edited_fields()
        )
    except PromptTooLong as error:
        return [], [bare.item(reject(error.kind, detail=str(error)))]
    made = structured(answer, schema)
    bare = replace(bare, answers=(*draft.answers, answer))
    if isinstance(made, Item):
        return [], [bare.item(made)]
    found = await asyncio.gather(*(_edited(lesson, goal, replace(bare, suggestion=one)) for one in made["suggestions"]))
    return [one for one in found if isinstance(one, Draft)], [one for one in found if isinstance(one, Item)]


async def _edited(lesson: Lesson, goal: Agent, draft: Draft) -> Draft | Item:
    """The draft as its suggestion towards a goal changes it."""
    edit = _edit_content if goal.edits == "content" else _edit_instruction
    try:
        return await edit(lesson, draft)
    except PromptTooLong as error:
        return draft.item(reject(error.kind, detail=str(error)))


async def _edit_content(lesson: Lesson, draft: Draft) -> Draft | Item:
    """The draft on a text in which some sentences were replaced, as its suggestion says."""
    sentences = sentences_of(draft.content.text)
    edit = an_object(
        sentence={"type": "integer", "minimum": 1, "maximum": len(sentences)},
        replacement={"type": "string", "maxLength": lesson.characters(0.7 / _EDITS)},
    )
    schema = an_object(edits={"type": "array", "items": edit, "minItems": 1, "maxItems": _EDITS})
    numbered = "\n".join(f"[{number}] {sentence.strip()}" for number, sentence in enumerate(sentences, 1))
    fields = draft.fields() | {"content": numbered}
    answer = await lesson.ask("edit", "edit_content", schema=schema, suggestion=draft.suggestion, **fields)
    made = structured(answer, schema)
    if isinstance(made, Item):
        return draft.item(made)
    text = edited(sentences, made["edits"])
    changed = replace(draft, content=replace(draft.content, text=text), answers=(*draft.answers, answer))
    if place := filled(made, schema):
        return changed.item(reject("cut_by_schema", answer, detail=place))
    if text.split() == draft.content.text.split() or not text.strip():
        return changed.item(reject("unchanged" if text.strip() else "nothing_left", answer))
    return changed


async def _edit_instruction(lesson: Lesson, draft: Draft) -> Draft | Item:
    """The draft with another instruction (and options), as its suggestion says."""
    schema = one_of(lesson, len(draft.options), 1)
    wording = constraints.wording(draft.constraint)
    fields = draft.edited_fields() | {"suggestion": draft.suggestion, "constraint": wording}
    answer = await lesson.ask("edit", "edit_instruction", schema=schema, **fields)
    made = structured(answer, schema)
    if isinstance(made, Item):
        return draft.item(made)
    found = draft_of(made, answer, draft, wording)
    changed: Draft | Item = lesson.skill.step("refined", _as_it_is)(lesson, found)
    if isinstance(changed, Item):
        return changed
    if (changed.instruction, changed.options) == (draft.instruction, draft.options):
        return changed.item(reject("unchanged", answer))
    wrong = cut(made, schema) or wrong_with(changed, lesson.skill, lesson.skill.refiners[draft.goal or ""].ask)
    return changed if wrong is None else changed.item(reject(wrong.reason, answer, detail=wrong.detail))


def _as_it_is(lesson: Lesson, draft: Draft) -> Draft:
    return draft


def sentences_of(text: str) -> list[str]:
    """A text's sentences with the space after each: together they are the text."""
    return [found[0] for found in _SENTENCE.finditer(text) if found[0]]


def edited(sentences: Sequence[str], edits: Sequence[dict[str, Any]]) -> str:
    """The text with the sentences replaced that the edits name, counted from 1; the last edit of a sentence counts."""
    new = {edit["sentence"] - 1: edit["replacement"].strip() for edit in edits}
    parts = []
    for place, sentence in enumerate(sentences):
        space = sentence[len(sentence.rstrip()) :]
        parts.append(f"{new[place]}{space if new[place] else ''}" if place in new else sentence)
    return "".join(parts)
