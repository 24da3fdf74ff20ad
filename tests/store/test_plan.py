"""Shards are fixed slices: every row in exactly one, in order, whatever the parts look like; a plan only grows."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import RunStopped
from pipelines.store.commit import to_parquet
from pipelines.store.dataset import Shard, part_name, read_shard
from pipelines.store.files import folder
from pipelines.store.plan import Plan, slice_parts, taken


def rows_of(shard: Shard) -> list[tuple[int, int]]:
    return [(part, row) for part, start, stop in shard.slices for row in range(start, stop)]


@given(st.lists(st.integers(0, 40), min_size=1, max_size=8), st.integers(1, 17), st.integers(0, 3))
def test_slicing_puts_every_row_in_one_shard_in_order(counts, shard_rows, first):
    shards = slice_parts(taken(enumerate(counts), None), shard_rows, first)
    assert [row for shard in shards for row in rows_of(shard)] == [
        (part, row) for part, count in enumerate(counts) for row in range(count)
    ]
    assert all(shard.rows == len(rows_of(shard)) for shard in shards)
    assert all(shard.rows == shard_rows for shard in shards[:-1])
    assert [shard.index for shard in shards] == list(range(first, first + len(shards)))


@given(st.lists(st.integers(0, 40), min_size=1, max_size=8), st.integers(0, 100), st.integers(1, 60))
def test_some_rows_of_a_dataset_are_taken_whole_and_in_order(counts, first, rows):
    every = [(part, row) for part, count in enumerate(counts) for row in range(count)]
    some = taken(enumerate(counts), (first, rows))
    assert [(part, row) for part, start, stop in some for row in range(start, stop)] == every[first : first + rows]
    assert all(start < stop for _, start, stop in some) or some == [(0, 0, 0)]


def test_parts_without_rows_make_one_empty_typed_shard(tmp_path):
    source = folder(str(tmp_path))
    source.create(part_name(0), to_parquet(pa.table({"id": pa.array([], pa.string())})))
    [shard] = slice_parts([(0, 0, 0)], 8, 0)
    assert shard.rows == 0
    assert read_shard(source, shard).schema.names == ["id"]


def test_a_plan_is_frozen_and_only_grows(tmp_path):
    stage, source = folder(str(tmp_path / "1-b")), folder(str(tmp_path / "0-a"))
    assert Plan.load(stage) is None
    Plan.extend(stage, source, slice_parts([(0, 0, 10)], 4, 0), [0])
    plan = Plan.extend(stage, source, slice_parts([(1, 0, 4)], 4, 3), [1])
    assert [shard.rows for shard in plan.shards] == [4, 4, 2, 4]
    assert (plan.covered, plan.source) == (frozenset({0, 1}), "0-a")
    assert Plan.load(stage) == plan


def test_a_plan_says_what_its_stage_was_given(tmp_path):
    """So that what is made with a model is made again when the model is another."""
    stage, source = folder(str(tmp_path / "2-c")), folder(str(tmp_path / "1-b"))
    Plan.extend(stage, source, slice_parts([(0, 0, 10)], 10, 0), [0], ["0.1-model"])
    plan = Plan.load(stage)
    assert plan is not None and plan.uses == ("0.1-model",)


def test_a_plan_with_a_gap_is_named(tmp_path):
    stage, source = folder(str(tmp_path / "s")), folder(str(tmp_path / "in"))
    Plan.extend(stage, source, slice_parts([(0, 0, 10)], 5, 0), [0])
    Plan.extend(stage, source, slice_parts([(1, 0, 10)], 5, 2), [1])
    (tmp_path / "s" / "plan-000.json").unlink()
    with pytest.raises(RunStopped, match="plan-000.json is missing"):
        Plan.load(stage)
