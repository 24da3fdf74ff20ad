"""What a response can be held to by a program, and where that means something."""

import pytest

from pipelines.flows.agent_instruct.constraints import CONSTRAINTS, broken, draw, wording

CHINESE = "海边的灯塔由一位老人看守，他每天晚上点亮灯火，记录过往船只的名字。"
JAPANESE = "港の灯台守は毎晩あかりをともして、船の名前をノートに書きました。"
HINDI = "समुद्र के किनारे एक अस्पताल में हर रात दीपक जलता है।"
ENGLISH = "The bridge was opened on May 5, 1901 and carries exquisite trains over the bridge by the quay."


@pytest.mark.parametrize(
    ("name", "value", "response"),
    [
        ("upper_case", "", "ALL OF IT, 3 TIMES"),
        ("upper_case", "", "DIE STRAßE UND 5ª"),
        ("lower_case", "", "all of it, and ß"),
        ("title_case", "", "The Bridge is Made of Iron"),
        ("title_case", "", "Don't Touch a Well-known Bridge: It's 3rd of the 20th"),
        ("title_case", "", "See https://example.org/bridge or Write to me@example.org"),
        ("without_letter", "e", "a road, a ship"),
        ("short_words", "6", "the old bridge"),
        ("short_words", "6", "A well-known inn, at www.bridges-and-inns.org"),
        ("short_words", "6", "किनारे एक बूढ़ा"),
        ("at_most_words", "3", "one - two, three ..."),
        ("at_most_words", "3", "a 3.5-ton e-mail"),
        ("at_most_words", "4", "海边灯塔"),
        ("bullets", "", "- one\n\n- two"),
        ("bullets", "", "- one\r\n- two\r\n"),
        ("bullets", "", "- 海边\n- 灯塔"),
        ("numbered", "", "1. one\n2. two"),
        ("json_object", "", '{"a": 1}'),
        ("json_object", "", '\n{"a": {"b": [null]}}\n'),
        ("bold", "", "a **b** c **d**"),
        ("bold", "", "the **iron bridge** is old"),
        ("bold", "", "***b*** and **海边**"),
        ("italic", "", "a *b* c *d*"),
        ("italic", "", "* one *b*\n* and ***d***"),
        ("iso_dates", "", "on 2020-01-05."),
        ("iso_dates", "", "in May 2020, by version 1.2.30, open 24/7/365 at 10.10.10.10"),
        ("iso_dates", "", "maybe 5 2020 people; 1/2 of 2020/21"),
        ("no_digits", "", "in [NUMBER]"),
        ("without_word", "bridge", "the bridges and Bridgetown"),
        ("without_word", "किनारे", "समुद्र के किनार पर"),
    ],
)
def test_what_keeps_to_it(name: str, value: str, response: str) -> None:
    assert broken({name: value}, response) is None


@pytest.mark.parametrize(
    ("name", "value", "response"),
    [
        ("upper_case", "", "ALL of it"),
        ("upper_case", "", CHINESE),
        ("upper_case", "", "123"),
        ("lower_case", "", "All of it"),
        ("lower_case", "", CHINESE),
        ("title_case", "", "The bridge is Made of Iron"),
        ("title_case", "", "a b c d"),
        ("title_case", "", CHINESE),
        ("without_letter", "e", "The road"),
        ("without_letter", "e", "un été, né à Metz".upper()),
        ("without_letter", "e", CHINESE),
        ("short_words", "6", "the bridges"),
        ("short_words", "6", "समुद्रकिनारेबूढ़ा"),
        ("short_words", "6", CHINESE),
        ("at_most_words", "3", "one two three four"),
        ("at_most_words", "25", CHINESE),
        ("at_most_words", "20", JAPANESE),
        ("bullets", "", "- one\ntwo"),
        ("bullets", "", "- one"),
        ("bullets", "", "-one\n-two"),
        ("numbered", "", "1. one"),
        ("numbered", "", "1. one\n1. two"),
        ("numbered", "", "2. one\n3. two"),
        ("json_object", "", 'Here: {"a": 1}'),
        ("json_object", "", '```json\n{"a": 1}\n```'),
        ("json_object", "", "[1]"),
        ("json_object", "", "{}"),
        ("json_object", "", '{"a": NaN}'),
        ("json_object", "", '{"a": -Infinity}'),
        ("json_object", "", '{"a": ' + "[" * 100_000),
        ("json_object", "", '{"a": ' + "9" * 10_000 + "}"),
        ("bold", "", "a **b** c *d*"),
        ("bold", "", "2 ** 3 ** 4 ** 5"),
        ("italic", "", "a **b** c *d*"),
        ("italic", "", "2 * 3 * 4 * 5"),
        ("italic", "", "* one\n* two\n* three"),
        ("iso_dates", "", "on January 5, 2020"),
        ("iso_dates", "", "on the 5th of January 2020"),
        ("iso_dates", "", "on 5 Sept. 2020"),
        ("iso_dates", "", "on 5/1/2020"),
        ("iso_dates", "", "am 5. 1. 2020."),
        ("iso_dates", "", "on 05-01-2020"),
        ("iso_dates", "", "on 2020/01/05"),
        ("iso_dates", "", "on 2020-1-5"),
        ("iso_dates", "", "on 2020-31-12"),
        ("iso_dates", "", "2020年1月5日"),
        ("iso_dates", "", "2020년 1월 5일"),
        ("no_digits", "", "in 1901"),
        ("no_digits", "", "in ١٩٠١, not [NUMBER]"),
        ("no_digits", "", "in that year"),
        ("without_word", "bridge", "The Bridge is old"),
        ("without_word", "bridge", "the bridge's age"),
        ("without_word", "किनारे", "समुद्र के किनारे पर"),
    ],
)
def test_what_breaks_it(name: str, value: str, response: str) -> None:
    assert broken({name: value}, response) == name


#: What says nothing of how a text is written is asked of any.
ANY = {"bullets", "numbered", "json_object", "bold", "italic"}


@pytest.mark.parametrize(
    ("text", "besides"),
    [
        (ENGLISH, set(CONSTRAINTS) - ANY),
        (CHINESE, set()),
        (JAPANESE, set()),
        (f"{CHINESE}1901年5月5日", {"no_digits", "iso_dates"}),
        (f"{CHINESE}Excel, bridge", set()),
        (HINDI, {"at_most_words", "without_word"}),
        ("Мост был открыт давно", {"upper_case", "lower_case", "title_case", "at_most_words", "without_word"}),
        ("no cat sat on my mat", {"upper_case", "at_most_words"}),
        ("CAT 5", {"lower_case", "at_most_words", "no_digits"}),
        ("", set()),
    ],
)
def test_one_is_drawn_only_where_it_means_something(text: str, besides: set[str]) -> None:
    drawn = [draw(list(CONSTRAINTS), text, "seed", number) for number in range(400)]
    assert {name for one in drawn for name in one or {}} == ANY | besides
    assert draw(sorted(set(CONSTRAINTS) - ANY - besides), text, "seed") is None


def test_a_value_is_of_the_text() -> None:
    drawn = [
        draw(["without_letter", "without_word", "short_words"], "A bridge of iron.", number) for number in range(60)
    ]
    assert {tuple(one.items()) for one in drawn if one} == {
        (("without_letter", "e"),),
        (("without_word", "bridge"),),
    }


def test_one_is_drawn_with_a_value_and_worded() -> None:
    for name in CONSTRAINTS:
        drawn = draw([name], ENGLISH, "seed")
        assert drawn is not None and list(drawn) == [name]
        assert "{" not in wording(drawn) and wording(drawn).endswith(".")
        assert broken(drawn, f"{ENGLISH} {'So it was. ' * 30}") == name
    assert draw([], "text", "seed") is None and wording(None) == "" and broken(None, "text") is None


def test_the_draw_depends_on_what_it_is_by_alone() -> None:
    names = list(CONSTRAINTS)
    assert draw(names, ENGLISH, "a") == draw(names, ENGLISH, "a")
    assert len({str(draw(names, ENGLISH, seed)) for seed in range(40)}) > 5
