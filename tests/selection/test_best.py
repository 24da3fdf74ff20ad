"""The best rows by a number: the same ones in any order, and none that is better than one that stays goes."""

import random

import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipelines.errors import UserError
from pipelines.selection.best import best


class Rows:
    """Rows in two tables."""

    def __init__(self, rows, kind=None):
        self.items, self.kind = rows, kind

    def batches(self, columns=None):
        half = len(self.items) // 2
        for some in (self.items[:half], self.items[half:]):
            ids, scores = [one[0] for one in some], [one[1] for one in some]
            yield pa.table({"id": pa.array(ids, pa.string()), "score": pa.array(scores, self.kind or pa.float64())})


def gone(rows, most):
    found = best(Rows(rows), column="score", rows=most, reason="lower_score")
    [block] = found.blocks
    assert [rows[place][0] for place in block["row"].to_pylist()] == block["id"].to_pylist()
    return set(block["id"].to_pylist())


SCORES = st.lists(st.one_of(st.none(), st.floats(-5, 0, allow_nan=False), st.just(-1.0)), max_size=30)


@given(SCORES, st.integers(1, 40), st.randoms(use_true_random=False))
def test_nothing_better_goes_than_what_stays(scores, most, chance: random.Random):
    assume(len(scores) <= most or any(score is not None for score in scores))
    rows = [(str(number), score) for number, score in enumerate(scores)]
    away = gone(rows, most)
    assert len(rows) - len(away) == min(most, len(rows))
    value = {id_: float("-inf") if score is None else score for id_, score in rows}
    stay = [value[id_] for id_ in value.keys() - away]
    assert not away or not stay or max(value[id_] for id_ in away) <= min(stay)
    mixed = rows[:]
    chance.shuffle(mixed)
    assert gone(mixed, most) == away


def test_without_a_number_all_stay():
    assert gone([("a", -1.0), ("b", None)], None) == set()


def test_a_column_that_holds_no_numbers_is_named():
    with pytest.raises(UserError, match="score: rows are to be picked by this column, and it holds string"):
        best(Rows([("a", "x")], pa.string()), column="score", rows=1, reason="lower_score")


def test_where_no_row_has_a_number_none_is_drawn_by_lot():
    """An endpoint that gives no log-probabilities would have queries picked by chance, in the name of their scores."""
    with pytest.raises(UserError, match="score: not one of 3 rows has a number"):
        gone([("a", None), ("b", None), ("c", None)], 2)
    assert gone([("a", None), ("b", None)], 2) == set()
