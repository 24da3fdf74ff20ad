"""Problems are kept with the answer that enough of several solutions agree on."""

import asyncio

import pytest

from pipelines.flows.persona_math import final_answer, solve
from pipelines.prompts import PromptSet
from pipelines.rows import Answer

PROMPTS = PromptSet("test", {"solution": "Solve {{ problem }}"})


class Scripted:
    """Gives the solutions it was made with."""

    def __init__(self, *texts):
        self.texts = texts

    async def sample(self, prompt, n):
        assert n == len(self.texts)
        return [Answer(text.rstrip("~"), "length" if text.endswith("~") else "stop", 1, 1) for text in self.texts]


def solved(*texts, row="a", **more):
    knobs = {"agreement": 2, "test_share": 0.0, "agreement_in_train": True, **more}
    flow = solve(
        {"id": row, "persona": "A baker", "task": "math", "text": "How many?"},
        Scripted(*texts),
        PROMPTS,
        solutions=len(texts),
        **knobs,
    )
    [item] = asyncio.run(flow)
    return item


def test_two_of_three_that_agree_are_enough():
    item = solved("Guess.\nAnswer: 7", "Well.\nAnswer: 42", "So.\nAnswer: 42.0")
    assert (item.reason, item.columns["answer"], item.columns["votes"]) == (None, "42", 2)
    assert item.columns["solution"] == "Well.\nAnswer: 42"
    assert item.answer.text == "Well.\nAnswer: 42"


def test_units_tell_answers_apart_and_may_be_left_out():
    item = solved("Answer: 5", "Answer: 5 hours", "Answer: 6")
    assert (item.columns["answer"], item.columns["votes"]) == ("5 hour", 2)
    assert solved("Answer: 5 hours", "Answer: 5 minutes", "Answer: 5 million").reason == "no_agreement"
    assert solved("Answer: 5", "Answer: 5 hours", "Answer: 5 minutes").reason == "no_agreement"
    assert solved("Answer: Tuesday", "Answer: Tuesday and Friday").reason == "no_agreement"


def test_no_agreement_and_no_answer_are_named():
    assert solved("Answer: 1", "Answer: 2", "Answer: 3").reason == "no_agreement"
    assert solved("I do not know.", "Hm.", "Answer: 4~").reason == "no_answer"


def test_the_train_split_may_be_left_as_the_paper_has_it_but_not_the_test_split():
    apart = ("Answer: 1", "Answer: 2")
    assert solved(*apart, agreement_in_train=False).columns["answer"] == "1"
    assert solved(*apart, agreement_in_train=False, test_share=1.0).reason == "no_agreement"


def test_a_share_of_the_problems_is_held_out():
    splits = [solved("Answer: 1", "Answer: 1", row=str(n), test_share=0.2).columns["split"] for n in range(500)]
    assert 60 < splits.count("test") < 140


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Answer: 1,200", "1200"),
        ("so the Answer is: **3/4** cups", "3/4 cup"),
        (r"\boxed{\frac{\sqrt{3}}{2}}", r"\frac{\sqrt{3}}{2}"),
        (r"\boxed{12", None),
        ("Answer: 50 percent", "50%"),
        ("Answer: 0.75", "3/4"),
        (r"thus \boxed{12}. Answer: see above", "12"),
        (r"\boxed{\frac{1}{2}}", "1/2"),
        (r"\boxed{\sqrt{2}}", r"\sqrt{2}"),
        (r"\boxed{2x}", "2x"),
        ("Answer: (2, 3)", "(2, 3)"),
        ("Answer: 50%", "50%"),
        ("Answer: CO2", "co2"),
        ("Answer: 1,200.0 metres per second", "1200 metre per second"),
        ("Answer: $-5.50", "-11/2"),
        ("Answer: Tuesday and  Friday", "tuesday and friday"),
        ("Answer: 1. Final answer: 9", "9"),
        ("Answer:", None),
        ("It is 9", None),
        ("Answer: 1/0", "1/0"),
    ],
)
def test_what_a_solution_comes_to_has_one_form(text, answer):
    assert final_answer(text) == answer
