"""A judge over finished rows: a score for each, and those below a mark rejected (papers.md 2.7).

``judged`` gives ``{instruction: ..., response: ...}`` back with ``score: 7``, in any recipe. Judges like long answers,
so the length in words of what was answered goes with it.
"""

from __future__ import annotations

import json

from pipelines.engine.llm import LLM
from pipelines.flows.structured import a_text, an_object, structured
from pipelines.prompts import Message, PromptSet
from pipelines.rows import RESERVED, Item, Row, keep, reject

#: The best score; the worst is 1.
BEST = 10
_VERDICT = an_object(reason=a_text(200), score={"type": "integer", "minimum": 1, "maximum": BEST})


async def judged(
    row: Row,
    llm: LLM,
    prompts: PromptSet,
    *,
    instruction_column: str,
    response_column: str,
    at_least: int | None,
    conversation_column: str | None = None,
) -> list[Item]:
    """The row with its ``score`` and the ``words`` of what was answered.

    The prompt ``judge`` is given the ``conversation`` as it was sent, with passage, options and all turns, where the
    row has one in ``conversation_column`` (JSON, ``[{role, content}, ...]``); else it is one of instruction and
    response. Of one that does not fit, the middle is left out: what was asked first and what was said last stay.

    Rejects: ``judged_low`` (a score below ``at_least``), ``no_verdict`` (an answer that is none).
    """
    turns = _turns(row.get(conversation_column) if conversation_column is not None else None)
    turns = turns or [("user", row[instruction_column]), ("assistant", row[response_column])]
    conversation = "\n\n".join(f"{role.capitalize()}:\n{text}" for role, text in turns)
    prompt = prompts.render("judge", trim="conversation", trim_from="middle", conversation=conversation)
    answer = await llm.chat(prompt, schema=_VERDICT, temperature=0.0)
    own = {name: value for name, value in row.items() if name not in RESERVED}
    words = sum(len(text.split()) for role, text in turns if role == "assistant")
    verdict = structured(answer, _VERDICT)
    if isinstance(verdict, Item):
        detail = f"{verdict.reason}: {verdict.detail}"
        return [reject("no_verdict", answer, detail=detail, **own, score=None, words=words)]
    made = {**own, "score": verdict["score"], "words": words}
    if verdict["score"] < (at_least or 0):
        return [reject("judged_low", answer, detail=verdict["reason"], **made)]
    return [keep(answer, **made)]


def _turns(conversation: str | None) -> list[Message]:
    """The turns of a conversation in JSON; none of none."""
    return [(turn["role"], turn["content"]) for turn in json.loads(conversation or "[]")]
