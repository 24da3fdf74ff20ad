"""Which rows a limit takes where it counts by a label."""

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import UserError
from pipelines.store.freeze import check, freeze
from pipelines.store.manifest import Manifest
from pipelines.store.seeds import seed_tables

BY = {"label": {"_target_": "pipelines.filters.kind.first_letters", "_partial_": True}, "of": ["a", "b"]}


def first_letters(table: pa.Table) -> pa.Array:
    """A label for the tests: the first letter of a text."""
    return pc.utf8_slice_codeunits(table["text"].combine_chunks(), 0, 1)


@pytest.fixture(autouse=True)
def _named(monkeypatch: pytest.MonkeyPatch) -> None:
    import pipelines.filters.kind as place

    monkeypatch.setattr(place, "first_letters", first_letters, raising=False)


def written(path: Path, texts: list[str | None]) -> str:
    for number, some in enumerate((texts[: len(texts) // 2], texts[len(texts) // 2 :])):
        pq.write_table(pa.table({"text": pa.array(some, pa.string())}), path / f"{number}.parquet")
    return str(path)


def seeds(manifest: Manifest) -> list[tuple[str, str]]:
    tables = [shard.table for shard in seed_tables(manifest, rows_per_shard=2)]
    return [(row["id"], row["text"]) for table in tables for row in table.to_pylist()]


def taken(path: str, limit: int) -> list[str]:
    return [text for _, text in seeds(freeze(path, text_column="text", limit=limit, limit_by=BY))]


def test_the_first_of_each_label_and_the_others_between(tmp_path: Path) -> None:
    path = written(tmp_path, ["a1", "a2", "a3", "c1", None, "b1", "a4", "b2", "c2", "b3"])
    manifest = freeze(path, text_column="text", limit=2, limit_by=BY)
    assert manifest.rows == 6  # the row without a text is rejected by name later
    assert taken(path, 2) == ["a1", "a2", "c1", "b1", "b2"]


def test_of_a_label_that_is_not_wanted_no_more_are_taken(tmp_path: Path) -> None:
    path = written(tmp_path, ["c1", "c2", "d1", "c3", "a1", "c4", "a2", "b1", "b2"])
    assert taken(path, 2) == ["c1", "c2", "d1", "a1", "a2", "b1", "b2"]


def test_a_label_that_never_comes_takes_no_more_of_the_others(tmp_path: Path) -> None:
    path = written(tmp_path, ["a1", "a2", "a3", "c1", *(f"c{number}" for number in range(2, 1000))])
    assert taken(path, 2) == ["a1", "a2", "c1", "c2"]


def test_rows_without_a_text_are_taken_up_to_the_limit(tmp_path: Path) -> None:
    path = written(tmp_path, ["", None, " ", "a1", None, "b1"])
    manifest = freeze(path, text_column="text", limit=1, limit_by=BY)
    assert manifest.rows == 3
    assert [shard.rejected["reason"].to_pylist() for shard in seed_tables(manifest, rows_per_shard=9)] == [
        ["empty_text"]
    ]


def test_a_run_reads_no_further_than_the_last_row_that_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pipelines.filters.kind as place

    for number in range(3):
        pq.write_table(pa.table({"text": ["c1", "c2"]}), tmp_path / f"{number}.parquet")
    looked_at = list[int]()
    monkeypatch.setattr(place, "first_letters", lambda table: looked_at.append(1) or first_letters(table))
    manifest = freeze(tmp_path, text_column="text", limit=2, limit_by=BY)
    assert len(looked_at) == 3  # "a" and "b" may be anywhere
    assert len(seeds(manifest)) == 2
    assert len(looked_at) == 4


@given(
    texts=st.lists(st.sampled_from(["a", "b", "c", "a ", "b ", ""]), min_size=1, max_size=30), limit=st.integers(1, 5)
)
def test_ids_are_those_of_a_run_without_a_limit(
    texts: list[str], limit: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = written(tmp_path_factory.mktemp("input"), texts)
    every = seeds(freeze(path, text_column="text"))
    some = seeds(freeze(path, text_column="text", limit=limit, limit_by=BY))
    assert some == [seed for seed in every if seed in set(some)]
    counts = Counter(text[0] for _, text in every)
    found = Counter(text[0] for _, text in some)
    assert all(found[label] == min(limit, counts[label]) for label in "ab")
    assert found["c"] <= min(limit, counts["c"])


def test_equal_texts_of_other_labels_keep_their_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which of equal rows an id means does not depend on the limit."""
    import pipelines.filters.kind as place

    table = pa.table({"text": ["1", "2", "2", "3"], "kind": ["a", "a", "b", "b"]})
    pq.write_table(table, tmp_path / "rows.parquet")
    monkeypatch.setattr(place, "first_letters", lambda table: table["kind"].combine_chunks())
    every, some = (
        [row for shard in seed_tables(freeze(tmp_path / "rows.parquet", text_column="text", **how), rows_per_shard=9)
         for row in shard.table.to_pylist()]
        for how in ({}, {"limit": 1, "limit_by": BY})
    )  # fmt: skip
    assert some == [every[0], every[2]]


def test_rows_without_an_id_are_numbered_as_they_lie(tmp_path: Path) -> None:
    table = pa.table({"text": ["a1", "a2", "c1", "b1"], "key": ["x", "y", None, "z"]})
    pq.write_table(table, tmp_path / "rows.parquet")
    every, some = (
        [row for shard in seed_tables(freeze(tmp_path / "rows.parquet", text_column="text", id_column="key", **how),
                                      rows_per_shard=9) for row in shard.rejected.to_pylist()]
        for how in ({}, {"limit": 1, "limit_by": BY})
    )  # fmt: skip
    assert some == every and len(some) == 1


def test_a_manifest_remembers_it_and_a_change_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, ["a1", "b1"])
    manifest = freeze(path, text_column="text", limit=1, limit_by=BY)
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert manifest.fingerprint != freeze(path, text_column="text", limit=1).fingerprint
    check(manifest, path, text_column="text", limit=1, limit_by=BY)
    with pytest.raises(UserError, match=r"recipe.limit_by.of: \['a', 'b'\] -> \['a'\]"):
        check(manifest, path, text_column="text", limit=1, limit_by={**BY, "of": ["a"]})


def test_without_a_limit_nothing_is_counted(tmp_path: Path) -> None:
    path = written(tmp_path, ["a1", "a2", "b1"])
    assert freeze(path, text_column="text", limit_by=BY) == freeze(path, text_column="text")
