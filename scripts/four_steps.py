"""The flow that ``scripts/bench flows`` measures: a text, and four answers on it, each made with the one before."""

from __future__ import annotations

from pipelines.engine.llm import LLM
from pipelines.prompts import PromptSet
from pipelines.rows import Item, Row, keep

STEPS = ("summary", "question", "harder", "response")


async def four(row: Row, llm: LLM, prompts: PromptSet, *, text_column: str) -> list[Item]:
    """One item with all four answers; their length is fixed, so none counts as cut."""
    said: dict[str, str] = {}
    for step in STEPS:
        said[step] = (await llm.chat(prompts.render(step, text=row[text_column], **said))).text
    return [keep(**said)]
