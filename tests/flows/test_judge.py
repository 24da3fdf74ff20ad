"""A judge over finished rows."""

import asyncio
import json

import pytest
import yaml

from pipelines.face.groups import conf_dir
from pipelines.flows.judge import judged
from pipelines.prompts import PromptSet
from pipelines.rows import Answer, Item

PROMPTS = PromptSet(**yaml.safe_load((conf_dir() / "prompt" / "agent_instruct.yaml").read_text()))
ROW = {"id": "a", "parent_ids": ["b"], "provenance": None, "instruction": "How?", "response": "So it is."}
SENT = [
    ("user", "Text:\nThe bridge is made of iron.\n\nWhat is it made of?\nA. iron\nB. wood"),
    ("assistant", "A. The text says so."),
    ("user", "And the rails?"),
    ("assistant", "It does not say."),
]


class Says:
    draw = 0

    def __init__(self, text: str) -> None:
        self.text = text
        self.prompts = []

    async def chat(self, prompt, *, schema, temperature):
        self.prompts.append(prompt)
        return Answer(self.text, "stop", 1, 1)


def verdict(row, said='{"reason": "good", "score": 7}', **how) -> tuple[Item, Says]:
    llm = Says(said)
    columns = {"instruction_column": "instruction", "response_column": "response", "at_least": 5}
    [item] = asyncio.run(judged(row, llm, PROMPTS, **columns, **how))
    return item, llm


@pytest.mark.parametrize(
    ("said", "reason", "score"),
    [
        ('{"reason": "good", "score": 7}', None, 7),
        ('{"reason": "good", "score": 7.0}', None, 7),
        ('{"reason": "good", "score": 7.5}', "no_verdict", None),
        ('{"reason": "bad", "score": 4}', "judged_low", 4),
        ('{"reason": "bad", "score": 11}', "no_verdict", None),
        ("I like it", "no_verdict", None),
    ],
)
def test_what_a_judge_says(said: str, reason: str | None, score: int | None) -> None:
    item, _ = verdict(ROW, said)
    assert (item.reason, item.columns["score"], item.columns["words"]) == (reason, score, 3)
    assert type(item.columns["score"]) is type(score)
    assert set(item.columns) == {"instruction", "response", "score", "words"}


def test_a_judge_sees_the_whole_conversation_as_it_was_sent() -> None:
    messages = json.dumps([{"role": role, "content": text} for role, text in SENT])
    item, llm = verdict({**ROW, "messages": messages}, conversation_column="messages")
    [(_, asked)] = llm.prompts[0].messages
    assert all(text in asked for _, text in SENT)
    assert "How?" not in asked and "So it is." not in asked
    assert item.columns["words"] == 9
    assert item.columns["messages"] == messages


@pytest.mark.parametrize("row", [ROW, {**ROW, "messages": None}, {**ROW, "messages": "[]"}])
def test_without_a_conversation_a_judge_sees_instruction_and_response(row) -> None:
    _, llm = verdict(row, conversation_column="messages")
    [(_, asked)] = llm.prompts[0].messages
    assert "User:\nHow?\n\nAssistant:\nSo it is." in asked


def test_a_conversation_that_is_too_long_lacks_its_middle() -> None:
    _, llm = verdict(
        {**ROW, "instruction": "Read this: " + "iron " * 5000, "response": "It is " + "iron " * 5000 + "!"}
    )
    [(_, asked)] = llm.prompts[0].shortened(300).messages
    assert len(asked) < 900
    assert "User:\nRead this: iron" in asked and "[...]" in asked and "iron !" in asked
