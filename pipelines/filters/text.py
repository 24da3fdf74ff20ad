"""Reject rules for any short English text: length, contact details, questions, language.

A rule takes a table and the name of a string column and returns one boolean a row, True where the row is rejected:
``fewer_words(table, column="persona", than=3)``. Rules run compiled (pyarrow's regular expressions); no row becomes a
Python object. They read surface marks only and refuse to judge meaning; each says what it cannot see.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.errors import UserError

_EMAIL = r"[[:alnum:]._%+-]+ ?(?:@|\(at\)|\[at\]) ?[[:alnum:]-]+(?:\.[[:alnum:]-]+)+"
_URL = r"(?:https?://|ftp://|\bwww\.)[^\s]+|\b[a-z0-9-]+\.(?:com|org|edu|gov|co\.uk|info)\b"
#: Grouped, with a country code, ten digits in one run, or announced by a word; never a span of years.
_PHONE = (
    r"\+\d[\d ().-]{6,}\d"
    r"|\(\d{3}\) ?\d{3}[ .-]\d{4}"
    r"|\b\d{3}[ .-]\d{3}[ .-]\d{4}\b"
    r"|\b\d{10,13}\b"
    r"|\b(?:call|phone|tel|telephone|fax|mobile|whatsapp)(?:\.|:| at| me at)? ?\d{3}[\d ().-]{3,}"
)
_CONTACT = f"(?i:{_EMAIL}|{_URL}|{_PHONE})"

#: ``?`` and its Greek (U+037E), Arabic and full-width forms, then only closing marks.
_QUESTION = r"""[?？؟\x{37E}][\s"'”’»)\]*_.!]*$"""

#: Script of each language, as RE2 names it, and its commonest words that the others here do not share.
_LANGUAGES: dict[str, tuple[str, str]] = {
    "en": ("Latin", "the of and who whose to with is are for that his her their on from by or has i my at as"),
    "de": ("Latin", "der das ein eine einer eines und ist mit für von auf nicht im zu sich den dem aus bei"),
    "es": ("Latin", "el los las una que con para por y es del un su en se al como más sus"),
    "fr": ("Latin", "le les une et est qui dans pour avec du sur des un au aux ses en sa"),
    "it": ("Latin", "il gli che una di per della con nel degli delle del un sua lo alla si"),
    "pt": ("Latin", "uma os que com para um da dos das em não por na sua seu ao"),
    "nl": ("Latin", "een het van met voor op zijn die dat niet te bij aan naar uit"),
    "ru": ("Cyrillic", ""),
    "uk": ("Cyrillic", ""),
    "el": ("Greek", ""),
    "ar": ("Arabic", ""),
    "fa": ("Arabic", ""),
    "he": ("Hebrew", ""),
    "hi": ("Devanagari", ""),
    "th": ("Thai", ""),
    "ko": ("Hangul", ""),
    "zh": ("Han", ""),
    "ja": ("Han}\\p{Hiragana}\\p{Katakana", ""),
}


def strings(table: pa.Table, column: str) -> pa.Array:
    """The column as one array of strings.

    Raises:
        UserError: the table has no such column, or it does not hold text.
    """
    if column not in table.column_names:
        raise UserError(
            f"column {column!r} is to be read as text, but the rows have only {table.column_names}; name one of these"
        )
    values = table[column].combine_chunks()
    if pa.types.is_null(values.type):
        return values.cast(pa.string())
    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        raise UserError(f"column {column!r} is to be read as text, but it holds {values.type}; name a text column")
    return values


def matches(texts: pa.Array, pattern: str) -> pa.BooleanArray:
    """Whether each text matches an RE2 pattern somewhere; null texts do not."""
    return pc.fill_null(pc.match_substring_regex(texts, pattern), False)


def words(texts: pa.Array) -> pa.Array:
    """Number of words of each text, separated as by ``str.split``; 0 for null."""
    return _count(texts, r"[^\s\x0B\x1C-\x1F\x{85}\p{Z}]+")


def fewer_words(table: pa.Table, *, column: str, than: int) -> pa.BooleanArray:
    """Texts of fewer than ``than`` words; null and empty texts too, whatever ``than`` is.

    Scripts written without spaces count as one word: leave this rule out for Chinese, Japanese or Thai.
    """
    return pc.less(words(strings(table, column)), max(than, 1))


def more_words(table: pa.Table, *, column: str, than: int) -> pa.BooleanArray:
    """Texts of more than ``than`` words."""
    return pc.greater(words(strings(table, column)), than)


def contact(table: pa.Table, *, column: str) -> pa.BooleanArray:
    """Texts with an e-mail address, a web address or a telephone number in it.

    Telephone numbers of fewer than ten digits are seen only after a word such as "call" or a country code.
    """
    return matches(strings(table, column), _CONTACT)


def question(table: pa.Table, *, column: str) -> pa.BooleanArray:
    """Texts that end in a question mark; one inside the text (a song title, say) is no question."""
    return matches(strings(table, column), _QUESTION)


def foreign_language(table: pa.Table, *, column: str, languages: Sequence[str] = ("en",)) -> pa.BooleanArray:
    """Texts in none of ``languages`` (two-letter codes), by script first and then by common words.

    A text is foreign when under half of its letters are of an allowed script, or when it has at least two common
    words of a Latin-script language that is not allowed and more of them than of the allowed ones. So a foreign text
    of three or four words may pass, languages of one script other than Latin are not told apart, and Latin-script
    languages outside the table (Polish, Turkish, ...) pass as English.

    Raises:
        UserError: a language that this rule does not know.
    """
    unknown = sorted(set(languages) - set(_LANGUAGES))
    if unknown or not languages:
        raise UserError(f"languages={list(languages)}: know only {', '.join(_LANGUAGES)}; name one or more of these")
    texts = strings(table, column)
    scripts = "".join(f"\\p{{{script}}}" for script in sorted({_LANGUAGES[code][0] for code in languages}))
    other_letter = rf"[^{scripts}\P{{L}}]"
    foreign = _refine(matches(texts, other_letter), texts, lambda part: _mostly(part, other_letter))
    if any(_LANGUAGES[code][0] == "Latin" for code in languages):
        others = [code for code, (script, _) in _LANGUAGES.items() if script == "Latin" and code not in languages]
        some = pc.greater_equal(_count_words(texts, others), 2)
        foreign = pc.or_(foreign, _refine(some, texts, lambda part: _mostly_other_words(part, languages, others)))
    return foreign


def _refine(some: pa.BooleanArray, texts: pa.Array, judge: Callable[[pa.Array], pa.BooleanArray]) -> pa.BooleanArray:
    """``some`` where ``judge`` agrees: a cheap rule first, so that the dear one sees few texts."""
    return pc.replace_with_mask(some, some, judge(texts.filter(some)))


def _mostly(texts: pa.Array, other_letter: str) -> pa.BooleanArray:
    return pc.greater(pc.multiply(_count(texts, other_letter), 2), _count(texts, r"\p{L}"))


def _mostly_other_words(texts: pa.Array, languages: Sequence[str], others: Sequence[str]) -> pa.BooleanArray:
    ours = _count_words(texts, languages)
    theirs = [_count_words(texts, [code]) for code in others]
    most = pc.max_element_wise(*theirs)
    return pc.and_(pc.greater_equal(most, 2), pc.greater(most, ours))


def _count(texts: pa.Array, pattern: str) -> pa.Array:
    return pc.fill_null(pc.count_substring_regex(texts, pattern), 0).cast(pa.int64())


def _count_words(texts: pa.Array, languages: Sequence[str]) -> pa.Array:
    """How many of the commonest words of these languages each text holds."""
    common = sorted({word for code in languages for word in _LANGUAGES[code][1].split()})
    return _count(texts, rf"(?i)\b(?:{'|'.join(common)})\b") if common else pa.array([0] * len(texts), pa.int64())
