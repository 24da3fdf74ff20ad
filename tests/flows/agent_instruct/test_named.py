"""Whether a text speaks of a parameter or of an ability: by words, and by none that any sentence has."""

import pytest

from pipelines.flows.agent_instruct.named import can_be_named, says, speaks_of


@pytest.mark.parametrize(
    ("text", "name", "speaks"),
    [
        ("When does it start?", "start_date", True),
        ("Which dates?", "startDate", True),
        ("Which countries?", "country", True),
        ("Tell me more.", "start_date", False),
        ("Which id?", "id", True),
        ("Which ids?", "id", True),
        ("What did you do?", "id", False),
        ("Which user ID?", "userID", True),
        ("What is q?", "q", True),
        ("What is quick?", "q", False),
        ("Which `to`?", "to", True),
        ("I want to know more.", "to", False),
        ("I don't know it.", "t", False),
        ("请问哪个城市？", "城市", True),
        ("请问哪一天？", "城市", False),
        ("어느 도시를 원하세요?", "도시", True),
        ("Which value?", "value", True),
        ("", "id", False),
        ("Which?", "", False),
        ("Which?", "(", False),
    ],
)
def test_a_parameter_is_spoken_of_by_its_name(text, name, speaks):
    assert speaks_of(text, name) is speaks


def test_a_parameter_is_spoken_of_by_what_describes_it_and_it_alone():
    about = {
        "description": "The text to search for in the tide table.",
        "around": "find_tides: searches the tide table",
    }
    assert not speaks_of("Which tide table?", "q", **about)
    assert speaks_of("What shall I look for in the harbour?", "q", "words of a harbour", around="tides")
    assert not speaks_of("What would you like?", "q", "what you would like to have")


def test_a_parameter_is_not_spoken_of_by_what_another_has_as_well():
    assert not speaks_of("On which date does it end?", "start_date", others="end_date")
    assert speaks_of("On which date does it start?", "start_date", others="end_date")
    assert speaks_of("Which date?", "date", others="end_date")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("I cannot give you that for the tool.", False),
        ("I'm sorry, I do not have access to the data that you need.", False),
        ("I cannot get the stock.", False),
        ("I cannot look up tides.", True),
        ("get_data is missing.", True),
        ("There is no harbour information.", True),
        ("I cannot get data.", True),
    ],
)
def test_an_ability_is_named_by_a_word_that_tells_it_from_what_is_there(text, names):
    description = "Gets the data for the stock of tides in a harbour."
    assert speaks_of(text, "get_data", description, others="yarn_stock: Gives the stock of a shop") is names


def test_an_ability_in_chinese_is_named_by_two_characters_that_only_its_description_has():
    assert speaks_of("抱歉，我无法知道天气。", "get", "查询城市的天气", others="查询城市的人口")
    assert not speaks_of("抱歉，我无法查询城市。", "get", "查询城市的天气", others="查询城市的人口")


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        ("What did I do?", "id", False),
        ("The id is 7.", "id", True),
        ("The date on which I start is May 3.", "start_date", True),
        ("I start in May.", "start_date", False),
        ("Both harbours.", "harbour", True),
        ("I want to go.", "to", False),
        ("北京的城市人口", "城市", True),
    ],
)
def test_a_request_says_a_name_by_all_of_its_words(text, name, said):
    assert says(text, name) is said


def test_what_has_no_words_cannot_be_named():
    assert can_be_named("id", "") and can_be_named("to", "the harbour") and can_be_named("城市", "")
    assert not can_be_named("to", "") and not can_be_named("to", "what you would like")
