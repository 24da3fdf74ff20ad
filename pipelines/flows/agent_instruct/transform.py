"""Content transformation (papers.md 2.2): a seed becomes a text that instructions are easily made of."""

from __future__ import annotations

import re
from dataclasses import replace

from pipelines.flows.agent_instruct.drafts import Content, drawn
from pipelines.flows.agent_instruct.lesson import Lesson
from pipelines.rows import Answer, Item, reject

#: What a transformer says instead of a text where the seed does not suit it.
_NO = re.compile(r"^\W*irrelevant\W*$", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.!?。！？…][\"'”’)\]]*\s")


async def transform(lesson: Lesson) -> Content | Item:
    """The seed as one of the skill's transformers, drawn by lot, writes it; a copy costs no call.

    One that declines, answers nothing or gives back the seed makes way for the next one drawn; which did is kept with
    the text. Rejects: ``declined`` (all that were drawn).
    """
    text = lesson.row["text"]
    names = drawn(list(lesson.skill.transformers), lesson.scale.tries, *lesson.lot("transformer"))
    declined: list[str] = []
    answers: list[Answer] = []
    for name in names:
        agent = lesson.skill.transformers[name]
        if agent.copy:
            return Content(text, name, tuple(declined), tuple(answers))
        answer = await lesson.ask("transform", "transform", content=text, ask=agent.ask)
        answers.append(answer)
        written = whole_sentences(answer.text) if answer.cut else answer.text.strip()
        if written and not _NO.match(written):
            return Content(written, name, tuple(declined), tuple(answers))
        declined.append(name)
    item = reject("declined", answers[-1], detail=", ".join(declined), declined=declined, transformer=declined[-1])
    return replace(item, on=tuple(answers))


def whole_sentences(text: str) -> str:
    """A text that was cut, without its last sentence if that is not whole and there are others."""
    ends = [found.end() for found in _SENTENCE_END.finditer(f"{text} ")]
    return (text[: ends[-1]] if ends else text).strip()
