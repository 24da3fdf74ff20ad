"""Datasets give their parts in order, and slices of them whatever the row groups."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.store.commit import to_parquet
from pipelines.store.dataset import (
    Dataset,
    Shard,
    committed,
    part_name,
    read_shard,
    read_slice,
)
from pipelines.store.files import folder


@pytest.fixture(scope="module")
def big_part(tmp_path_factory):
    """A part of 10,000 rows in several row groups."""
    stage = folder(str(tmp_path_factory.mktemp("stage")))
    stage.create(part_name(0), to_parquet(pa.table({"n": list(range(10_000))})))
    return stage


@given(st.integers(0, 9999), st.integers(0, 200))
def test_a_slice_reads_its_rows_whatever_the_row_groups(big_part, start, length):
    stop = min(start + length, 10_000)
    assert read_slice(big_part, 0, start, stop)["n"].to_pylist() == list(range(start, stop))


def test_a_retry_shard_reads_only_the_rows_it_names(tmp_path):
    source = folder(str(tmp_path))
    source.create(part_name(0), to_parquet(pa.table({"id": ["a", "b", "c", "d"]})))
    retry = Shard(index=3, slices=((0, 0, 3),), rows=2, ids=("c", "a"), settles=((0, ("c", "a")),))
    assert read_shard(source, retry)["id"].to_pylist() == ["a", "c"]
    assert Shard.from_json(retry.to_json()) == retry


def test_a_listing_sees_published_parts_only_and_sorts_by_number(tmp_path):
    stage = folder(str(tmp_path))
    for name in (
        "part-00010.parquet",
        "part-00002.parquet",
        "part-100000.parquet",
        ".part-00001.parquet.x.tmp",
        "plan-000.json",
    ):
        (tmp_path / name).write_bytes(b"")
    assert committed(stage) == [2, 10, 100000]


def test_a_dataset_gives_its_parts_in_shard_order(tmp_path):
    stage = folder(str(tmp_path))
    for part, ids in ((1, ["c"]), (0, ["a", "b"])):
        stage.create(part_name(part), to_parquet(pa.table({"id": ids, "n": [1] * len(ids)})))
    dataset = Dataset.of(stage, {1: 1, 0: 2})
    assert [table["id"].to_pylist() for table in dataset.batches(["id"])] == [["a", "b"], ["c"]]
    assert (dataset.rows, dataset.schema.names) == (3, ["id", "n"])
