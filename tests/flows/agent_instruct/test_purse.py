"""A seed's tokens: answers are cut when they are spent, and in the same place whatever comes first."""

import asyncio
import random

from pipelines.flows.agent_instruct.purse import Purse
from pipelines.prompts import PromptSet
from pipelines.rows import Answer

PROMPTS = PromptSet("p", {"say": "Say {{ what }}."})


class Wordy:
    """Takes as many tokens as it may, and different times."""

    draw = 3

    def __init__(self, longest=10):
        self.longest = longest
        self.said = []

    async def sample(self, prompt, n, *, max_tokens=None, **how):
        await asyncio.sleep(random.random() / 500)
        tokens = max_tokens or self.longest
        self.said.append((prompt.fields["what"], n, tokens))
        return [Answer("x", "stop", 1, tokens) for _ in range(n)]


def ask(purse, what, n=1, **how):
    return purse.sample(PROMPTS.render("say", what=what), n, **how)


def test_what_goes_beyond_is_cut():
    async def flow():
        purse = Purse(llm, 35, 10)
        for what in "abcdef":
            await ask(purse, what)
        return purse.draw

    llm = Wordy()
    assert asyncio.run(flow()) == 3
    assert [tokens for _, _, tokens in llm.said] == [10, 10, 10, 5, 1, 1]


def test_samples_share_what_is_left_and_a_call_may_ask_for_less():
    async def flow():
        purse = Purse(llm, 30, 10)
        await ask(purse, "a", max_tokens=4)
        await ask(purse, "b", 4)
        await purse.chat(PROMPTS.render("say", what="c"), max_tokens=8)

    llm = Wordy()
    asyncio.run(flow())
    assert llm.said == [("a", 1, 4), ("b", 4, 6), ("c", 1, 2)]


def test_of_several_asked_at_once_the_same_are_cut_each_time():
    async def twice(purse, what):
        await ask(purse, what)
        await ask(purse, what.upper())

    async def flow(llm):
        purse = Purse(llm, 45, 10)
        await asyncio.gather(*(twice(purse, what) for what in "abc"))
        return llm.said

    runs = [asyncio.run(flow(Wordy())) for _ in range(10)]
    assert all(one == runs[0] for one in runs)
    assert [what for what, _, tokens in runs[0] if tokens < 10] == ["B", "C"]
