"""Math problems with answers (papers.md 1.7): several solutions of each problem, kept where enough of them agree.

``solve`` turns ``{text: "A baker fills ...", persona: ...}`` into ``{text, solution, answer: "42", votes: 3, split:
"train"}``. A share of the problems is held out as the test split, for which agreement is always asked, as in the paper.
"""

from __future__ import annotations

import re
from fractions import Fraction

from pipelines.engine.llm import LLM
from pipelines.prompts import PromptSet
from pipelines.rows import Item, Row, digest, keep, reject

_ANSWER = re.compile(r"answer\s*(?:is)?\s*[:=]", re.IGNORECASE)
_BOXED = re.compile(r"\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
#: A number alone, with a currency before it or a unit in words after it: "2x", "(2, 3)", "50%" and "CO2" are none.
_NUMBER = re.compile(
    r"[$€£]?\s*(-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:\s*/\s*\d+)?)(?:\s+[a-z]+(?:\s+[a-z]+){0,3})?", re.IGNORECASE
)
_FRACTION = re.compile(r"\\[dt]?frac\s*\{(-?\d+)\}\s*\{(\d+)\}")


async def solve(
    row: Row,
    llm: LLM,
    prompts: PromptSet,
    *,
    solutions: int,
    agreement: int,
    test_share: float,
    agreement_in_train: bool,
) -> list[Item]:
    """A problem with the answer that most of ``solutions`` samples come to, and the first solution that comes to it.

    ``test_share`` of the problems, drawn by their ids, are the test split. Rejects: ``no_answer`` (no solution ends in
    one), ``no_agreement`` (fewer than ``agreement`` come to the same; in the train split only with
    ``agreement_in_train``).
    """
    split = "test" if int(digest("split", row["id"])[:13], 16) / 16**13 < test_share else "train"
    known = {"persona": row["persona"], "text": row["text"], "split": split}
    answers = await llm.sample(prompts.render("solution", trim="problem", problem=row["text"]), solutions)
    found = [(final_answer(one.text), one) for one in answers if not one.cut]
    votes: dict[str, int] = {}
    for answer, _ in found:
        if answer:
            votes[answer] = votes.get(answer, 0) + 1
    if not votes:
        return [reject("no_answer", answers[0], detail=f"none of {len(answers)} solutions ends in an answer", **known)]
    # Of several with as many votes, the one that came first.
    best = max(votes, key=lambda answer: votes[answer])
    chosen = next(one for answer, one in found if answer == best)
    made = {**known, "solution": chosen.text.strip(), "answer": best, "votes": votes[best]}
    if votes[best] < agreement and (split == "test" or agreement_in_train):
        return [reject("no_agreement", chosen, detail=f"{votes[best]} of {len(answers)} agree", **made)]
    return [keep(chosen, **made)]


def final_answer(text: str) -> str | None:
    r"""What a solution comes to, in one form: ``\boxed{...}``, or what follows the last "Answer:"; None for neither.

    A number, a unit in words after it or not, is written as the fraction that it is: 1,200.0 and 1200 metres are the
    same, and 0.5 and 1/2. Anything else is compared as it stands, but for case and spaces.
    """
    boxed, said = _BOXED.findall(text), [part.strip().partition("\n")[0] for part in _ANSWER.split(text)[1:]]
    found = (boxed or said or [""])[-1].replace("**", "").strip("*$`. ")
    if not found:
        return None
    if number := _NUMBER.fullmatch(_FRACTION.sub(r"\1/\2", found)):
        return _number(number[1])
    return " ".join(found.lower().split())


def _number(text: str) -> str:
    plain = text.replace(",", "").replace(" ", "")
    try:
        value = Fraction(plain)
    except (ValueError, ZeroDivisionError):
        return plain
    return str(value)
