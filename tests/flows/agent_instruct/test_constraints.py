"""What a response can be held to by a program."""

import pytest

from pipelines.flows.agent_instruct.constraints import CONSTRAINTS, broken, draw, wording


@pytest.mark.parametrize(
    ("name", "value", "keeps", "breaks"),
    [
        ("upper_case", "", "ALL OF IT, 3 TIMES", "ALL of it"),
        ("lower_case", "", "all of it", "All of it"),
        ("title_case", "", "The Bridge is Made of Iron", "The bridge is Made of Iron"),
        ("without_letter", "e", "a road, a ship", "The road"),
        ("short_words", "6", "the old bridge", "the bridges"),
        ("at_most_words", "3", "one two three", "one two three four"),
        ("bullets", "", "- one\n\n- two", "- one\ntwo"),
        ("numbered", "", "1. one\n2. two", "1. one"),
        ("json_object", "", '{"a": 1}', 'Here: {"a": 1}'),
        ("bold", "", "a **b** c **d**", "a **b** c *d*"),
        ("italic", "", "a *b* c *d*", "a **b** c *d*"),
        ("iso_dates", "", "on 2020-01-05", "on January 5, 2020"),
        ("iso_dates", "", "in May 2020", "on 5/1/2020"),
        ("no_digits", "", "in [NUMBER]", "in 1901"),
        ("without_word", "bridge", "the bridges", "The Bridge is old"),
    ],
)
def test_examples(name: str, value: str, keeps: str, breaks: str) -> None:
    assert broken({name: value}, keeps) is None
    assert broken({name: value}, breaks) == name


def test_one_is_drawn_with_a_value_and_worded() -> None:
    for name in CONSTRAINTS:
        drawn = draw([name], "The bridge carries trains over the bridge.", "seed")
        assert drawn is not None and list(drawn) == [name]
        assert "{" not in wording(drawn) and wording(drawn).endswith(".")
    assert draw([], "text", "seed") is None and wording(None) == "" and broken(None, "text") is None


def test_the_draw_depends_on_what_it_is_by_alone() -> None:
    names = list(CONSTRAINTS)
    assert draw(names, "text", "a") == draw(names, "text", "a")
    assert len({str(draw(names, "text", seed)) for seed in range(40)}) > 5
