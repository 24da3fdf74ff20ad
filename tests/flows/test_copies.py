"""What is a copy of what a model was shown, and what only has words in common with it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.flows.copies import copied

SHOWN = {
    "first": "A potter glazes vases in the shape of a cylinder 30 cm high and 12 cm wide, outside and bottom only.",
    "second": "Two ferries leave opposite banks of a river at the same time.",
}


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("TWO FERRIES leave opposite banks -- of a river -- at the same time!", "second"),
        ("A potter glazes bowls in the shape of a cylinder 30 cm high and 12 cm wide, inside only.", "first"),
        ("Two trains leave a station at the same time as a ferry; when does each of them come to the river?", None),
        ("opposite banks", "second"),
        ("", None),
        ("?!", None),
    ],
)
def test_examples(text: str, source: str | None) -> None:
    assert copied(text, SHOWN) == source


@given(st.text(alphabet="abc ", max_size=60), st.text(alphabet="abc ", max_size=20))
def test_a_text_with_a_word_is_a_copy_of_any_that_holds_it(text: str, around: str) -> None:
    assert copied(text, {"whole": f"{around} {text} {around}"}) == ("whole" if text.strip() else None)
