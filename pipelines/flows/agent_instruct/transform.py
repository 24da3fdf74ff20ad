"""Content transformation (papers.md 2.2): a seed becomes a text that instructions are easily made of."""

from __future__ import annotations

import re
from dataclasses import replace

from pipelines.flows.agent_instruct.drafts import Content, drawn
from pipelines.flows.agent_instruct.lesson import Lesson
from pipelines.rows import Answer, Item, reject

#: What a transformer says instead of a text where the seed does not suit it; more may follow the word in capitals.
_NO = re.compile(r"\W*(?:(?i:irrelevant)\W*$|IRRELEVANT(?!-\w)[^\S\n]*(?:$|[^\w\s]|\n))")
#: A mark in the margin of a list, or the end of a sentence.
_SENTENCE_END = re.compile(
    r"^[^\S\n]*\d+[.)](?=\s)|(?P<end>(?:[.!?…]+(?=[\"'”’)\]*_]*(?:\s|$))|[。！？؟।]+)[\"'”’）)」』\]*_]*)", re.MULTILINE
)
_QUOTES = " \n\"'`“”"


async def transform(lesson: Lesson) -> Content | Item:
    """The seed as one of the skill's transformers, drawn by lot, writes it; a copy costs no call.

    One that declines, answers nothing or gives back the seed makes way for the next one drawn; which did is kept with
    the text. A text that ``max_tokens`` cut goes on up to its last whole sentence, and marked. Rejects: ``declined``
    (all that were drawn).
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
        if written and not _NO.match(answer.text) and not _given_back(answer, text):
            return Content(written, name, tuple(declined), tuple(answers), cut=answer.cut)
        declined.append(name)
    item = reject("declined", answers[-1], detail=", ".join(declined), declined=declined, transformer=declined[-1])
    return replace(item, on=tuple(answers))


def _given_back(answer: Answer, seed: str) -> bool:
    """Whether an answer is the seed, whatever its case and spaces; or its beginning, where one of them was cut."""
    said, was = (" ".join(text.strip(_QUOTES).casefold().split()) for text in (answer.text, seed))
    return said == was or ((answer.cut or answer.trimmed) and was.startswith(said))


def whole_sentences(text: str) -> str:
    """A text that was cut, up to its last whole sentence; its whole lines, where it has no sentences."""
    ends = [found.end() for found in _SENTENCE_END.finditer(text) if found["end"]]
    end = ends[-1] if ends else text.rstrip().rfind("\n")
    return (text[:end] if end > 0 else text).strip()
