"""What a program can say against an instruction before anyone answers it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipelines.flows.agent_instruct.drafts import Draft
from pipelines.flows.agent_instruct.skill import Skill
from pipelines.flows.copies import copied
from pipelines.rows import Answer, Item

#: Words that point at a text which stands elsewhere.
_POINTS = re.compile(
    r"\b(?:the|this|that|given|above|following|provided) "
    r"(?:text|passage|paragraph|article|document|excerpt|snippet)\b(?!\s*:)"
    r"|\b(?:mentioned|described|stated|shown) (?:above|in the (?:text|passage))\b"
    r"|\baccording to the (?:text|passage|author)\b",
    re.IGNORECASE,
)
_LETTER = re.compile(
    r"^\W*(?P<lead>(?:the\s+)?(?:(?:right|correct|best)\s+)?(?:answer|option|choice)\b\W*(?:is\b\W*)?(?:option\b\W*)?)?"
    r"(?P<letter>[a-z])\b(?P<end>\s*(?:$|[^\w\s]))?",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Wrong:
    """A reason to reject, and more of it."""

    reason: str
    detail: str = ""


def no_of(item: Item) -> Wrong:
    """Why ``structured`` rejected an answer."""
    return Wrong(item.reason or "", item.detail)


def without_text(answer: Answer, detail: str = "") -> Wrong | None:
    """What is wrong with an answer that was cut, or that says nothing: ``cut_by_max_tokens``, ``empty_response``."""
    if answer.cut:
        return Wrong("cut_by_max_tokens", detail)
    return None if answer.text.strip() else Wrong("empty_response", detail)


def wrong_with(draft: Draft, skill: Skill, ask: str) -> Wrong | None:
    """What is wrong with an instruction, or nothing; ``ask`` is what its maker was asked for.

    Reasons: ``bad_options``, ``not_self_contained``, ``copied``, ``too_short``.
    """
    if len(re.findall(r"\w+", draft.instruction)) < 2:
        return Wrong("too_short")
    if draft.options:
        distinct = {option.casefold() for option in draft.options if option}
        if len(distinct) < len(draft.options):
            return Wrong("bad_options", "two options are the same, or one is empty")
    if skill.content == "hidden" and (found := _POINTS.search(draft.instruction)):
        return Wrong("not_self_contained", found[0])
    # A question has the words of its type; one that was copied also begins as the type is described ("questions ...").
    heads = [re.findall(r"\w+", text.lower())[:1] for text in (draft.instruction, ask)]
    if heads[0] == heads[1] and (source := copied(draft.instruction, {"what was asked": ask})):
        return Wrong("copied", source)
    return None


def letter_of(response: str, options: int) -> str | None:
    """The letter of the option that a response begins with; None where it begins with none of them.

    "The best answer is B" and "c) ..." do; the article of "A bridge is ..." is no letter.
    """
    found = _LETTER.match(response)
    if found is None or not (found["lead"] or found["end"] is not None or found["letter"] in "BCDEFGH"):
        return None
    named = found["letter"].upper()
    return named if ord(named) - ord("A") < options else None
