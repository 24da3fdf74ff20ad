"""Whether a text speaks of something by its words: of a parameter that it asks for, of an ability that it lacks.

``start_date`` and ``startDate`` are the words start and date, and "Which dates?" speaks of them: case and plural do not
count, parts of words do ("did" has no ``id``). Words that any English sentence has name nothing. Where a script puts no
spaces between words, a name is found as it is written, and a description by two characters in a row.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from pipelines.flows.words import UNSPACED

#: Scripts without spaces, and Korean, whose words have endings.
_JOINED = f"{UNSPACED}\uac00-\ud7a3"
_TOKEN = re.compile(rf"[{_JOINED}]+|[^\W_{_JOINED}]+")
_IS_JOINED = re.compile(rf"[{_JOINED}]")
_INNER_CAPITAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
#: "don't" is "do not"; other short forms lose their end.
_NOT, _SHORT = re.compile(r"n[’']t\b"), re.compile(r"[’'](?:s|re|ve|ll|d|m)\b")

#: Words of grammar. As a name (``to``, ``a``) they count only in marks: `to`.
_GRAMMAR = frozenset(
    """a about after again against all also am an and another any are as at be because been before being between both
    but by ca can cannot could did do does doing done during each either every few for from had has have having he
    hello her here hi him his how however i if in into is it its just least less let like many may me might mine more
    most much must my neither no nor not now of off ok okay on once only onto or other our out over own per please same
    shall she should since so some sorry such thank thanks than that the their them then there therefore these they
    this those through to too under unfortunately until up upon us very was we were what when where which while who
    whom whose why will with within without wo would yes you your""".split()
)
#: Words that descriptions of any API and refusals of anything have; they tell no ability.
_VAGUE = frozenset(
    """able ability accept access allow answer api argument array ask assist assistant available based boolean call
    capability capable certain contain current currently data default detail dictionary directly enable feature find
    float function functionality get give given handle help include information input integer item kind know lack list
    look make method missing need needed number object offer optional output parameter perform possible process provide
    provided question request require required respond result return say see show specific specified string support
    supported take task tell text thing tool type unable unavailable use used using valid value want way
    查询 获取 返回 用户 数据 信息 一个 可以 无法 不能 没有 这个 功能 接口 工具 使用 调用 提供 根据 进行""".split()
)


def speaks_of(text: str, name: str, description: str = "", *, others: str = "", around: str = "") -> bool:
    """Whether a text speaks of what has this name and description, by its name or by a word that tells it.

    A word tells it where it is none of grammar, none that any description has, and none of ``others``: names (and
    descriptions) of what could be meant instead. Words of the description must not be those of ``around`` either, to
    which it belongs. The whole name always counts.
    """
    said = _Said(text)
    if said.has_run(name):
        return True
    besides = set(_words(others))
    own = [word for word in _words(name) if word not in _GRAMMAR | _VAGUE]
    if len(own) > 1 and all(map(said.has, own)):
        return True
    telling = {*own, *_telling(description) - _telling(around)}
    return any(said.has(word) for word in telling if word not in besides | _telling(others))


def says(text: str, name: str) -> bool:
    """Whether every word of a name stands in a text, in any order: "the date on which I start" says ``start_date``."""
    said = _Said(text)
    own = [word for word in _words(name) if word not in _GRAMMAR]
    return all(map(said.has, own)) if own else said.has_run(name)


def can_be_named(name: str, description: str) -> bool:
    """Whether there are words to speak of it by; there are none for ``to`` without a description."""
    return any(word not in _GRAMMAR for word in _words(name)) or bool(_telling(description))


class _Said:
    """A text by its words, in their order."""

    def __init__(self, text: str) -> None:
        self._whole = _folded(text)
        self._words = _words(text)
        self._known = frozenset(self._words)

    def has(self, word: str) -> bool:
        """Whether it has a word; of scripts without spaces, anywhere."""
        return word in (self._whole if _IS_JOINED.match(word) else self._known)

    def has_run(self, name: str) -> bool:
        """Whether it has all the words of a name one after another; a name of grammar alone must stand in marks."""
        own = _words(name)
        if not own:
            return False
        if len(own) == 1:
            marked = re.search(rf"[`'\"“‘]{re.escape(_folded(name))}[`'\"”’]", self._whole)
            return marked is not None or (own[0] not in _GRAMMAR and self.has(own[0]))
        return any(self._words[at : at + len(own)] == own for at in range(len(self._words) - len(own) + 1))


def _telling(description: str) -> set[str]:
    """Words of a description that tell what it describes."""
    found = {
        word for word in _words(description) if len(word) > 2 and not word.isdigit() and not _IS_JOINED.match(word)
    }
    pairs = {run[at : at + 2] for run in _words(description) if _IS_JOINED.match(run) for at in range(len(run) - 1)}
    return (found | pairs) - _GRAMMAR - _VAGUE


def _words(text: str) -> list[str]:
    """Words of a text and of identifiers in it, in lower case and the singular."""
    spaced = _INNER_CAPITAL.sub(" ", unicodedata.normalize("NFKC", text))
    return [_singular(word) for word in _tokens(_SHORT.sub(" ", _NOT.sub(" not", spaced)))]


def _tokens(text: str) -> Iterator[str]:
    for found in _TOKEN.finditer(text):
        yield found[0].casefold()


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _singular(word: str) -> str:
    """``countries`` as country, ``boxes`` as box, ``ids`` as id."""
    if word in _GRAMMAR or len(word) < 3 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies") and len(word) > 4:
        return f"{word[:-3]}y"
    return word[:-2] if word.endswith(("ches", "shes", "sses", "xes", "zes")) else word[:-1]
