"""A judge over finished rows: a score for each, and those below a mark rejected (papers.md 2.7).

``judged`` gives ``{instruction: ..., response: ...}`` back with ``score: 7``, in any recipe. Judges like long answers,
so the response's length in words goes with it.
"""

from __future__ import annotations

from pipelines.engine.llm import LLM
from pipelines.flows.structured import a_text, an_object, structured
from pipelines.prompts import PromptSet
from pipelines.rows import RESERVED, Item, Row, keep, reject

#: The best score; the worst is 1.
BEST = 10
_VERDICT = an_object(reason=a_text(200), score={"type": "integer", "minimum": 1, "maximum": BEST})


async def judged(
    row: Row, llm: LLM, prompts: PromptSet, *, instruction_column: str, response_column: str, at_least: int | None
) -> list[Item]:
    """The row with its ``score`` and the response's ``words``.

    Rejects: ``judged_low`` (a score below ``at_least``), ``no_verdict`` (an answer that is none).
    """
    fields = {"instruction": row[instruction_column], "response": row[response_column]}
    answer = await llm.chat(prompts.render("judge", trim="instruction", **fields), schema=_VERDICT, temperature=0.0)
    own = {name: value for name, value in row.items() if name not in RESERVED}
    words = len(row[response_column].split())
    verdict = structured(answer, _VERDICT)
    if isinstance(verdict, Item):
        detail = f"{verdict.reason}: {verdict.detail}"
        return [reject("no_verdict", answer, detail=detail, **own, score=None, words=words)]
    made = {**own, "score": verdict["score"], "words": words}
    if verdict["score"] < (at_least or 0):
        return [reject("judged_low", answer, detail=verdict["reason"], **made)]
    return [keep(answer, **made)]
