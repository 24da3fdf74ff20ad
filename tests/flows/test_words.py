"""Words of texts in scripts with and without spaces."""

import pytest

from pipelines.flows.words import spaced, word_count, words_of


@pytest.mark.parametrize(
    ("text", "words", "count"),
    [
        ("The old bridge - of 1901.", ["The", "old", "bridge", "of", "1901"], 5),
        ("an e-mail of 3.5 MB, isn't it?", ["an", "e", "mail", "of", "3", "5", "MB", "isn", "t", "it"], 7),
        ("海边的灯塔。", ["海", "边", "的", "灯", "塔"], 5),
        ("用Python写", ["用", "Python", "写"], 2),
        ("港のノート", ["港", "の", "ノ", "ー", "ト"], 5),
        ("오래된 다리", ["오래된", "다리"], 2),
        ("बूढ़ा आदमी", ["बूढ़ा", "आदमी"], 2),
        ("... — !", [], 0),
        ("", [], 0),
    ],
)
def test_words(text: str, words: list[str], count: int) -> None:
    assert words_of(text) == words
    assert word_count(text) == count


@pytest.mark.parametrize(
    ("text", "has_spaces"),
    [
        ("The bridge", True),
        ("Мост", True),
        ("मोर", True),
        ("海边的灯塔", False),
        ("灯塔 in 1901", False),
        ("1901", False),
        ("ประภาคาร", False),
    ],
)
def test_scripts_with_spaces(text: str, has_spaces: bool) -> None:
    assert spaced(text) is has_spaces
