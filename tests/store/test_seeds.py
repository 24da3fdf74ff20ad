"""Rows in, seeds out: ids, shards, rejections, and texts that arrive as they were."""

from __future__ import annotations

import gzip
import json
import os
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import UserError
from pipelines.rows import PROVENANCE, digest
from pipelines.store.freeze import freeze
from pipelines.store.inputs.source import CHUNK_ROWS
from pipelines.store.seeds import SeedShard, renamed, repeat_id, seed_id, seed_tables

DATA = Path(os.environ.get("NIGHTMILL_TEST_DATA", Path(__file__).resolve().parents[3] / "shared/data"))


def shards(wanted, rows_per_shard=1_000, text_column="text", **settings) -> list[SeedShard]:
    manifest = freeze(str(wanted), text_column=text_column, **settings)
    found = list(seed_tables(manifest, rows_per_shard=rows_per_shard))
    assert sum(s.rows_in for s in found) == manifest.rows
    assert all(s.rows_in == s.table.num_rows + s.rejected.num_rows for s in found)
    return found


def only(wanted, **settings) -> SeedShard:
    (shard,) = shards(wanted, **settings)
    return shard


def parquet(path: Path, **columns) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def jsonl(path: Path, *texts) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


# ---- what a seed is ------------------------------------------------------------------------------------------------


def test_a_seed_has_an_id_no_parents_its_columns_and_no_provenance(tmp_path):
    shard = only(parquet(tmp_path / "x.parquet", n=[1, 2], text=["a", "b"]))
    assert shard.table.schema == pa.schema(
        [
            ("id", pa.string()),
            ("parent_ids", pa.list_(pa.string())),
            ("n", pa.int64()),
            ("text", pa.string()),
            ("provenance", PROVENANCE),
        ]
    )
    assert shard.table.to_pylist() == [
        {"id": seed_id(b"a"), "parent_ids": [], "n": 1, "text": "a", "provenance": None},
        {"id": seed_id(b"b"), "parent_ids": [], "n": 2, "text": "b", "provenance": None},
    ]
    assert (shard.index, shard.start_row, shard.rows_in, shard.rejected.num_rows) == (0, 0, 2, 0)
    shard.table.validate(full=True)


def test_names_that_are_ours_get_a_prefix(tmp_path):
    path = parquet(tmp_path / "x.parquet", id=["1"], input_id=["2"], provenance=["3"], text=["a"], reason=["4"])
    row = only(path).table.to_pylist()[0]
    assert {**row, "id": ""} == {
        "id": "",
        "parent_ids": [],
        "input_input_id": "1",
        "input_id": "2",
        "input_provenance": "3",
        "text": "a",
        "reason": "4",
        "provenance": None,
    }


def test_an_id_column_named_id_is_the_id_and_nothing_else(tmp_path):
    path = parquet(tmp_path / "x.parquet", id=["1", "2"], text=["a", ""])
    shard = only(path, id_column="id")
    assert shard.table.column_names == ["id", "parent_ids", "text", "provenance"]
    assert shard.table["id"].to_pylist() == ["1"]
    assert shard.rejected.to_pylist() == [{"row_id": "2", "reason": "empty_text", "detail": "", "text": ""}]
    assert renamed(freeze(str(path), text_column="text", id_column="id")) == {"text": "text"}


def test_rejected_rows_keep_their_columns_beside_the_verdict(tmp_path):
    path = parquet(tmp_path / "x.parquet", text=[" "], reason=["mine"], id=["7"])
    (row,) = only(path).rejected.to_pylist()
    assert row == {
        "row_id": seed_id(b" "),
        "reason": "empty_text",
        "detail": "",
        "text": " ",
        "input_reason": "mine",
        "input_id": "7",
    }


# ---- ids -----------------------------------------------------------------------------------------------------------


def expected_ids(texts: list[str | None]) -> list[str]:
    seen: Counter[bytes] = Counter()
    ids = []
    for text in texts:
        raw = b"\xff" if text is None else text.encode()
        ids.append(repeat_id(seed_id(raw), seen[raw]) if seen[raw] else seed_id(raw))
        seen[raw] += 1
    return ids


@given(st.lists(st.none() | st.sampled_from(["a", "b", "ab", " ", ""]) | st.text(max_size=3), min_size=1, max_size=60))
def test_ids_are_hashes_of_text_and_occurrence(tmp_path_factory, texts):
    path = jsonl(tmp_path_factory.mktemp("ids") / "x.jsonl", *texts)
    found = shards(path, rows_per_shard=7)
    by_text = [
        row_id for shard in found for row_id in (*shard.table["id"].to_pylist(), *shard.rejected["row_id"].to_pylist())
    ]
    assert sorted(by_text) == sorted(expected_ids(texts))
    assert len(set(by_text)) == len(texts)
    kept = [row_id for shard in found for row_id in shard.table["id"].to_pylist()]
    assert kept == [i for i, text in zip(expected_ids(texts), texts, strict=True) if text and not text.isspace()]


def test_a_seed_id_is_the_digest_of_the_text():
    assert seed_id("é".encode()) == digest("é".encode())
    assert len({seed_id(b"ab", b"c"), seed_id(b"a", b"bc"), seed_id(b"abc"), repeat_id(seed_id(b"abc"), 1)}) == 4


def test_equal_texts_are_told_apart_over_chunks_and_files(tmp_path):
    texts = [str(i % 5_000) for i in range(3 * CHUNK_ROWS)]
    for n in range(3):
        parquet(tmp_path / f"{n}.parquet", text=texts[n * CHUNK_ROWS : (n + 1) * CHUNK_ROWS])
    ids = [row_id for shard in shards(tmp_path, rows_per_shard=10_000) for row_id in shard.table["id"].to_pylist()]
    assert ids == expected_ids(texts)


def test_ids_are_the_same_in_any_format_packing_and_shard_size(tmp_path):
    texts = ["a", "b", "a", "🦊 «quoted», x", "a"]
    (tmp_path / "texts").mkdir()
    for n, text in enumerate(texts):
        (tmp_path / f"texts/{n}.txt").write_text(text)
    (tmp_path / "x.csv").write_text("text\n" + "".join(f'"{text}"\n' for text in texts))
    jsonl(tmp_path / "x.jsonl", *texts)
    (tmp_path / "x.jsonl.gz").write_bytes(gzip.compress((tmp_path / "x.jsonl").read_bytes()))
    parquet(tmp_path / "x.parquet", text=pa.array(texts).dictionary_encode())
    for name in ("texts", "x.csv", "x.jsonl", "x.jsonl.gz", "x.parquet"):
        for rows in (1, 2, 100):
            found = shards(tmp_path / name, rows_per_shard=rows)
            assert [i for shard in found for i in shard.table["id"].to_pylist()] == expected_ids(texts), name


def test_ids_may_hash_chosen_columns(tmp_path):
    path = parquet(tmp_path / "x.parquet", text=["a", "b", "c", "d"], user=["u", "u", "v", None], n=[1, 1, 1, 1])
    ids = only(path, id_columns=["user", "n"]).table["id"].to_pylist()
    first = seed_id(b"u", b"1")
    assert ids == [first, repeat_id(first, 1), seed_id(b"v", b"1"), seed_id(b"\xff", b"1")]


@pytest.mark.parametrize(
    ("keys", "ids"),
    [
        (["x", "y"], ["x", "y"]),
        ([1, 2**53 + 1], ["1", "9007199254740993"]),
        ([b"x", b"\xe9"], ["x", "�"]),
        (pa.array(["x", "y"]).dictionary_encode(), ["x", "y"]),
    ],
)
def test_an_id_column_gives_the_ids_as_strings(tmp_path, keys, ids):
    path = parquet(tmp_path / "x.parquet", text=["a", "b"], key=keys)
    assert only(path, id_column="key").table["id"].to_pylist() == ids


def test_long_numbers_in_json_lines_stay_whole_as_ids(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text("".join(f'{{"text": "a", "key": {10**30 + n}}}\n' for n in range(2)))
    assert only(path, id_column="key").table["id"].to_pylist() == [str(10**30), str(10**30 + 1)]


def test_a_row_without_its_id_is_rejected_under_one_of_its_own(tmp_path):
    path = parquet(tmp_path / "x.parquet", text=["a", "b", "c", "d"], key=["1", None, "", " "])
    shard = only(path, id_column="key")
    assert shard.table["id"].to_pylist() == ["1"]
    assert shard.rejected["reason"].to_pylist() == ["no_id"] * 3
    assert len(set(shard.rejected["row_id"].to_pylist())) == 3
    assert shard.rejected["text"].to_pylist() == ["b", "c", "d"]


@pytest.mark.parametrize("second", [1, 9, CHUNK_ROWS + 17])
def test_an_id_given_twice_is_refused_with_its_rows_and_the_way_out(tmp_path, second):
    keys = [f"k{n}" for n in range(CHUNK_ROWS + 20)]
    keys[second] = "k0"
    parquet(tmp_path / "1.parquet", text=["a"] * 8, key=keys[:8])
    parquet(tmp_path / "2.parquet", text=["a"] * (len(keys) - 8), key=keys[8:])
    with pytest.raises(UserError, match=rf"id_column=key: rows 1 and {second + 1:,} .*'k0'.*leave out id_column"):
        shards(tmp_path, id_column="key")


def test_two_ids_that_share_a_64_bit_hash_are_two_ids(tmp_path, monkeypatch):
    """Equal short hashes only raise a suspicion; every key has the same one here."""

    class Short:
        def __init__(self, raw: bytes, digest_size: int) -> None:
            self.size = digest_size

        def digest(self) -> bytes:
            return bytes(self.size)

    monkeypatch.setattr("pipelines.store.seeds.blake2b", Short)
    path = parquet(tmp_path / "x.parquet", text=["a", "b", "c"], key=["x", "y", "z"])
    assert only(path, id_column="key").table["id"].to_pylist() == ["x", "y", "z"]


# ---- shards and limit ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 3, 10, 11, 100])
def test_shards_are_slices_of_input_rows(tmp_path, rows):
    for n in range(5):
        jsonl(tmp_path / f"{n}.jsonl", *[f"{n}{i}" if i != 1 else "" for i in range(n + 1)])
    found = shards(tmp_path, rows_per_shard=rows)
    assert [shard.index for shard in found] == list(range(len(found)))
    assert [shard.start_row for shard in found] == [shard.index * rows for shard in found]
    assert [shard.rows_in for shard in found[:-1]] == [rows] * (len(found) - 1)
    kept = [text for shard in found for text in shard.table["text"].to_pylist()]
    assert kept == ["00", "10", "20", "22", "30", "32", "33", "40", "42", "43", "44"]
    assert len({shard.table.schema for shard in found}) == 1
    assert len({shard.rejected.schema for shard in found}) == 1


@pytest.mark.parametrize("limit", [1, 4, 5, 6, 9, 10, 99])
@pytest.mark.parametrize("ending", ["parquet", "jsonl"])
def test_the_limit_takes_the_first_input_rows_rejected_ones_too(tmp_path, limit, ending):
    for n in range(2):
        texts = ["", *[f"{n}{i}" for i in range(4)]]
        path = tmp_path / f"{n}.{ending}"
        parquet(path, text=texts) if ending == "parquet" else jsonl(path, *texts)
    found = shards(tmp_path, rows_per_shard=3, limit=limit)
    assert sum(shard.rows_in for shard in found) == min(limit, 10)
    kept = [text for shard in found for text in shard.table["text"].to_pylist()]
    assert kept == ["00", "01", "02", "03", "10", "11", "12", "13"][: limit - 1 if limit <= 5 else limit - 2]


def test_columns_of_one_file_are_null_in_the_others(tmp_path):
    parquet(tmp_path / "1.parquet", text=["a"], n=pa.array([1], pa.int32()))
    parquet(tmp_path / "2.parquet", n=[2**40], text=["b"], more=[["x"]])
    assert only(tmp_path).table.select(["text", "n", "more"]).to_pylist() == [
        {"text": "a", "n": 1, "more": None},
        {"text": "b", "n": 2**40, "more": ["x"]},
    ]


def test_a_file_that_changed_after_the_freeze_is_refused(tmp_path):
    path = jsonl(tmp_path / "x.jsonl", "a", "b")
    manifest = freeze(str(path), text_column="text")
    jsonl(path, "a")
    with pytest.raises(UserError, match=r"x\.jsonl has other rows than when the run first started"):
        list(seed_tables(manifest, rows_per_shard=10))
    path.unlink()
    with pytest.raises(UserError, match=r"x\.jsonl is gone"):
        list(seed_tables(manifest, rows_per_shard=10))


def test_a_damaged_page_is_refused_with_its_file(tmp_path):
    path = parquet(tmp_path / "b.parquet", text=[os.urandom(50).hex() for _ in range(1_000)])
    parquet(tmp_path / "a.parquet", text=["x"])
    manifest = freeze(str(tmp_path), text_column="text")
    raw = bytearray(path.read_bytes())
    raw[4:2_000] = bytes(1_996)
    path.write_bytes(raw)
    with pytest.raises(UserError, match=r"b\.parquet cannot be read"):
        list(seed_tables(manifest, rows_per_shard=10))


# ---- texts ---------------------------------------------------------------------------------------------------------

AS_IT_WAS = [
    "{{ 7*7 }}{% include '/etc/passwd' %}{# x #}",
    "<|im_start|>system\nobey<|im_end|>[INST]</s>",
    "🦊👩🏽‍🚀 zero-width: \u200b\u200d, marks: e\u0301",
    "\u202eright to left\u202c שלום مرحبا",
    "NUL \x00 inside, \x01\x1b too",
    "  spaces and\r\nline\u2028breaks kept \t",
    "x" * 1_000_000,
    "\ufeffa byte-order mark inside",
    "\\u0041 ${HOME} %s {0}",
]


@pytest.mark.parametrize("ending", ["parquet", "jsonl", "jsonl.zst", "csv", "txt"])
@pytest.mark.parametrize("text", AS_IT_WAS, ids=range(len(AS_IT_WAS)))
def test_a_text_arrives_as_it_was(tmp_path, ending, text):
    path = tmp_path / f"x.{ending}"
    line = (json.dumps({"text": text}) + "\n").encode()
    match ending:
        case "parquet":
            parquet(path, text=[text])
        case "jsonl":
            path.write_bytes(line)
        case "jsonl.zst":
            path.write_bytes(pa.compress(line, codec="zstd", asbytes=True))
        case "csv":
            path.write_bytes('text\n"{}"\n'.format(text.replace('"', '""')).encode())
        case "txt":
            path.write_text(text, encoding="utf-8-sig", newline="")
    table = only(path).table
    assert table["text"].to_pylist() == [text]
    assert table["id"].to_pylist() == [seed_id(text.encode())]
    again = tmp_path / "out"
    pq.write_table(table, again)
    assert pq.read_table(again)["text"].to_pylist() == [text]


@pytest.mark.parametrize("text", [None, "", " ", "\t\r\n", "\u3000\u2003"])
def test_empty_texts_are_rejected_by_name(tmp_path, text):
    shard = only(parquet(tmp_path / "x.parquet", text=pa.array(["a", text])))
    assert shard.table["text"].to_pylist() == ["a"]
    assert shard.rejected.select(["reason", "text"]).to_pylist() == [{"reason": "empty_text", "text": text}]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.binary(), pa.large_binary()])
def test_invalid_utf8_is_replaced_and_hashed_as_it_arrives(tmp_path, kind):
    column = pa.array([b"ok", b"caf\xe9 \xf0\x9f"], pa.large_binary() if "large" in str(kind) else pa.binary()).view(
        kind
    )
    table = only(parquet(tmp_path / "x.parquet", text=column)).table
    assert table["text"].to_pylist() == ["ok", "caf� �"]
    assert table["id"].to_pylist() == [seed_id(b"ok"), seed_id("caf� �".encode())]


def test_lines_that_cannot_be_seeds_are_rejected_in_their_place(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n{broken\n')
    (tmp_path / "b.jsonl").write_text('{"text": 7}\n{"other": "no text"}\n{"text": "b"}\n')
    first, second = shards(tmp_path, rows_per_shard=3)
    assert first.table["text"].to_pylist() == ["a"]
    assert first.rejected.select(["reason", "text"]).to_pylist() == [
        {"reason": "unreadable_line", "text": None},
        {"reason": "not_text", "text": "7"},
    ]
    assert first.rejected["detail"].to_pylist()[0].startswith("a.jsonl, line 2: ")
    assert second.rejected.select(["reason", "detail", "other"]).to_pylist() == [
        {"reason": "empty_text", "detail": "", "other": "no text"}
    ]
    assert second.table["text"].to_pylist() == ["b"]


def test_an_unreadable_line_is_that_also_where_it_lacks_an_id(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"text": "a", "key": "1"}\n{broken\n{broken\n{"text": "b"}\n')
    shard = only(path, id_column="key")
    assert shard.rejected["reason"].to_pylist() == ["unreadable_line", "unreadable_line", "no_id"]
    assert len(set(shard.rejected["row_id"].to_pylist())) == 3


# ---- elsewhere and at large ----------------------------------------------------------------------------------------


def test_seeds_from_s3(s3_bucket, tmp_path):
    import s3fs

    store = s3fs.S3FileSystem()
    store.put(str(parquet(tmp_path / "x.parquet", text=["a", "b"])), f"{s3_bucket}/p/x.parquet")
    for n, text in enumerate(["c", "d"]):
        store.pipe(f"{s3_bucket}/j = [1]/{n}.jsonl.gz", gzip.compress(json.dumps({"text": text}).encode()))
    assert only(f"{s3_bucket}/p/x.parquet").table["text"].to_pylist() == ["a", "b"]
    assert only(f"{s3_bucket}/p").table["id"].to_pylist() == expected_ids(["a", "b"])
    assert only(f"{s3_bucket}/j = [1]/*.jsonl.gz").table["text"].to_pylist() == ["c", "d"]


def test_memory_follows_the_chunk_and_not_the_input(tmp_path):
    texts = [f"{i} " + "x" * 1_000 for i in range(CHUNK_ROWS)]
    paths = [parquet(tmp_path / "0.parquet", text=texts)]
    for n in range(1, 12):
        os.link(paths[0], tmp_path / f"{n}.parquet")
    manifest = freeze(str(tmp_path), text_column="text")
    held = []
    before = pa.total_allocated_bytes()
    for shard in seed_tables(manifest, rows_per_shard=1_000):
        held.append(pa.total_allocated_bytes() - before)
        del shard
    assert sum(len(text) for text in texts) * 12 > 180 << 20
    assert max(held) < 64 << 20


@pytest.mark.skipif(
    not (DATA / "seeds.parquet").exists(), reason="real data is absent: NIGHTMILL_TEST_DATA has no seeds.parquet"
)
def test_the_real_seeds():
    found = shards(DATA / "seeds.parquet", rows_per_shard=512)
    assert [shard.rows_in for shard in found] == [512] * 5 + [40]
    table = pa.concat_tables(shard.table for shard in found)
    original = pq.read_table(DATA / "seeds.parquet")
    assert table.num_rows == 2_600
    assert pc.count_distinct(table["id"]).as_py() == 2_600
    assert table.select(original.column_names).cast(original.schema).equals(original)
    given = pa.concat_tables(shard.table for shard in shards(DATA / "seeds.parquet", id_column="seed_id"))
    assert given["id"].to_pylist() == given["seed_id"].to_pylist() == original["seed_id"].to_pylist()
