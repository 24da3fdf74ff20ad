"""At most so many rows, the same ones in any order."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipelines.selection.most import most


class Rows:
    """Rows in two tables."""

    origin = ""

    def __init__(self, ids):
        self.ids = ids
        self.rows = len(ids)

    def batches(self, columns=None):
        half = len(self.ids) // 2
        for some in (self.ids[:half], self.ids[half:]):
            yield pa.table({"id": pa.array(some, pa.string())})

    def cut(self, rows):
        return [self]


def gone(ids, rows):
    [block] = most(Rows(ids), rows=rows, reason="over").blocks
    assert [ids[row] for row in block["row"].to_pylist()] == block["id"].to_pylist()
    assert set(block["reason"].to_pylist()) <= {"over"}
    return set(block["id"].to_pylist())


def test_what_earlier_rounds_kept_is_among_the_rows():
    ids = [str(number) for number in range(10)]
    for before, stay in ((0, 6), (4, 2), (6, 0), (9, 0)):
        found = most(Rows(ids), rows=6, reason="over", alike=[Rows(ids[:before])])
        assert len(ids) - found.stats["removed"] == stay


@given(st.lists(st.text(), unique=True, max_size=40), st.integers(0, 50), st.randoms())
def test_as_many_stay_as_asked_and_the_same_in_any_order(ids, rows, rng):
    first = gone(ids, rows)
    assert len(ids) - len(first) == min(rows, len(ids))
    shuffled = rng.sample(ids, len(ids))
    assert gone(shuffled, rows) == first


def test_none_is_no_limit_and_more_room_keeps_more():
    ids = [f"row{n}" for n in range(100)]
    assert gone(ids, None) == set()
    assert gone(ids, 60) < gone(ids, 30)
