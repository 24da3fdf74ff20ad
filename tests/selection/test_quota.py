"""A population by a table of weights: within the tolerance, as many rows as fit, and a word where none do."""

import random
import re

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipelines.selection.quota import within

QUOTAS = {"region": {"north": 50, "south": 30, "west": 20}, "age": {"young": 1, "old": 3}}


class Rows:
    """Rows with their attributes, in one table."""

    origin = ""

    def __init__(self, rows):
        self.table = pa.table(
            {
                "id": pa.array([str(n) for n, _ in enumerate(rows)], pa.string()),
                "region": pa.array([row[0] for row in rows], pa.string()),
                "age": pa.array([row[1] for row in rows], pa.string()),
            }
        )
        self.rows = len(rows)

    def batches(self, columns=None):
        yield self.table

    def cut(self, rows):
        return [self]


def biased(count, seed, north=0.8, young=0.6):
    """What a model likes: mostly young northerners."""
    rng = random.Random(seed)
    regions = rng.choices(["north", "south", "west"], [north, (1 - north) * 0.7, (1 - north) * 0.3], k=count)
    return [(region, "young" if rng.random() < young else "old") for region in regions]


def decided(rows, kept=(), tolerance=0.01):
    return within(Rows(rows), quotas=QUOTAS, tolerance=tolerance, reason="over", kept=[Rows(one) for one in kept])


def stays(rows, kept=(), tolerance=0.01):
    found = decided(rows, kept, tolerance)
    gone = {row for block in found.blocks for row in block["row"].to_pylist()}
    return [row for place, row in enumerate(rows) if place not in gone]


def shares(rows):
    return {
        (at, value): sum(row[at] == value for row in rows) / len(rows)
        for at, table in enumerate(QUOTAS.values())
        for value in table
    }


WANTED = {(0, "north"): 0.5, (0, "south"): 0.3, (0, "west"): 0.2, (1, "young"): 0.25, (1, "old"): 0.75}


@given(st.integers(0, 1000), st.floats(0.3, 0.9), st.floats(0.1, 0.8))
def test_the_kept_rows_have_the_shares_of_the_table(seed, north, young):
    rows = biased(3000, seed, north, young)
    found = stays(rows)
    assert all(abs(shares(found)[key] - share) <= 0.01 for key, share in WANTED.items())
    # Near to as many as the scarcest value allows: several attributes together may allow fewer.
    scarce = min(sum(row[at] == value for row in rows) / WANTED[at, value] for at, value in WANTED)
    assert 0.5 * scarce <= len(found) <= 1.1 * scarce


def test_a_set_that_fits_stays_whole():
    rows = [("north", "old")] * 375 + [("north", "young")] * 125 + [("south", "old")] * 225
    rows += [("south", "young")] * 75 + [("west", "old")] * 150 + [("west", "young")] * 50
    assert len(stays(rows)) == 1000


def test_what_was_kept_before_counts():
    before = [("north", "old")] * 500
    found = stays(biased(4000, 3), kept=[before])
    assert all(abs(shares(before + found)[key] - share) <= 0.01 for key, share in WANTED.items())
    assert sum(row[0] == "north" for row in found) < 0.5 * len(found)


def test_a_later_round_of_which_no_row_fits_adds_none():
    before = stays(biased(2000, 3))
    assert stays([("north", "young")] * 40, kept=[before]) == []


def test_rows_without_values_stay_and_do_not_count():
    rows = [(None, None)] * 10 + biased(2000, 5)
    found = stays(rows)
    assert found[:10] == [(None, None)] * 10
    assert all(abs(shares(found[10:])[key] - share) <= 0.01 for key, share in WANTED.items())


def test_weights_that_cannot_be_met_are_named_with_how_much_is_missing():
    rows = [row for row in biased(1000, 7) if row[0] != "west"]
    assert stays(rows) == []
    assert re.search(r"region=west wants 20.0% and has 0 of .* rows, 0.0%", decided(rows).stats["unmet"])
    assert "unmet" not in decided(biased(1000, 7)).stats


def test_no_rows_are_no_trouble():
    assert stays([]) == []
