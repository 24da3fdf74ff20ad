"""One seed that one skill took up: what its steps share, and how they ask a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.engine.llm import LLM
from pipelines.flows.agent_instruct.drafts import Draft
from pipelines.flows.agent_instruct.skill import Skill
from pipelines.flows.structured import Schema
from pipelines.prompts import Message, PromptSet
from pipelines.rows import Answer, Row

#: Characters that a token of an answer has at the least, on average, in English: what a schema may ask for by these.
CHARS_PER_TOKEN = 2.5


@dataclass(frozen=True)
class Scale:
    """How much is made of a seed.

    Attributes:
        types: types of instruction that are asked for; ``instructions``: how many of each, at most.
        tries: transformers that are drawn, at most, where one declines.
        rounds: of refinement; ``goals``: how many of the skill's goals in each; ``suggestions``: for each goal.
        votes: answers to a question with options, of which more than half must agree.
        turns: user turns of a conversation; ``follow_ups``: user turns after the response of any other skill.
        max_tokens: longest answer of a call, in tokens.
        temperatures: by step: transform, instruct, suggest, edit, respond, judge.
        tokens: that a seed may generate, all answers together; None for no bound.
    """

    types: int
    instructions: int
    tries: int
    rounds: int
    goals: int
    suggestions: int
    votes: int
    turns: int
    follow_ups: int
    max_tokens: int
    temperatures: Mapping[str, float]
    tokens: int | None = None


@dataclass(frozen=True)
class Lesson:
    """A seed (its text in the column ``text``), a skill, and who answers; ``library``: texts of other seeds."""

    row: Row
    skill: Skill
    scale: Scale
    llm: LLM
    prompts: PromptSet
    library: tuple[str, ...] = ()

    async def ask(self, step: str, template: str, /, *, schema: Schema | None = None, **fields: Any) -> Answer:
        """One answer to a prompt of the skill, at the temperature of ``step``."""
        return (await self.samples(step, template, 1, schema=schema, **fields))[0]

    async def samples(
        self, step: str, template: str, count: int, /, *, schema: Schema | None = None, **fields: Any
    ) -> list[Answer]:
        """``count`` answers to a prompt of the skill."""
        prompt = self.skill.render(self.prompts, template, **fields)
        return await self.llm.sample(prompt, count, schema=schema, temperature=self.scale.temperatures[step])

    async def say(self, said: str, history: Sequence[Message], *, schema: Schema | None = None) -> Answer:
        """The assistant's answer to the next user turn after ``history``; nothing of either is cut.

        Raises:
            PromptTooLong: the conversation does not fit.
        """
        before = tuple(turn for turn in history if turn[0] != "system")  # the prompt set has it
        prompt = self.prompts.render("turn", history=before, said=said)
        return await self.llm.chat(prompt, schema=schema, temperature=self.scale.temperatures["respond"])

    async def user_after(self, messages: Sequence[Message]) -> Answer:
        """What a user, whom the model plays, says next; of a conversation that is too long, the first turn is cut.

        Raises:
            PromptTooLong: the turns after the first do not fit.
        """
        first, *later = (f"{role}: {text}" for role, text in messages if role != "system")
        return await self.ask("suggest", "follow_up", content=first, later="\n\n".join(later))

    def judge_of(self, draft: Draft) -> str | None:
        """The verdict that the goal of a refined draft asks for; None for none, and for a first draft."""
        return self.skill.refiners[draft.goal].judge if draft.goal else None

    def characters(self, share: float) -> int:
        """Characters that ``share`` of the longest answer holds, for the lengths of a schema."""
        return max(16, int(share * CHARS_PER_TOKEN * self.scale.max_tokens))

    def lot(self, *what: object) -> tuple[object, ...]:
        """What a draw is by: the seed, the skill, how often the seed was taken up, and what is drawn."""
        return (self.row["id"], self.skill.name, self.llm.draw, *what)
