"""Words of a text in any script: where one is written without spaces, each of its letters counts as a word.

``words_of("It is 海边.")`` is ``["It", "is", "海", "边"]``.
"""

from __future__ import annotations

import re
import unicodedata

#: Chinese and Japanese, with their marks of repetition; Thai, Lao, Burmese and Khmer.
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
_WORD = re.compile(rf"(?=\w)[{UNSPACED}]|[^\W_{UNSPACED}]+")
_SPACED_LETTER = re.compile(rf"[^\W\d_{UNSPACED}]")
_UNSPACED_ANY = re.compile(rf"[{UNSPACED}]")
_UNSPACED_LETTER = re.compile(rf"(?=[^\W\d_])[{UNSPACED}]")


def words_of(text: str) -> list[str]:
    """Runs of letters and digits with their marks; of scripts that are written without spaces, each letter."""
    text = unicodedata.normalize("NFC", text)
    return [text[found.start() : found.end()] for found in _WORD.finditer(text if text.isascii() else _plain(text))]


def _plain(text: str) -> str:
    """A text of the same length with a letter for each mark above or below one, which a pattern takes for no letter."""
    return "".join("a" if unicodedata.category(one)[0] == "M" and not _UNSPACED_ANY.match(one) else one for one in text)


def spaced(text: str) -> bool:
    """Whether most letters of a text are of a script that puts spaces between words; False for one without letters."""
    return len(_SPACED_LETTER.findall(text)) > len(_UNSPACED_LETTER.findall(text))


def word_count(text: str) -> int:
    """How many words one would count: e-mail and 3.5 are one, and so is each letter of Chinese."""
    parts = (part for part in text.split() if any(map(str.isalnum, part)))
    return sum(len(_UNSPACED_LETTER.findall(part)) or 1 for part in parts)
