"""What a seed becomes: who declines, what is whole of a text that was cut, and how that shows."""

import pytest

from pipelines.flows.agent_instruct.transform import whole_sentences

POEM = {"transformers": {"poem": {"source": "ours", "ask": "a poem"}}, "router": {}}
TWO = {"transformers": {name: {"source": "ours", "ask": name} for name in ("poem", "debate")}, "router": {}}
SEED = "The bridge was built in 1901. It is made of iron."


def made(teach, *answers, change=POEM, **how):
    items, _ = teach(transform=list(answers), change=change, text=SEED, scale={"rounds": 0, "tries": 2}, **how)
    return items


@pytest.mark.parametrize(
    "answer",
    [
        "IRRELEVANT",
        "irrelevant.",
        " **Irrelevant** ",
        "IRRELEVANT: the text is about a bridge.",
        "IRRELEVANT. The text is about a bridge.",
        "IRRELEVANT\nThe text is about a bridge.",
        '"IRRELEVANT" - it is about a bridge.',
        "IRRELEVANT, since it is about~",
        "",
        SEED,
        f'"""\n{SEED.upper()}\n"""',
        "The bridge  was built\nin 1901. It is made of iron.",
        "The bridge was built in 1901. It is~",
    ],
)
def test_what_declines(teach, answer):
    assert {item.reason for item in made(teach, answer)} == {"declined"}


@pytest.mark.parametrize(
    "answer",
    [
        "IRRELEVANT FACTS ON BRIDGES: they are high.",
        "IRRELEVANT-looking bridges are high.",
        "Irrelevant: a satire on bridges.",
        "The bridge was built in 1901.",
        f"{SEED} It is red.",
    ],
)
def test_what_is_a_text(teach, answer):
    assert {item.columns["content"] for item in made(teach, answer)} == {answer}


def test_one_that_gives_back_the_seed_makes_way_for_the_next(teach):
    for item in made(teach, SEED, "O bridge!", change=TWO):
        assert item.columns["content"] == "O bridge!" and item.columns["cut"] is False
        assert len(item.columns["declined"]) == 1


def test_a_text_that_was_cut_goes_on_marked(teach):
    items = made(teach, "O bridge! You are made of~")
    assert {(item.columns["content"], item.columns["cut"]) for item in items} == {("O bridge!", True)}
    assert {item.columns["cut"] for item in made(teach, "O bridge! You are iron.")} == {False}


@pytest.mark.parametrize(
    ("cut", "whole"),
    [
        ("One. Two! Thr", "One. Two!"),
        ("He said: “One.” Then he", "He said: “One.”"),
        ("**One.** Tw", "**One.**"),
        ("It costs 3.5 or more. It co", "It costs 3.5 or more."),
        ("海边有灯塔。老人看守它。他每天", "海边有灯塔。老人看守它。"),
        ("彼は「行こう。」と言った。そして", "彼は「行こう。」と言った。"),
        ("एक आदमी था। वह", "एक आदमी था।"),
        ("1. Take a pan.\n2. Put it", "1. Take a pan."),
        ("1. Take a pan\n2. Put it on\n3. Wa", "1. Take a pan\n2. Put it on"),
        ("name,age\nAnn,31\nBob,4", "name,age\nAnn,31"),
        ("One. Two.", "One. Two."),
        ("no end", "no end"),
        ("\nno end", "no end"),
    ],
)
def test_what_is_whole_of_a_text_that_was_cut(cut, whole):
    assert whole_sentences(cut) == whole
