"""Documents that are too short to be asked of, queries that say too little or only repeat."""

import pyarrow as pa
import pytest

from pipelines.filters.queries import copied, fewer_chars, fewer_tokens


def test_title_and_text_count_together():
    table = pa.table({"title": ["Maps", None, ""], "text": ["12345", "1234567890", None]})
    assert fewer_chars(table, column="text", than=10).to_pylist() == [False, False, True]
    assert fewer_chars(table, column="text", than=11).to_pylist() == [True, True, True]
    assert fewer_chars(table.select(["text"]), column="text", than=6).to_pylist() == [True, False, True]


def test_tokens_of_a_query():
    table = pa.table({"tokens": pa.array([2, 3, None], pa.int64())})
    assert fewer_tokens(table, column="tokens", than=3).to_pylist() == [True, False, True]


@pytest.mark.parametrize(
    ("query", "is_copied"),
    [
        ("The weight of the AIR", True),
        ("weight, of the air?", True),
        ("weight of air", False),
        ("eight of the air", False),
        ("", False),
        (None, False),
    ],
)
def test_a_query_that_stands_in_its_document(query, is_copied):
    document = "Barometers measure the weight of the air."
    table = pa.table({"query": pa.array([query], pa.string()), "document": [document]})
    assert copied(table, query="query", document="document", enabled=True).to_pylist() == [is_copied]
    assert copied(table, query="query", document="document", enabled=False).to_pylist() == [False]
