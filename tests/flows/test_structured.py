"""What an answer that was to obey a schema says."""

import json

import pytest

from pipelines.flows.structured import a_text, an_object, structured
from pipelines.rows import Answer

EDITS = an_object(
    edits={"type": "array", "items": an_object(sentence={"type": "integer"}, share={"type": "number"}, text=a_text(9))}
)


def said(value, finish: str = "stop"):
    text = value if isinstance(value, str) else json.dumps(value)
    return structured(Answer(text, finish, 1, 1), EDITS)


def test_a_whole_number_is_an_int_where_the_schema_says_integer_however_it_is_written() -> None:
    assert said({"edits": []}) == {"edits": []}
    [edit] = said('{"edits": [{"sentence": 7.0, "share": 2.0, "text": "7.0"}]}')["edits"]
    assert [(type(one), one) for one in edit.values()] == [(int, 7), (float, 2.0), (str, "7.0")]


@pytest.mark.parametrize(
    ("text", "finish", "reason"),
    [
        ('{"edits": [{"sentence": 7.5, "share": 2, "text": "a"}]}', "stop", "off_schema"),
        ('{"edits": [{"sentence": 1e400, "share": 2, "text": "a"}]}', "stop", "off_schema"),
        ('{"edits": [{"sentence": true, "share": 2, "text": "a"}]}', "stop", "off_schema"),
        ('{"edits": [', "length", "cut_by_max_tokens"),
        ("no", "stop", "unparsable"),
    ],
)
def test_what_is_no_such_answer_is_rejected_by_name(text: str, finish: str, reason: str) -> None:
    assert said(text, finish).reason == reason
