"""Code that is similar to some code, found by the rare words that both have (papers.md 2.6: the retrieval agent)."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

_WORD = re.compile(r"[A-Za-z]{3,}")


def words_of(text: str) -> frozenset[str]:
    """Words of a text, those inside identifiers too: ``getTideTable`` has get, tide and table."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
    return frozenset(word.lower() for word in _WORD.findall(spaced))


class Shelf:
    """Texts to look in, with how rare each of their words is among them."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts
        self._words = [words_of(text) for text in texts]
        counts = Counter(word for words in self._words for word in words)
        self._rarity = {word: math.log(len(texts) / count) for word, count in counts.items()}

    def nearest(self, query: str, besides: Sequence[str]) -> str | None:
        """The text that shares the rarest words with ``query``, none of ``besides``; None where none shares any.

        Longer texts share more by chance, so the sum is divided by the root of their number of words.
        """
        asked = words_of(query)
        best, highest = None, 0.0
        for text, words in zip(self._texts, self._words, strict=True):
            score = sum(self._rarity[word] for word in asked & words) / math.sqrt(len(words) or 1)
            if score > highest and text not in besides:
                best, highest = text, score
        return best


@lru_cache(maxsize=4)
def shelf_of(texts: tuple[str, ...]) -> Shelf:
    """The shelf of these texts; the rows of a shard share it."""
    return Shelf(texts)
