"""A judge over finished rows."""

import asyncio

import pytest

from pipelines.flows.judge import judged
from pipelines.prompts import PromptSet
from pipelines.rows import Answer

PROMPTS = PromptSet("test", {"judge": "{{ instruction }} {{ response }}"})
ROW = {"id": "a", "parent_ids": ["b"], "provenance": None, "instruction": "How?", "response": "So it is."}


class Says:
    draw = 0

    def __init__(self, text: str) -> None:
        self.text = text

    async def chat(self, prompt, *, schema, temperature):
        return Answer(self.text, "stop", 1, 1)


@pytest.mark.parametrize(
    ("said", "reason", "score"),
    [
        ('{"reason": "good", "score": 7}', None, 7),
        ('{"reason": "bad", "score": 4}', "judged_low", 4),
        ('{"reason": "bad", "score": 11}', "no_verdict", None),
        ("I like it", "no_verdict", None),
    ],
)
def test_what_a_judge_says(said: str, reason: str | None, score: int | None) -> None:
    flow = judged(ROW, Says(said), PROMPTS, instruction_column="instruction", response_column="response", at_least=5)
    [item] = asyncio.run(flow)
    assert (item.reason, item.columns["score"], item.columns["words"]) == (reason, score, 3)
    assert set(item.columns) == {"instruction", "response", "score", "words"}
