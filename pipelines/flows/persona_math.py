"""Math problems with answers (papers.md 1.7): several solutions of each problem, kept where enough of them agree.

``solve`` turns ``{text: "A baker fills ...", persona: ...}`` into ``{text, solution, answer: "42", votes: 3, split:
"train"}``. A share of the problems is held out as the test split, for which agreement is always asked, as in the paper.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

from pipelines.engine.llm import LLM
from pipelines.prompts import PromptSet
from pipelines.rows import Item, Row, digest, keep, reject

_ANSWER = re.compile(r"answer\s*(?:is)?\s*[:=]", re.IGNORECASE)
_BOXED = re.compile(r"\\boxed\s*\{")
#: A number alone, with a currency before it or a unit in words after it: "2x", "(2, 3)", "50%" and "CO2" are none.
_NUMBER = re.compile(
    r"[$€£]?\s*(-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:\s*/\s*\d+)?)((?:\s+[a-z]+){0,4})", re.IGNORECASE
)
_WITH_UNIT = re.compile(r"(-?\d+(?:/\d+)?) \D")
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
    known = {"persona": row["persona"], "task": row["task"], "text": row["text"], "split": split}
    answers = await llm.sample(prompts.render("solution", trim="problem", problem=row["text"]), solutions)
    found = [(final_answer(one.text), one) for one in answers if not one.cut]
    same = alike([answer for answer, _ in found if answer])
    votes = Counter(same[answer] for answer, _ in found if answer)
    if not votes:
        return [reject("no_answer", answers[0], detail=f"none of {len(answers)} solutions ends in an answer", **known)]
    # Of several with as many votes, the one that came first.
    best = max(votes, key=lambda answer: votes[answer])
    chosen = next(one for answer, one in found if answer and same[answer] == best)
    made = {**known, "solution": chosen.text.strip(), "answer": best, "votes": votes[best]}
    if votes[best] < agreement and (split == "test" or agreement_in_train):
        return [reject("no_agreement", chosen, detail=f"{votes[best]} of {len(answers)} agree", **made)]
    return [keep(chosen, **made)]


def final_answer(text: str) -> str | None:
    r"""What a solution comes to, in one form: ``\boxed{...}``, or what follows the last "Answer:"; None for neither.

    A number is written as the fraction that it is, its unit after it: 1,200.0 metres is "1200 metre", 0.5 is "1/2".
    Anything else is compared as it stands, but for case and spaces.
    """
    boxed, said = _boxed(text), [part.strip().partition("\n")[0] for part in _ANSWER.split(text)[1:]]
    found = (boxed or said or [""])[-1].replace("**", "").replace(" percent", "%").strip("*$`. ")
    if not found:
        return None
    if number := _NUMBER.fullmatch(_FRACTION.sub(r"\1/\2", found)):
        unit = [word[:-1] if len(word) > 3 and word.endswith("s") else word for word in number[2].lower().split()]
        return " ".join([_number(number[1]), *unit])
    return " ".join(found.lower().split())


def alike(answers: Sequence[str]) -> dict[str, str]:
    """What each answer counts as: a number without a unit as that with the unit, where others give it only one."""
    units: dict[str, set[str]] = {}
    for answer in answers:
        if number := _WITH_UNIT.match(answer):
            units.setdefault(number[1], set()).add(answer)
    return {answer: min(units[answer]) if len(units.get(answer, ())) == 1 else answer for answer in answers}


def _boxed(text: str) -> list[str]:
    """What stands in each box, braces in it balanced; a box that is never closed is none."""
    found = []
    for begin in (one.end() for one in _BOXED.finditer(text)):
        depth, at = 1, begin
        while depth and at < len(text):
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            at += 1
        found += [text[begin : at - 1]] if not depth else []
    return found


def _number(text: str) -> str:
    plain = text.replace(",", "").replace(" ", "")
    try:
        value = Fraction(plain)
    except (ValueError, ZeroDivisionError):
        return plain
    return str(value)
