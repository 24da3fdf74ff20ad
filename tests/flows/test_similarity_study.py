"""A problem by each persona under every wording of the prompt's table."""

import asyncio

from pipelines.flows.similarity_study import write
from pipelines.prompts import PromptSet
from pipelines.rows import Answer

PROMPTS = PromptSet(
    "test", {"problem": "{{ ask }} {{ persona }}"}, tables={"wordings": {"generic": "Any.", "constrained": "On odds."}}
)


class Scripted:
    """Gives back the prompt it was asked, or nothing where the wording is constrained."""

    async def chat(self, prompt):
        said = prompt.messages[-1][1]
        return Answer("Math problem:" + ("" if "odds" in said else f" **{said}**"), "stop", 1, 1)


def test_every_wording_is_asked_and_an_empty_answer_rejected():
    items = asyncio.run(write({"id": "a", "who": "A baker"}, Scripted(), PROMPTS, text_column="who"))
    assert [(item.columns["wording"], item.reason) for item in items] == [
        ("generic", None),
        ("constrained", "unparsable"),
    ]
    assert "Any. A baker" in items[0].columns["text"] and items[0].columns["persona"] == "A baker"
