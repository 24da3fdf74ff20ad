"""Rows as Python sees them."""

import pyarrow as pa
import pytest

from pipelines.rows import python_rows

FAR = pa.array([253_402_300_800_000], pa.timestamp("ms"))
TWICE = pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])


def test_rows_are_dictionaries():
    assert python_rows(pa.table({"id": ["a"], "n": [1]})) == [{"id": "a", "n": 1}]


@pytest.mark.parametrize(("odd", "shown"), [(FAR, "10000-01-01"), (TWICE, "1")])
def test_what_python_has_no_type_for_is_text_and_breaks_no_row(odd, shown):
    [row] = python_rows(pa.table({"id": ["a"], "odd": odd}))
    assert row["id"] == "a"
    assert isinstance(row["odd"], str) and shown in row["odd"]
