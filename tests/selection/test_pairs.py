"""Pairs of texts at given likenesses: near their level, no text twice, and found again among themselves."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.dedup.vectors.encoder import simulated
from pipelines.errors import RunStopped
from pipelines.selection.pairs import SPARE, WIDTH, paired, pairs_at

LEVELS = [0.3, 0.6, 0.9]


def vectors(count, seed, dimensions=4):
    """Directions of few dimensions, so that all likenesses are there."""
    found = np.random.default_rng(seed).normal(size=(count, dimensions)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


@given(st.integers(0, 10_000), st.integers(2, 300), st.integers(1, 20))
def test_a_pair_is_near_its_level_and_no_text_is_in_two(seed, count, most):
    some = vectors(count, seed)
    found = pairs_at(some, LEVELS, most)
    places = [place for pair in found for place in (pair.left, pair.right)]
    assert len(places) == len(set(places))
    assert all(abs(some[pair.left] @ some[pair.right] - pair.level) <= WIDTH + 1e-6 for pair in found)
    assert all(sum(pair.level == level for pair in found) <= most for level in LEVELS)


@given(st.integers(0, 10_000), st.integers(2, 100))
def test_among_the_paired_texts_alone_the_same_pairs_are_found(seed, count):
    some, most = vectors(count, seed), count * count // SPARE + 1  # no candidate is left out
    found = pairs_at(some, LEVELS, most)
    kept = sorted(place for pair in found for place in (pair.left, pair.right))
    again = pairs_at(some[kept], LEVELS, most)
    assert {(pair.level, kept[pair.left], kept[pair.right]) for pair in again} == set(found)


def test_many_rows_are_compared_in_blocks_to_the_same_pairs(monkeypatch):
    some = vectors(500, 1)
    whole = pairs_at(some, LEVELS, 10)
    monkeypatch.setattr("pipelines.selection.pairs.BLOCK", 64)
    assert pairs_at(some, LEVELS, 10) == whole


class Texts:
    """Rows of ids and texts, in one table."""

    origin = ""

    def __init__(self, rows):
        self.table = pa.table({"id": [row for row, _ in rows], "persona": pa.array([t for _, t in rows], pa.string())})
        self.rows = len(rows)

    def batches(self, columns=None):
        yield self.table

    def cut(self, rows):
        return [self]


def stays(texts, rows=None, **more):
    rows = rows or [(f"{n:03}", text) for n, text in enumerate(texts)]
    knobs = {"levels": [0.5], "pairs_per_level": 10, "sample": 1000, **more}
    how = {"encoder": "simulated", "batch_size": 8, "device": None, "text_column": "persona", "reason": "in_no_pair"}
    found = paired(Texts(rows), **knobs, **how)
    gone = {row for block in found.blocks for row in block["row"].to_pylist()}
    return [text for place, (_, text) in enumerate(rows) if place not in gone], found.stats


ALIKE = ["a baker of bread and cakes", "a baker of boats and bridges"]
LIKENESS = float(np.dot(*simulated(ALIKE)))


def test_those_in_a_pair_stay():
    texts, stats = stays([ALIKE[0], None, "quantum fields nobody else mentions", ALIKE[1]], levels=[LIKENESS, 0.1])
    assert texts == ALIKE and stats["pairs"] == {f"{LIKENESS:g}": 1, "0.1": 0}


def test_the_order_of_the_input_does_not_matter():
    some = [
        f"a {trade} who likes {thing}" for trade in "baker nurse pilot".split() for thing in "tea rain maps".split()
    ]
    rows = [(f"{n:03}", text) for n, text in enumerate(some)]
    level = float(np.dot(*simulated(some[:2])))
    forth, back = (stays(None, order, levels=[level])[0] for order in (rows, rows[::-1]))
    assert 2 <= len(forth) < len(some) and sorted(forth) == sorted(back)


def test_texts_that_are_never_so_alike_are_told():
    with pytest.raises(RunStopped, match=r"recipe.levels=\[0.5\]: no two of 2 texts have a cosine within 0.02"):
        stays(["a baker", "quantum fields"])
