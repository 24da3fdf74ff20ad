"""Answers by a schema: what a program can read of them, whoever wrote them."""

from dataclasses import replace

import pytest

from pipelines.flows.structured import a_text, an_object, filled, structured
from pipelines.rows import Answer, Item

SCHEMA = an_object(name=a_text(5), score={"type": "number"})


def said(text, finish_reason="stop"):
    return structured(Answer(text, finish_reason, 1, 1), SCHEMA)


def test_a_value_by_its_schema():
    assert said(' {"name": "Ann", "score": 7}\n') == {"name": "Ann", "score": 7}


@pytest.mark.parametrize(
    ("text", "reason", "detail"),
    [
        ("I like it.", "unparsable", "Expecting value"),
        ('{"name": "Ann", "score": NaN}', "unparsable", "NaN is no JSON"),
        ('{"name": "Ann", "score": 1e999}', "unparsable", "1e999 is no JSON"),
        ('{"name": "Ann", "name": "Bob", "score": 1}', "unparsable", "'name' stands twice"),
        ("[" * 100_000, "unparsable", "nested too deeply"),
        ('{"name": "Annabel", "score": 1}', "off_schema", "$.name"),
        ('{"name": "Ann", "score": 1, "more": 1}', "off_schema", "more"),
    ],
)
def test_what_is_no_such_value_says_why(text, reason, detail):
    item = said(text)
    assert isinstance(item, Item) and item.reason == reason and detail in item.detail


def test_an_answer_that_was_cut_is_called_so():
    assert said('{"name": "An', "length").reason == "cut_by_max_tokens"


def test_lone_surrogates_become_what_can_be_stored():
    assert said(r'{"name": "A\ud800", "score": 1}')["name"] == "A?"


def test_a_text_as_long_as_its_schema_lets_it_be_was_cut():
    options = {"type": "array", "items": a_text(3)}
    schema = an_object(asked=a_text(5), options=options)
    assert filled({"asked": "Who?", "options": ["a", "bc"]}, schema) is None
    assert filled({"asked": "Who is", "options": []}, schema) == ".asked"
    assert filled({"asked": "Who?", "options": ["a", "bcd"]}, schema) == ".options[1]"
    assert filled({"asked": "Who?", "more": "whatever it is"}, schema) is None


def test_a_whole_number_is_an_int_where_the_schema_says_integer_however_it_is_written():
    edit = an_object(sentence={"type": "integer"}, share={"type": "number"}, text=a_text(9))
    schema = an_object(edits={"type": "array", "items": edit})
    answer = Answer('{"edits": [{"sentence": 7.0, "share": 2.0, "text": "7.0"}]}', "stop", 1, 1)
    [edit] = structured(answer, schema)["edits"]
    assert [(type(one), one) for one in edit.values()] == [(int, 7), (float, 2.0), (str, "7.0")]
    assert structured(replace(answer, text=answer.text.replace("7.0,", "7.5,")), schema).reason == "off_schema"
