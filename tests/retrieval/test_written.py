"""Queries of a model in figures: length, words of the document, first words."""

import pyarrow as pa
import pytest

from pipelines.retrieval.written import written


class Rows:
    def __init__(self, *rows):
        self.rows = rows

    def batches(self, columns=None):
        schema = pa.schema([("query", pa.string()), ("document", pa.string())])
        yield from (pa.table([[one] for one in row], schema=schema) for row in self.rows)


def test_a_query_is_measured_beside_its_document():
    told = written(
        Rows(
            ("What is a lute?", "A lute has strings."),
            ("lute strings", "A LUTE has strings."),
            ("how is gut spun", "Viols."),
            ("what of it", None),
        )
    )
    assert told["queries"] == 4
    assert told["words"]["mean"] == pytest.approx((4 + 2 + 4 + 3) / 4)
    assert told["copied"]["mean"] == pytest.approx((2 / 4 + 1 + 0 + 0) / 4)
    assert told["begin"] == {"what": 0.5, "other": 0.25, "how": 0.25}
    # Student's t with three degrees of freedom, times the standard error of 4, 2, 4, 3.
    assert told["words"]["within"] == pytest.approx(3.1824 * 0.95743 / 2, abs=1e-3)


def test_one_query_tells_nothing_of_how_far_the_mean_may_be_off():
    assert written(Rows(("What is a lute?", "A lute.")))["words"] == {"mean": 4.0, "within": None}


def test_of_no_queries_all_is_nothing():
    nothing = {"mean": 0.0, "within": None}
    assert written(Rows()) == {"queries": 0, "words": nothing, "copied": nothing, "begin": {}}
