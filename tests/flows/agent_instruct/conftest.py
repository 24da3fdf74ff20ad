"""A model that is scripted by the template it is asked with, for the logic of flows."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml

from pipelines.face.groups import conf_dir
from pipelines.face.taxonomy import taxonomy
from pipelines.flows.agent_instruct.flow import taught
from pipelines.prompts import PromptSet
from pipelines.rows import Answer

SHARED = yaml.safe_load((conf_dir() / "prompt" / "agent_instruct.yaml").read_text())
SKILLS, MISTAKES = taxonomy("all", SHARED)
PROMPTS = PromptSet(
    **{
        **SHARED,
        "templates": SHARED["templates"]
        | {f"{name}.{one}": text for name, skill in SKILLS.items() for one, text in skill.get("templates", {}).items()},
    }
)
SCALE = {
    "types": 2,
    "instructions": 1,
    "tries": 3,
    "rounds": 1,
    "goals": 3,
    "suggestions": 1,
    "votes": 3,
    "turns": 2,
    "follow_ups": 0,
    "max_tokens": 200,
    "temperatures": dict.fromkeys(("transform", "instruct", "suggest", "edit", "respond", "judge"), 0.5),
}
MADE_OF = ["iron", "wood", "stone", "glass", "brick", "rope", "paper", "ice"]
TEXT = "The bridge was built in 1901. It is made of iron. Ships pass below it."


@dataclass
class Scripted:
    """Answers by template; a list answers in turn, a function is given the prompt. A text that ends in ~ is cut."""

    script: dict[str, Any]
    asked: list[str] = field(default_factory=list)
    prompts: list[Any] = field(default_factory=list)
    draw: int = 0

    async def chat(self, prompt, **how):
        return (await self.sample(prompt, 1, **how))[0]

    async def sample(self, prompt, n, *, schema=None, temperature=None, **_):
        await asyncio.sleep(0)
        name = prompt.template.rpartition(".")[2]
        if schema is not None and "enum" in schema:
            name = "vote"
        self.asked.append(name)
        self.prompts.append(prompt)
        said = self.script[name]
        said = said.pop(0) if isinstance(said, list) else said(prompt) if callable(said) else said
        text = said if isinstance(said, str) else json.dumps(said)
        return [Answer(text.rstrip("~"), "length" if text.endswith("~") else "stop", 1, 1) for _ in range(n)]


#: What a model of good will says.
GOOD = {
    "transform": "Ann: The bridge is old. Bob: It is safe.",
    "instruct": lambda prompt: {
        "instructions": [
            {"instruction": "Who thinks the bridge is old?", "answer": "Ann"}
            if not prompt.fields["options"]
            else {"instruction": "What is it made of?", "options": MADE_OF[: prompt.fields["options"]], "answer": "A"}
        ]
    },
    "suggest": {"suggestions": ["Take out who says so."]},
    "edit_content": {"edits": [{"sentence": 1, "replacement": "Someone thinks so."}]},
    "edit_instruction": lambda prompt: (
        {"instruction": "Who thinks so, and why?", "answer": "Ann, by age"}
        | (
            {"options": [*"abcdefgh"][: len(prompt.fields["options"])], "answer": "B"}
            if prompt.fields["options"]
            else {}
        )
    ),
    "question": lambda prompt: "A. That is what it says." if prompt.fields["options"] else "It is Ann.",
    "vote": "A",
    "judge_unanswerable": {"answerable": False, "declines": True},
    "judge_changed_answer": {"same_answer": False},
    "follow_up": "And then?",
    "turn": "Then it closes.",
}


@pytest.fixture
def teach():
    """Runs a skill on a seed with a script that differs from that of a model of good will: items and the model."""

    def run(skill="reading_comprehension", *, text=TEXT, scale=(), seed="a", change=(), library=(), **script):
        llm = Scripted({**GOOD, **script})
        taxonomy = {skill: {**SKILLS[skill], **dict(change)}}
        row = {"id": seed, "skill": skill, "text": text, "kind": "text", "language": None}
        flow = taught(
            row,
            llm,
            PROMPTS,
            text_column="text",
            taxonomy=taxonomy,
            scale={**SCALE, **dict(scale)},
            library=[{"text": one, "kind": "code"} for one in library],
        )
        return asyncio.run(flow), llm

    return run


@pytest.fixture
def skills():
    return SKILLS
