"""What a program can say against an instruction before anyone answers it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipelines.flows.agent_instruct.drafts import Draft
from pipelines.flows.agent_instruct.skill import Skill
from pipelines.flows.copies import copied
from pipelines.flows.words import words_of
from pipelines.refusals import DECLINED
from pipelines.rows import Answer, Item

#: Words that point at a text which stands elsewhere: in English (also within Chinese), in Chinese, in Japanese.
_POINTS = re.compile(
    r"\b(?:the|this|that|given|above|following|provided) "
    r"(?P<noun>text|passage|paragraph|article|document|excerpt|snippet)\b"
    r"|\b(?:mentioned|described|stated|shown) (?:above|in the (?:text|passage))\b"
    r"|\baccording to the (?:text|passage|author)\b"
    r"|(?:[这這]|上述的?|[上下]面的?|以[上下]的?|所?[给給]定?的?)[段篇个個]?(?P<zh>文本|文章|段落|短文|段文字|段[话話])"
    r"|[根依][据據](?:上文|本文|原文|文章|文本|短文|段落|[课課]文)|(?:文[章中]|上文)[所中]?(?:提到|提及|描述|所述|指出|[说說]的)"
    r"|(?:この|[上下次]の|[上下]記の|以[上下]の|前述の)(?P<ja>文章|本文|テキスト|段落|記事|文書)"
    r"|(?:本文|文章)(?:によ[るれ]|に基づ|[中内]?[でに](?:述べ|書か|言及))",
    re.IGNORECASE | re.ASCII,
)
#: What follows such words where the text is in the instruction itself.
_GIVES = re.compile(r"\s*[:：]|[^.?!。？！]*[:：](?:\s*[\"'“‘「『]|\s*\n|(?:\s*\w+[^\w\n]+){8})")
_DECLINED = re.compile(DECLINED, re.IGNORECASE)
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


def refused(answer: Answer) -> Wrong | None:
    """``refused``: an answer that opens with a refusal ("I'm sorry, but I cannot help with that")."""
    return Wrong("refused") if _DECLINED.match(answer.text) else None


def wrong_with(draft: Draft, skill: Skill, ask: str) -> Wrong | None:
    """What is wrong with an instruction, or nothing; ``ask`` is what its maker was asked for.

    Reasons: ``bad_options``, ``not_self_contained``, ``copied``, ``too_short``.
    """
    if len(words_of(draft.instruction)) < 2:
        return Wrong("too_short")
    if draft.options:
        distinct = {option.casefold() for option in draft.options if option}
        if len(distinct) < len(draft.options):
            return Wrong("bad_options", "two options are the same, or one is empty")
    if skill.content == "hidden" and (words := _pointing(draft.instruction)):
        return Wrong("not_self_contained", words)
    # A question has the words of its type; one that was copied also begins as the type is described ("questions ...").
    heads = [words_of(text.lower())[:1] for text in (draft.instruction, ask)]
    if heads[0] == heads[1] and (source := copied(draft.instruction, {"what was asked": ask})):
        return Wrong("copied", source)
    return None


def _pointing(instruction: str) -> str | None:
    """The words by which an instruction points at a text that it neither gives nor asks for."""
    for found in _POINTS.finditer(instruction):
        before, noun = instruction[: found.start()], found["noun"]
        named = found["zh"] or found["ja"]
        asked = re.search(rf"\ban?\b[^.?!]*\b{noun}\b", before, re.IGNORECASE) if noun else named and named in before
        if not asked and not _GIVES.match(instruction, found.end()):
            return found[0]
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
