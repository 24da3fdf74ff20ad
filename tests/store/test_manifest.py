"""What is frozen of an input, what is refused at once, and how a changed input is told."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.errors import UserError
from pipelines.store.freeze import check, freeze
from pipelines.store.manifest import Manifest


def parquet(path: Path, **columns) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=2)
    return path


def jsonl(path: Path, *rows: dict) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


# ---- freezing ------------------------------------------------------------------------------------------------------


def test_a_manifest_says_what_the_input_was(tmp_path):
    path = parquet(tmp_path / "a.parquet", text=["a", "b", "c"], n=[1, 2, 3])
    manifest = freeze(str(path), text_column="text")
    (file,) = manifest.files
    assert (file.path, file.name, file.size) == (str(path), "a.parquet", path.stat().st_size)
    assert (file.rows, file.row_groups, manifest.rows) == (3, (2, 1), 3)
    assert file.digest.startswith("blake2b:")
    assert manifest.schema == pa.schema([("text", pa.string()), ("n", pa.int64())])


@pytest.mark.parametrize("settings", [{}, {"limit": 2}, {"id_column": "n"}, {"id_columns": ["text", "n"]}])
def test_a_manifest_survives_json(tmp_path, settings):
    path = parquet(tmp_path / "é = {1}.parquet", text=["a", "b", "c"], n=[1, 2, 3], s=[{"x": [1.5]}] * 3)
    manifest = freeze([str(path)], text_column="text", **settings)
    again = Manifest.from_json(json.loads(json.dumps(manifest.to_json())))
    assert again == manifest
    assert again.fingerprint == manifest.fingerprint
    assert manifest.to_json()["columns"] == {"text": "string", "n": "int64", "s": "struct<x: list<element: double>>"}


def test_a_map_is_the_same_after_a_trip_through_json(tmp_path):
    column = pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64()))
    manifest = freeze(str(parquet(tmp_path / "m.parquet", text=["a"], m=column)), text_column="text")
    assert Manifest.from_json(json.loads(json.dumps(manifest.to_json()))).fingerprint == manifest.fingerprint


def test_a_time_zone_that_is_not_known_makes_no_ids(tmp_path):
    times = pa.array([0], pa.int64()).cast(pa.timestamp("us", "Mars/Olympus"))
    path = parquet(tmp_path / "t.parquet", text=["a"], when=times)
    with pytest.raises(UserError, match="id_columns=when: type timestamp.* makes no ids"):
        freeze(str(path), text_column="text", id_columns=["text", "when"])


def test_the_fingerprint_follows_content_and_settings_and_not_the_place(tmp_path):
    one = freeze(str(parquet(tmp_path / "a.parquet", text=["a"])), text_column="text")
    moved = freeze(str(parquet(tmp_path / "b.parquet", text=["a"])), text_column="text")
    other = freeze(str(parquet(tmp_path / "c.parquet", text=["b"])), text_column="text")
    limited = freeze(str(tmp_path / "a.parquet"), text_column="text", limit=1)
    assert one.fingerprint == moved.fingerprint
    assert len({m.fingerprint for m in (one, other, limited)}) == 3


def test_columns_of_many_files_go_together_and_numbers_widen(tmp_path):
    parquet(tmp_path / "1.parquet", text=["a"], n=pa.array([1], pa.int32()))
    parquet(tmp_path / "2.parquet", text=pa.array([b"b"]), n=pa.array([2], pa.int64()), more=["x"])
    assert freeze(str(tmp_path), text_column="text").schema == pa.schema(
        [("text", pa.string()), ("n", pa.int64()), ("more", pa.string())]
    )


def test_columns_that_conflict_are_named_with_both_files(tmp_path):
    parquet(tmp_path / "1.parquet", text=["a"], n=[1])
    parquet(tmp_path / "2.parquet", text=["b"], n=["x"])
    with pytest.raises(UserError, match=r"column 'n' is int64 in .*1\.parquet and string in .*2\.parquet"):
        freeze(str(tmp_path), text_column="text")


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 6, 7])
def test_no_line_beyond_the_limit_is_looked_at(tmp_path, limit):
    for name in "abc":
        jsonl(tmp_path / f"{name}.jsonl", {"text": "1"}, {"text": "2", name: "x"})
    manifest = freeze(str(tmp_path), text_column="text", limit=limit)
    assert manifest.rows == min(limit, 6)
    assert manifest.schema.names == ["text", *"abc"[: limit // 2]]
    assert [file.rows for file in manifest.files] == [2 if limit >= 2 * n else None for n in (1, 2, 3)]


# ---- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["x.parquet", "x.jsonl", "x.csv", "x.jsonl.gz"])
def test_an_empty_dataset_is_refused(tmp_path, name):
    path = tmp_path / name
    if name == "x.parquet":
        parquet(path, text=pa.array([], pa.string()))
    else:
        content = {"x.jsonl": b"\n\n", "x.csv": b"text,n\n", "x.jsonl.gz": gzip.compress(b"")}[name]
        path.write_bytes(content)
    with pytest.raises(UserError, match=rf"input=.*the dataset is empty; 1 file\(s\) hold 0 rows, first .*{name}"):
        freeze(str(path), text_column="text")


def test_one_empty_file_of_many_is_no_mistake(tmp_path):
    (tmp_path / "a.jsonl").touch()
    jsonl(tmp_path / "b.jsonl", {"text": "1"})
    assert freeze(str(tmp_path), text_column="text").rows == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"text_column": "txt"},
            r"text_column=txt: .*x\.jsonl has no such column; it has Text, key, n; did you mean Text\?",
        ),
        ({"text_column": "zzzzz"}, r"text_column=zzzzz: .*it has Text, key, n$"),
        ({"text_column": "Text", "id_column": "keys"}, r"id_column=keys: .*did you mean key\?"),
        ({"text_column": "Text", "id_columns": ["key", "m"]}, r"id_columns=m: .*has no such column"),
        ({"text_column": "Text", "id_column": "key", "id_columns": ["n"]}, r"set one of them"),
        ({"text_column": "Text", "limit": 0}, r"limit=0: at least one row"),
        ({"text_column": "id"}, r"text_column=id: every row of a run has a column of that name"),
    ],
)
def test_columns_that_are_absent_are_answered_with_those_present(tmp_path, settings, message):
    path = jsonl(tmp_path / "x.jsonl", {"Text": "a", "key": "1", "n": 2})
    with pytest.raises(UserError, match=message):
        freeze(str(path), **settings)


def test_the_one_file_of_many_without_the_text_column_is_named(tmp_path):
    for name in "abc":
        parquet(tmp_path / f"{name}.parquet", **{"body" if name == "b" else "text": ["x"]})
    with pytest.raises(UserError, match=r"text_column=text: .*b\.parquet has no such column; it has body"):
        freeze(str(tmp_path), text_column="text")


@pytest.mark.parametrize("column", [pa.array([1]), pa.array([1.5]), pa.array([["a"]]), pa.array([True])])
def test_a_text_column_of_another_type_is_refused_by_its_name(tmp_path, column):
    path = parquet(tmp_path / "a.parquet", text=column)
    with pytest.raises(UserError, match="text_column=text: the column is of type (int64|double|list|bool).*as strings"):
        freeze(str(path), text_column="text")


def test_an_id_column_of_lists_is_refused(tmp_path):
    path = parquet(tmp_path / "a.parquet", text=["a"], key=[{"x": 1}])
    with pytest.raises(UserError, match="id_column=key: type struct<x: int64> makes no ids"):
        freeze(str(path), text_column="text", id_column="key")


@pytest.mark.parametrize("damage", ["footer", "short", "empty", "not parquet"])
def test_the_damaged_file_of_many_is_named(tmp_path, damage):
    for name in "abcde":
        parquet(tmp_path / f"{name}.parquet", text=["x"] * 100)
    path = tmp_path / "c.parquet"
    raw = path.read_bytes()
    footer = int.from_bytes(raw[-8:-4], "little")
    overwritten = raw[: -8 - footer] + b"\xff" * footer + raw[-8:]
    path.write_bytes({"footer": overwritten, "short": raw[:-9], "empty": b"", "not parquet": b"text\nx\n"}[damage])
    with pytest.raises(UserError, match=r"c\.parquet cannot be read"):
        freeze(str(tmp_path), text_column="text")


def test_two_columns_of_one_name_are_refused(tmp_path):
    pq.write_table(pa.table([["a"], ["b"]], names=["text", "text"]), tmp_path / "a.parquet")
    with pytest.raises(UserError, match="two columns named 'text'"):
        freeze(str(tmp_path), text_column="text")


# ---- a resumed run -------------------------------------------------------------------------------------------------


@pytest.fixture
def three(tmp_path):
    for name in "abc":
        jsonl(tmp_path / f"{name}.jsonl", {"text": name})
    return tmp_path


def changes(manifest: Manifest, wanted, **settings) -> list[str]:
    """The differences that ``check`` names."""
    settings = {"text_column": "text", "id_column": None, "limit": None} | settings
    try:
        check(manifest, wanted, **settings)
    except UserError as error:
        first, *lines = str(error).splitlines()
        assert first == "the input is not the one this run first started with:"
        assert lines.pop() == "Put it back as it was, or start another run with another output="
        return [line.strip() for line in lines]
    return []


def test_the_same_input_passes_also_when_touched_or_named_otherwise(three, monkeypatch):
    manifest = freeze(str(three), text_column="text")
    for path in three.iterdir():
        os.utime(path, (1, 1))
    (three / "a.jsonl").write_text((three / "a.jsonl").read_text())
    assert changes(manifest, str(three)) == []
    assert changes(manifest, f"{three}/*.jsonl") == []
    monkeypatch.chdir(three)
    assert changes(manifest, ["a.jsonl", "b.jsonl", "c.jsonl"]) == []


def test_every_change_is_named(three):
    manifest = freeze(str(three), text_column="text")
    jsonl(three / "a.jsonl", {"text": "A"})
    (three / "b.jsonl").unlink()
    with (three / "c.jsonl").open("a") as out:
        out.write("\n")
    jsonl(three / "d.jsonl", {"text": "d"})
    content, missing, size, extra = changes(manifest, str(three))
    assert content.startswith(f"{three}/a.jsonl: content (blake2b ")
    assert missing == f"{three}/b.jsonl: missing"
    assert size == f"{three}/c.jsonl: size 14 -> 15 bytes"
    assert extra == f"{three}/d.jsonl: extra"


def test_another_order_is_a_change(three):
    paths = [str(three / f"{name}.jsonl") for name in "abc"]
    manifest = freeze(paths, text_column="text")
    assert changes(manifest, paths[::-1]) == ["the files come in another order"]


@pytest.mark.parametrize(
    ("settings", "change"),
    [
        ({"limit": 2}, "limit: null -> 2"),
        ({"text_column": "body"}, "text_column: text -> body"),
        ({"id_column": "key"}, "id_column: null -> key"),
        ({"id_columns": ["a", "b"]}, "id_columns: null -> ('a', 'b')"),
    ],
)
def test_settings_that_decide_the_rows_are_part_of_the_input(three, settings, change):
    assert changes(freeze(str(three), text_column="text"), str(three), **settings) == [change]


def test_a_long_list_of_changes_is_cut(tmp_path):
    for n in range(30):
        jsonl(tmp_path / f"{n:02}.jsonl", {"text": "a"})
    manifest = freeze(f"{tmp_path}/*.jsonl", text_column="text")
    for n in range(29):
        (tmp_path / f"{n:02}.jsonl").unlink()
    named = changes(manifest, str(tmp_path))
    assert len(named) == 11
    assert named[-1] == "and 19 more"


def test_a_large_file_that_was_only_touched_is_refused_with_the_way_back(three, monkeypatch):
    monkeypatch.setattr("pipelines.store.inputs.source.WHOLE_BYTES", 4)
    manifest = freeze(str(three / "a.jsonl"), text_column="text")
    was = (three / "a.jsonl").stat().st_mtime_ns
    os.utime(three / "a.jsonl", ns=(was + 10, was + 10))
    (change,) = changes(manifest, str(three / "a.jsonl"))
    assert f"touch -d @{was // 10**9}.{was % 10**9:09} FILE" in change
    os.utime(three / "a.jsonl", ns=(was, was))
    assert changes(manifest, str(three / "a.jsonl")) == []


def test_an_object_that_was_written_again_is_a_change_by_its_etag(s3_bucket):
    import s3fs

    store = s3fs.S3FileSystem()
    store.pipe(f"{s3_bucket}/a.jsonl", b'{"text": "a"}\n')
    manifest = freeze(f"{s3_bucket}/*.jsonl", text_column="text")
    store.pipe(f"{s3_bucket}/a.jsonl", b'{"text": "a"}\n')
    assert changes(manifest, f"{s3_bucket}/*.jsonl") == []
    store.pipe(f"{s3_bucket}/a.jsonl", b'{"text": "b"}\n')
    (change,) = changes(manifest, f"{s3_bucket}/*.jsonl")
    assert change.startswith(f"{s3_bucket}/a.jsonl: content (etag ")
