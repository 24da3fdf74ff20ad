"""Whether a model gave back what it was shown instead of something of its own.

``copied("how far is the boat, she said", {"demonstration 1": "How far is the boat, he asked?"})`` compares runs of
words; a small model gives back a demonstration or its instruction, often with a word or two changed.
"""

from __future__ import annotations

from collections.abc import Mapping

from pipelines.flows.words import words_of

#: Words of a run that two texts share by chance only where they say the same.
_RUN = 4


def copied(text: str, sources: Mapping[str, str], *, share: float = 0.5) -> str | None:
    """The name of the first source that ``share`` of a text's runs of four words stand in; None where there is none.

    Case and punctuation do not count. Of a text of fewer words than a run, the whole is looked for.
    """
    words = words_of(text.lower())
    if not words:
        return None
    size = min(_RUN, len(words))
    own = _runs(words, size)
    found = (
        name for name, source in sources.items() if len(own & _runs(words_of(source.lower()), size)) >= share * len(own)
    )
    return next(found, None)


def _runs(words: list[str], size: int) -> set[tuple[str, ...]]:
    return {tuple(words[at : at + size]) for at in range(len(words) - size + 1)}
