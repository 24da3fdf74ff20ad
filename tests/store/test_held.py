"""What a process holds of the parts that it committed: the same rows as in their files, as long as there is room."""

import sys
import threading
from datetime import UTC, datetime

import pyarrow as pa
import pytest

from pipelines.store import held
from pipelines.store.commit import Outcome, commit, new_attempt
from pipelines.store.dataset import Shard, read_part, read_shard, read_slice
from pipelines.store.files import folder
from pipelines.store.ledger import Entry


def shard_of(table: pa.Table, index: int = 0) -> Outcome:
    rows = table.num_rows
    entry = Entry("seeds", "f" * 32, index, new_attempt(), rows, rows, 0, 0, rows, rows)
    return Outcome(table, entry)


ROWS = pa.table(
    {
        "id": ["a", "b", "c"],
        "parent_ids": pa.array([[], ["x"], None], pa.list_(pa.string())),
        "when": pa.array([datetime(2026, 1, 1, tzinfo=UTC)] * 3, pa.timestamp("us", "UTC")),
        "score": [0.5, None, 2.0],
    }
)


@pytest.fixture
def room():
    held.up_to(1 << 20)
    yield
    held.up_to(0)
    held._tables.clear()


@pytest.fixture
def stage(tmp_path):
    return folder(str(tmp_path / "0-seeds"))


def test_a_part_that_is_held_is_the_part_in_the_file(stage, room):
    commit(stage, shard_of(ROWS))
    assert held.held(stage.url, 0, None) is not None
    from_memory = [
        read_part(stage, 0),
        read_part(stage, 0, ["score", "id"]),
        read_slice(stage, 0, 1, 3),
        read_shard(stage, Shard(0, ((0, 0, 2),), 2)),
    ]
    assert held.held(stage.url, 0, None) is None  # its rows were handed out
    from_file = [
        read_part(stage, 0),
        read_part(stage, 0, ["score", "id"]),
        read_slice(stage, 0, 1, 3),
        read_shard(stage, Shard(0, ((0, 0, 2),), 2)),
    ]
    assert from_memory == from_file


def test_only_what_there_is_room_for_is_held(stage):
    commit(stage, shard_of(ROWS))
    assert held.held(stage.url, 0, None) is None  # nobody asked for it
    held.up_to(ROWS.nbytes)
    for index in (1, 2):
        commit(stage, shard_of(ROWS, index))
    assert [held.held(stage.url, index, None) is not None for index in (1, 2)] == [True, False]
    held.up_to(0)
    held.forget(stage.url, 1)


def test_the_attempt_that_came_second_is_not_held(stage, room):
    commit(stage, shard_of(ROWS))
    held.forget(stage.url, 0)
    commit(stage, shard_of(ROWS.slice(1)))
    assert read_part(stage, 0).num_rows == 3


def test_a_type_that_parquet_gives_back_as_another_is_read_from_the_file(stage, room):
    commit(stage, shard_of(pa.table({"when": pa.array([1], pa.date64())})))
    assert held.held(stage.url, 0, None) is None


def test_parts_are_held_and_let_go_at_once(room):
    """As the driver does: one thread commits what another hands out."""
    table = pa.table({"n": list(range(3))})
    done = threading.Event()

    def hand_out() -> None:
        number = 0
        while not done.is_set():
            held.forget("seeds", number % 500)
            number += 1

    other = threading.Thread(target=hand_out)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        other.start()
        for number in range(3000):
            held.hold("seeds", number % 500, table, table.schema)
    finally:
        done.set()
        other.join()
        sys.setswitchinterval(before)
    held.forget("seeds", *range(500))
    assert not held._tables
