"""The first complete attempt is the commit; a later one, early or late, changes nothing."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pyarrow as pa
import pytest

from pipelines.store.commit import Outcome, commit, new_attempt, read_side
from pipelines.store.dataset import committed, part_name, read_part
from pipelines.store.files import folder
from pipelines.store.ledger import Entry, entries_of, read_cache, read_entry, totals, write_cache


def outcome(kept: int = 2, rejected: int = 1, shard: int = 0) -> Outcome:
    entry = Entry(
        stage="personas",
        fingerprint="f" * 32,
        shard=shard,
        attempt=new_attempt(),
        rows_in=kept + rejected,
        rows_kept=kept,
        rows_rejected=rejected,
        rows_failed=0,
        items_made=kept + rejected,
        items_kept=kept,
        items_rejected={"too_short": rejected} if rejected else {},
    )
    sides = {"rejected": pa.table({"row_id": [f"r{i}" for i in range(rejected)], "reason": ["too_short"] * rejected})}
    return Outcome(pa.table({"id": pa.array([f"k{i}" for i in range(kept)], pa.string())}), entry, sides)


@pytest.fixture
def stage(tmp_path):
    return folder(str(tmp_path / "stages" / "1-personas"))


def test_a_commit_can_be_read_back_with_its_accounts(stage):
    entry = commit(stage, outcome())
    assert committed(stage) == [0]
    assert read_part(stage, 0)["id"].to_pylist() == ["k0", "k1"]
    assert read_entry(stage, 0) == entry
    assert read_side(stage, entry, "rejected")["reason"].to_pylist() == ["too_short"]
    assert read_side(stage, entry, "failed") is None


def test_the_second_attempt_is_refused_and_leaves_nothing(stage):
    first = commit(stage, outcome())
    second = commit(stage, outcome(kept=3))
    assert second == first
    assert stage.sub("rejected").names() == [first.files["rejected"].name]


def test_of_many_attempts_at_once_one_counts(stage):
    with ThreadPoolExecutor(8) as threads:
        entries = list(threads.map(lambda kept: commit(stage, outcome(kept=kept)), range(1, 25)))
    assert len({entry.attempt for entry in entries}) == 1
    assert read_part(stage, 0).num_rows == entries[0].items_kept


def test_a_shard_without_kept_rows_is_legal_and_typed(stage):
    commit(stage, outcome(kept=0, rejected=2))
    assert read_part(stage, 0).schema.names == ["id"]


def test_committed_shards_are_a_dataset_that_others_load_empty_ones_among_them(stage, tmp_path):
    from datasets import load_dataset

    for shard, kept in enumerate((0, 3)):
        commit(stage, outcome(kept=kept, shard=shard))
    files = [f"{stage.url}/{part_name(shard)}" for shard in (0, 1)]
    loaded = load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    assert (loaded.num_rows, loaded.column_names) == (3, ["id"])


def test_accounts_that_do_not_balance_are_never_written(stage):
    good = outcome()
    with pytest.raises(ValueError, match=r"rows in 4 != kept 2 \+ rejected 1 \+ failed 0"):
        commit(stage, replace(good, entry=replace(good.entry, rows_in=4)))
    with pytest.raises(ValueError, match="items kept 2 != 1 rows"):
        commit(stage, replace(good, kept=good.kept.slice(1)))
    assert stage.names() == []


def test_a_changed_side_file_and_a_changed_entry_are_noticed(stage):
    entry = commit(stage, outcome())
    stage.sub("rejected").replace(entry.files["rejected"].name, b"PAR1")
    with pytest.raises(ValueError, match="checksum"):
        read_side(stage, entry, "rejected")
    with pytest.raises(ValueError, match="own checksum"):
        Entry.from_json(entry.to_json().replace('"rows_in":3', '"rows_in":4'))


def test_the_cache_is_rebuilt_from_the_footers(tmp_path, stage):
    run = folder(str(tmp_path))
    entries = {i: commit(stage, outcome(shard=i)) for i in range(3)}
    assert entries_of(run, stage) == entries
    write_cache(run, stage, entries)
    assert read_cache(run, stage) == entries
    run.sub("ledger").replace("1-personas.parquet", b"not parquet")
    assert entries_of(run, stage) == entries


def test_a_retried_row_counts_once():
    base = replace(outcome().entry, rows_in=5, rows_kept=2, rows_rejected=1, rows_failed=2, failed={"call_failed": 2})
    retry = replace(
        outcome(kept=1, rejected=0, shard=1).entry,
        rows_in=2,
        rows_failed=1,
        failed={"call_failed": 1},
        settles={"0": ["a", "b"]},
    )
    sums = totals([base, retry])
    assert (sums.rows_in, sums.rows_kept, sums.rows_rejected, sums.rows_failed) == (5, 3, 1, 1)
    assert sums.rows_in == sums.rows_kept + sums.rows_rejected + sums.rows_failed


def test_a_full_disk_leaves_no_partial_file(stage, monkeypatch):
    import os

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        commit(stage, outcome())
    monkeypatch.undo()
    assert committed(stage) == []
    assert not any(path.is_file() for path in __import__("pathlib").Path(stage.url).rglob("*"))
    assert commit(stage, outcome()).shard == 0


def test_part_names_stay_sortable():
    assert part_name(7) == "part-00007.parquet"
