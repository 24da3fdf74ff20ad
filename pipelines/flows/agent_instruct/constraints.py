"""What a response can be held to by a program (papers.md 2.5): case, letters, length, format, dates, redaction.

``{"without_letter": "e"}`` is worded for the instruction ("Do not use the letter e.") and tested on the response. One
is drawn only where it means something: no capitals are asked of Chinese, and no numbers hidden where there are none.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from pipelines.flows.agent_instruct.drafts import drawn
from pipelines.flows.structured import read_json
from pipelines.flows.words import spaced, word_count, words_of

_ADDRESS = re.compile(r"\S+(?:://|@)\S+|\bwww\.\S+")
#: The rest of "don't" and of "well-known".
_TAIL = re.compile(r"(?<=\w)[’'-]\w+")
_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?)"
)
_DAY = r"(?:0?[1-9]|[12]\d|3[01])"
#: Full dates of other forms than 2020-01-05: by numbers, in English, in Chinese, Japanese and Korean.
_OTHER_DATE = re.compile(
    rf"(?<![\d.,/-])(?:{_DAY}/{_DAY}/(?:[12]\d)?\d\d(?![\d/])|{_DAY}\. ?{_DAY}\. ?[12]\d{{3}}(?!\d|\.\d))"
    rf"|(?<![\d.,/-])(?:{_DAY}-{_DAY}-[12]\d{{3}}|[12]\d{{3}}-(?:\d-\d\d?|\d\d-\d))(?![\d-])"
    rf"|(?<![\d.,/-])[12]\d{{3}}([./]){_DAY}\1{_DAY}(?![\d/]|\.\d)"
    rf"|\b{_MONTH}\.? {_DAY}(?:st|nd|rd|th)?,? [12]\d{{3}}\b"
    rf"|\b{_DAY}(?:st|nd|rd|th)?(?: of)? {_MONTH}\.?,? [12]\d{{3}}\b"
    r"|\d{4} ?[年년] ?\d{1,2} ?[月월] ?\d{1,2} ?[日号號일]",
    re.IGNORECASE,
)
_ISO_DATE = re.compile(r"(?<![\d-])\d{4}-\d\d-\d\d(?![\d-])")


@dataclass(frozen=True)
class Constraint:
    """What a response is held to.

    Attributes:
        wording: the sentence that an instruction ends with, ``{value}`` in it.
        holds: whether a response keeps to it at a value; one that says nothing on it (no capitals in Chinese) does not.
        values: those that mean something for a text; none where the constraint means nothing for it.
    """

    wording: str
    holds: Callable[[str, str], bool]
    values: Callable[[str], Sequence[str]] = lambda text: ("",)


def _where(suits: Callable[[str], bool]) -> Callable[[str], Sequence[str]]:
    """One value, which says nothing, for the texts that a constraint suits."""
    return lambda text: ("",) if suits(text) else ()


def _cases(text: str) -> tuple[int, int]:
    """How many letters are capitals, and how many are small ones of which there is a capital: ß is neither."""
    return sum(one != one.lower() for one in text), sum(len(one.upper()) == 1 and one != one.upper() for one in text)


def _cased(text: str) -> bool:
    return 2 * sum(_cases(text)) > sum(map(str.isalpha, text))


def _is_upper(text: str, value: str) -> bool:
    upper, lower = _cases(text)
    return lower == 0 < upper


def _is_lower(text: str, value: str) -> bool:
    upper, lower = _cases(text)
    return upper == 0 < lower


def _small_heads(text: str) -> bool:
    """Whether a word of more than three letters begins with a small one; of well-known, the first part counts."""
    words = words_of(_TAIL.sub("", _ADDRESS.sub("", text)))
    return any(len(word) > 3 and _cases(word[0])[1] for word in words)


def _letters(text: str) -> str:
    """A text's letters as the alphabet has them: é is an e."""
    return unicodedata.normalize("NFKD", text).lower()


def _latin(text: str) -> bool:
    return 2 * len(re.findall("[a-z]", _letters(text))) > sum(map(str.isalpha, text))


def _lacks_letter(text: str, value: str) -> bool:
    return value not in _letters(text) and re.search("[a-z]", _letters(text)) is not None


def _length(word: str) -> int:
    """Letters of a word, without the marks on them."""
    return sum(map(str.isalpha, word))


def _longest(text: str) -> int:
    """Letters of the longest word; addresses are no words."""
    return max(map(_length, words_of(_ADDRESS.sub("", text))), default=0)


def _has_short_words(text: str, value: str) -> bool:
    return spaced(text) and _longest(text) <= int(value)


def _common_words(text: str) -> Sequence[str]:
    """The commonest long words of a text, which are what it is about."""
    counts = Counter(word.lower() for word in words_of(text) if _length(word) > 4 and not re.search(r"\d", word))
    return [word for word, _ in counts.most_common(3)] if spaced(text) else ()


def _lacks_word(text: str, value: str) -> bool:
    return value.casefold() not in map(str.casefold, words_of(text))


def _lines(text: str) -> list[str]:
    return [line for line in re.split(r"[\r\n]+", text) if line.strip()]


def _is_bulleted(text: str, value: str) -> bool:
    return len(_lines(text)) > 1 and all(re.match(r"- \S", line) for line in _lines(text))


def _is_numbered(text: str, value: str) -> bool:
    lines = _lines(text)
    return len(lines) > 1 and all(re.match(rf"{number}\. \S", line) for number, line in enumerate(lines, 1))


def _is_object(text: str, value: str) -> bool:
    try:
        found = read_json(text)
    except ValueError:
        return False
    return isinstance(found, dict) and bool(found)


def _marked(marks: str) -> Callable[[str, str], bool]:
    """Whether two words at least stand between ``marks``, in one place or in two; spaces inside make no mark."""
    span = re.compile(rf"(?<!\*)({marks})(?=[^\s*])([^*\n]+)(?<!\s)\1(?!\*)")
    return lambda text, value: sum(len(found[2].split()) for found in span.finditer(text)) >= 2


def _has_iso_dates_only(text: str, value: str) -> bool:
    try:
        any(date.fromisoformat(found) is None for found in _ISO_DATE.findall(text))
    except ValueError:
        return False
    return _OTHER_DATE.search(text) is None


#: By the names that taxonomies use.
CONSTRAINTS: Mapping[str, Constraint] = {
    "upper_case": Constraint(
        "Write all of it in upper case.", _is_upper, _where(lambda text: _cased(text) and not _is_upper(text, ""))
    ),
    "lower_case": Constraint(
        "Write all of it in lower case.", _is_lower, _where(lambda text: _cased(text) and not _is_lower(text, ""))
    ),
    "title_case": Constraint(
        "Begin every word of more than three letters with a capital.",
        lambda text, value: _cases(text)[0] > 0 and not _small_heads(text),
        _where(lambda text: _cased(text) and _small_heads(text)),
    ),
    "without_letter": Constraint(
        "Do not use the letter {value} anywhere.",
        _lacks_letter,
        lambda text: [one for one in "zxqje" if one in _letters(text)] if _latin(text) else (),
    ),
    "short_words": Constraint(
        "Use no word of more than {value} letters.",
        _has_short_words,
        lambda text: [most for most in ("8", "10", "6") if int(most) < _longest(text)] if spaced(text) else (),
    ),
    "at_most_words": Constraint(
        "Use at most {value} words.",
        lambda text, value: word_count(text) <= int(value),
        lambda text: ("30", "50", "80") if spaced(text) else (),
    ),
    "bullets": Constraint('Give it as a list in which every line begins with "- ".', _is_bulleted),
    "numbered": Constraint('Give it as a list with numbered lines ("1. ", "2. ", ...).', _is_numbered),
    "json_object": Constraint("Give it as one JSON object and nothing else.", _is_object),
    "bold": Constraint("Set at least two important words in bold, as **word**.", _marked(r"\*{2,3}")),
    "italic": Constraint("Set at least two important words in italics, as *word*.", _marked(r"\*|\*{3}")),
    "iso_dates": Constraint(
        "Write every full date as YYYY-MM-DD.",
        _has_iso_dates_only,
        _where(lambda text: _OTHER_DATE.search(text) is not None),
    ),
    "no_digits": Constraint(
        "Replace every number by [NUMBER].",
        lambda text, value: re.search(r"\d", text) is None and "[NUMBER]" in text,
        _where(lambda text: re.search(r"\d", text) is not None),
    ),
    "without_word": Constraint('Do not use the word "{value}".', _lacks_word, _common_words),
}


def draw(names: Sequence[str], text: str, *by: object) -> dict[str, str] | None:
    """One of the constraints ``names`` that mean something for a text, with a value, by lot; None where none does."""
    values = {name: CONSTRAINTS[name].values(text) for name in names}
    suited = [name for name in names if values[name]]
    if not suited:
        return None
    [name] = drawn(suited, 1, *by)
    return {name: drawn(values[name], 1, *by, name)[0]}


def wording(constraint: Mapping[str, str] | None) -> str:
    """The sentence that tells of a constraint; empty for none."""
    return " ".join(CONSTRAINTS[name].wording.format(value=value) for name, value in (constraint or {}).items())


def broken(constraint: Mapping[str, str] | None, response: str) -> str | None:
    """The name of the constraint that a response does not keep to; None where it keeps to all."""
    return next(
        (name for name, value in (constraint or {}).items() if not CONSTRAINTS[name].holds(response, value)), None
    )
