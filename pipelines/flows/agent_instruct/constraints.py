"""What a response can be held to by a program (papers.md 2.5): case, letters, length, format, dates, redaction.

``{"without_letter": "e"}`` is worded for the instruction ("Do not use the letter e.") and tested on the response.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pipelines.flows.agent_instruct.drafts import drawn

_WORDS = re.compile(r"[^\W\d_]+")
_MONTH = "(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
_OTHER_DATE = re.compile(
    rf"\b\d{{1,2}}[./]\d{{1,2}}[./]\d{{2,4}}\b|\b{_MONTH}\.? \d{{1,2}}(?:st|nd|rd|th)?,? \d{{4}}\b"
    rf"|\b\d{{1,2}}(?:st|nd|rd|th)? {_MONTH}\.?,? \d{{4}}\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Constraint:
    """Its wording, with ``{value}`` in it, whether a response keeps to it, and the values it may be drawn with."""

    wording: str
    holds: Callable[[str, str], bool]
    values: Sequence[str] = ("",)


def _every_line(pattern: str) -> Callable[[str, str], bool]:
    def holds(text: str, value: str) -> bool:
        lines = [line for line in text.splitlines() if line.strip()]
        return len(lines) > 1 and all(re.match(pattern, line) for line in lines)

    return holds


def _is_object(text: str, value: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _title(text: str, value: str) -> bool:
    return all(word[0].isupper() for word in _WORDS.findall(re.sub(r"[’'][a-z]+\b", "", text)) if len(word) > 3)


#: By the names that taxonomies use. Texts without letters of two cases (Chinese, Arabic) keep to any case.
CONSTRAINTS: Mapping[str, Constraint] = {
    "upper_case": Constraint("Write all of it in upper case.", lambda text, value: text == text.upper()),
    "lower_case": Constraint("Write all of it in lower case.", lambda text, value: text == text.lower()),
    "title_case": Constraint("Begin every word of more than three letters with a capital.", _title),
    "without_letter": Constraint(
        "Do not use the letter {value} anywhere.",
        lambda text, value: value not in text.lower(),
        ("z", "x", "q", "j", "e"),
    ),
    "short_words": Constraint(
        "Use no word of more than {value} letters.",
        lambda text, value: all(len(word) <= int(value) for word in _WORDS.findall(text)),
        ("8", "10", "6"),
    ),
    "at_most_words": Constraint(
        "Use at most {value} words.", lambda text, value: len(text.split()) <= int(value), ("30", "50", "80")
    ),
    "bullets": Constraint('Give it as a list in which every line begins with "- ".', _every_line(r"- \S")),
    "numbered": Constraint('Give it as a list with numbered lines ("1. ", "2. ", ...).', _every_line(r"\d+\. \S")),
    "json_object": Constraint("Give it as one JSON object and nothing else.", _is_object),
    "bold": Constraint(
        "Set at least two important words in bold, as **word**.",
        lambda text, value: len(re.findall(r"\*\*[^*\n]+\*\*", text)) >= 2,
    ),
    "italic": Constraint(
        "Set at least two important words in italics, as *word*.",
        lambda text, value: len(re.findall(r"(?<!\*)\*[^*\n]+\*(?!\*)", text)) >= 2,
    ),
    "iso_dates": Constraint(
        "Write every full date as YYYY-MM-DD.", lambda text, value: _OTHER_DATE.search(text) is None
    ),
    "no_digits": Constraint(
        "Replace every number by [NUMBER].", lambda text, value: re.search(r"\d", text) is None and "[NUMBER]" in text
    ),
    "without_word": Constraint(
        'Do not use the word "{value}".',
        lambda text, value: re.search(rf"\b{re.escape(value)}\b", text, re.IGNORECASE) is None,
    ),
}


def draw(names: Sequence[str], text: str, *by: object) -> dict[str, str] | None:
    """One of the constraints ``names`` with a value, by lot; None where a type has none."""
    if not names:
        return None
    [name] = drawn(names, 1, *by)
    values = _common_words(text) if name == "without_word" else CONSTRAINTS[name].values
    return {name: drawn(values, 1, *by, name)[0]}


def _common_words(text: str) -> Sequence[str]:
    """The commonest long words of a text, which are what it is about."""
    counts = Counter(word.lower() for word in _WORDS.findall(text) if len(word) > 4)
    return [word for word, _ in counts.most_common(3)] or ["the"]


def wording(constraint: Mapping[str, str] | None) -> str:
    """The sentence that tells of a constraint; empty for none."""
    return " ".join(CONSTRAINTS[name].wording.format(value=value) for name, value in (constraint or {}).items())


def broken(constraint: Mapping[str, str] | None, response: str) -> str | None:
    """The name of the constraint that a response does not keep to; None where it keeps to all."""
    return next(
        (name for name, value in (constraint or {}).items() if not CONSTRAINTS[name].holds(response, value)), None
    )
