"""Which files an input names, in which order, and how each format is read."""

from __future__ import annotations

import csv
import gzip
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from pipelines.errors import UserError
from pipelines.store.inputs.find import find, holds
from pipelines.store.inputs.formats import FORMATS, format_of
from pipelines.store.inputs.source import CHUNK_ROWS, InputFile, content_digest


def names(wanted) -> list[str]:
    return [file.name for file in find(wanted).files]


def file_at(path: Path) -> InputFile:
    return find(str(path)).files[0]


def read(path: Path, text_column: str = "text") -> tuple[list[dict], dict[int, tuple[str, str]]]:
    """All rows of a file and its faults by row."""
    file = file_at(path)
    format_ = FORMATS[format_of(file.path)]
    described = format_.describe(file, None)
    rows, faults = [], {}
    for chunk in format_.chunks(file, described.schema, text_column):
        faults |= {len(rows) + place: fault for place, fault in chunk.faults.items()}
        rows += chunk.table.to_pylist()
    assert described.rows == len(rows)
    return rows, faults


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('{"text": "a"}\n')


# ---- finding -------------------------------------------------------------------------------------------------------


def test_a_folder_is_read_whole_in_sorted_order_without_hidden_files(tmp_path):
    touch(
        *(tmp_path / n for n in ("b.jsonl", "a/2.jsonl", "a/10.jsonl", ".hidden.jsonl", ".git/x.jsonl", "a/.y.jsonl"))
    )
    assert names(str(tmp_path)) == ["a/10.jsonl", "a/2.jsonl", "b.jsonl"]


def test_a_linked_folder_is_followed_once(tmp_path):
    touch(tmp_path / "elsewhere/x.jsonl", tmp_path / "in/a.jsonl")
    (tmp_path / "in/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in/round").symlink_to(tmp_path / "in")
    assert names(str(tmp_path / "in")) == ["a.jsonl", "linked/x.jsonl"]


def test_a_list_keeps_its_order_and_a_glob_is_sorted(tmp_path, monkeypatch):
    touch(*(tmp_path / n for n in ("z.jsonl", "g/2.jsonl", "g/1.jsonl", "g/deep/3.jsonl")))
    monkeypatch.chdir(tmp_path)
    assert names(["z.jsonl", "g/*.jsonl"]) == ["z.jsonl", "1.jsonl", "2.jsonl"]
    assert names("g/**/*.jsonl") == ["1.jsonl", "2.jsonl", "deep/3.jsonl"]
    assert names(Path("g")) == ["1.jsonl", "2.jsonl", "deep/3.jsonl"]


@pytest.mark.parametrize(
    "name", ["a b=1,c.jsonl", "{x}.jsonl", "a[1].jsonl", "what?*.jsonl", "x::y.jsonl", "ü 🦊.jsonl"]
)
def test_a_path_that_exists_is_no_glob(tmp_path, name):
    touch(tmp_path / name, tmp_path / "a1.jsonl", tmp_path / "what-ever.jsonl")
    assert names(str(tmp_path / name)) == [name]


def test_a_glob_below_a_folder_whose_name_looks_like_one(tmp_path):
    touch(tmp_path / "run [1]=a,b" / "x.jsonl", tmp_path / "run 1=a,b" / "other.jsonl")
    assert names(str(tmp_path / "run [1]=a,b" / "*.jsonl")) == ["x.jsonl"]


def test_tilde_and_file_urls(tmp_path, monkeypatch):
    touch(tmp_path / "x.jsonl")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find("~/x.jsonl").files[0].path == str(tmp_path / "x.jsonl")
    assert find(f"file://{tmp_path}/x.jsonl").files[0].path == str(tmp_path / "x.jsonl")


def test_files_of_no_known_ending_beside_the_input_are_named(tmp_path):
    touch(tmp_path / "x.jsonl", tmp_path / "_SUCCESS", tmp_path / "notes.docx")
    listing = find(str(tmp_path))
    assert [file.name for file in listing.files] == ["x.jsonl"]
    assert listing.ignored == (str(tmp_path / "_SUCCESS"), str(tmp_path / "notes.docx"))


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("nothing.parquet", r"input=.*nothing\.parquet: no such file or folder"),
        ("seeds.jsnl", r"no such file or folder; did you mean .*seeds\.jsonl\?"),
        ("*.parquet", r"\*\.parquet: no file is there, or none matches"),
        ("empty", r"the folder holds no file"),
        ("x.docx", r"no format reads x\.docx; endings that are read: \.parquet"),
        ("only", r"no format reads a\.pdf"),
        ("mixed", r"input mixes formats: csv \(.*a\.csv\), jsonl \(.*b\.jsonl\)"),
        ("x.txt.gz", r"no format reads x\.txt\.gz"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(tmp_path, wanted, message):
    for name in ("seeds.jsonl", "x.docx", "only/a.pdf", "mixed/a.csv", "mixed/b.jsonl", "x.txt.gz"):
        touch(tmp_path / name)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=message):
        find(str(tmp_path / wanted))


def test_an_empty_list_a_number_and_a_file_named_twice_are_refused(tmp_path):
    touch(tmp_path / "x.jsonl")
    with pytest.raises(UserError, match="the list is empty"):
        find([])
    with pytest.raises(UserError, match="input=7: a path"):
        find([7])
    with pytest.raises(UserError, match=r"x\.jsonl is named twice"):
        find([str(tmp_path / "x.jsonl"), str(tmp_path / "*.jsonl")])


def test_a_folder_that_may_not_be_listed_is_refused():
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        touch(folder / "x.jsonl", folder / "shut/y.jsonl")
        folder.chmod(0o755)
        (folder / "shut").chmod(0)
        user = os.geteuid()
        try:
            if user == 0:
                os.seteuid(65534)  # root may list every folder; nobody may not
            with pytest.raises(UserError, match="shut cannot be listed"):
                find(made)
        finally:
            os.seteuid(user)
            (folder / "shut").chmod(0o700)


def test_an_unknown_scheme_is_refused():
    with pytest.raises(UserError, match="unknown scheme nosuch://"):
        find("nosuch://bucket/x.parquet")


@pytest.mark.parametrize(
    ("name", "format_"),
    [
        ("a.PARQUET", "parquet"),
        ("a.json", "jsonl"),
        ("a.ndjson.gz", "jsonl"),
        ("a.tsv.ZST", "csv"),
        ("a.md", "text"),
        ("a.gz", None),
    ],
)
def test_the_ending_decides_the_format(name, format_):
    assert format_of(name) == format_


# ---- object stores -------------------------------------------------------------------------------------------------


def test_s3_files_folders_and_globs(s3_bucket):
    import s3fs

    store = s3fs.S3FileSystem()
    for key in ("a b=1,{x}.jsonl", "deep/2.jsonl", "[1].jsonl", ".hidden.jsonl", "deep/.x/y.jsonl", "other.parquet"):
        store.pipe(f"{s3_bucket}/in/{key}", b'{"text": "a"}\n')
    store.pipe(f"{s3_bucket}/in/made by hand/", b"")
    everything = ["[1].jsonl", "a b=1,{x}.jsonl", "deep/2.jsonl"]
    assert names(f"{s3_bucket}/in/**/*.jsonl") == everything
    assert names(f"{s3_bucket}/in/*.jsonl") == everything[:2]
    assert names([f"{s3_bucket}/in/a b=1,{{x}}.jsonl", f"{s3_bucket}/in/deep"]) == ["a b=1,{x}.jsonl", "2.jsonl"]
    assert names(f"{s3_bucket}/in/[1].jsonl") == ["[1].jsonl"]
    with pytest.raises(UserError, match="input mixes formats"):
        find(f"{s3_bucket}/in/")
    file = find(f"{s3_bucket}/in/deep/2.jsonl").files[0]
    assert file.path == f"{s3_bucket}/in/deep/2.jsonl"
    assert file.digest.startswith("etag:")
    assert file.size == 14


def test_s3_troubles_are_named(s3_bucket, monkeypatch):
    import s3fs

    with pytest.raises(UserError, match="nothing/here: no file is there"):
        find(f"{s3_bucket}/nothing/here")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/nonexistent")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(UserError, match=r"cannot be listed: NoCredentialsError.*AWS_ACCESS_KEY_ID"):
        find(f"{s3_bucket}/x.parquet")


# ---- digests -------------------------------------------------------------------------------------------------------


def test_small_files_are_known_by_their_content_alone(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"a" * 100)
    before = content_digest(str(path), 100)
    os.utime(path, (1, 1))
    assert content_digest(str(path), 100) == before
    path.write_bytes(b"a" * 99 + b"b")
    assert content_digest(str(path), 100) != before


def test_large_files_are_known_by_their_ends_and_time_of_change(tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.store.inputs.source.WHOLE_BYTES", 8 << 20)
    path = tmp_path / "x"
    size = 12 << 20
    path.write_bytes(bytes(size))
    os.utime(path, (1, 1))
    before = content_digest(str(path), size)
    assert before.startswith("sampled:")
    with path.open("r+b") as file:
        file.seek(size // 2)
        file.write(b"x")
    assert content_digest(str(path), size) != before
    path.write_bytes(bytes(size - 1) + b"x")
    os.utime(path, (1, 1))
    assert content_digest(str(path), size) != before


# ---- JSON lines ----------------------------------------------------------------------------------------------------


def test_json_values_become_strings_and_bad_lines_faults(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text(
        '{"text": "a", "n": 123456789012345678901234567890}\n'
        "\n"
        '{"text": "b", "tags": ["x", 1], "ok": true, "nothing": null}\r\n'
        '{"text": "c", broken\n'
        "[1, 2]\n"
        '{"text": 7}\n'
        '{"text": "d", "x": NaN}'
    )
    rows, faults = read(path)
    assert [row["text"] for row in rows] == ["a", "b", None, None, "7", "d"]
    assert rows[0]["n"] == "123456789012345678901234567890"
    assert (rows[1]["tags"], rows[1]["ok"], rows[1]["nothing"]) == ('["x", 1]', "true", None)
    assert list(rows[0]) == ["text", "n", "tags", "ok", "nothing", "x"]
    assert {place: reason for place, (reason, _) in faults.items()} == {
        2: "unreadable_line",
        3: "unreadable_line",
        4: "not_text",
    }
    assert faults[2][1].startswith("x.jsonl, line 4: ")
    assert faults[3][1] == "x.jsonl, line 5: not an object: '[1, 2]\\n'"
    assert faults[4][1] == "x.jsonl, line 6: not a string: '7'"


def test_json_lines_keep_their_place_over_many_chunks(tmp_path):
    path = tmp_path / "x.jsonl"
    lines = ["" if i % 3 else json.dumps({"text": str(i)}) for i in range(3 * CHUNK_ROWS)]
    lines[-1] = "broken"
    path.write_text("\n".join(["\n" * CHUNK_ROWS, *lines]))
    rows, faults = read(path)
    assert [row["text"] for row in rows[:-1]] == [str(i) for i in range(0, 3 * CHUNK_ROWS, 3)]
    assert faults[len(rows) - 1][1].startswith(f"x.jsonl, line {4 * CHUNK_ROWS + 1}: ")


def test_deeply_nested_json_is_a_fault_not_a_crash(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"text": "a"}\n' + "[" * 100_000 + "\n")
    assert list(read(path)[1]) == [1]


@pytest.mark.parametrize("content", ['[{"text": "a"},\n {"text": "b"}]', '{\n  "text": "a"\n}\n'])
def test_a_json_document_is_refused_with_the_way_to_convert_it(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"no line of .*x\.json is a JSON object .*jq -c"):
        FORMATS["jsonl"].describe(file_at(path), None)


def test_values_used_as_keys_are_refused(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps({"text": "a", str(i): 1}) + "\n" for i in range(1_200)))
    with pytest.raises(UserError, match="over 1000 different keys"):
        FORMATS["jsonl"].describe(file_at(path), None)


def test_half_a_surrogate_pair(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text(r'{"text": "\ud83e\udd8a fox \ud83e"}' + "\n")
    assert read(path)[0] == [{"text": "🦊 fox �"}]
    path.write_text(r'{"\ud83e": "a"}' + "\n")
    with pytest.raises(UserError, match="half of a surrogate pair"):
        read(path)


# ---- CSV -----------------------------------------------------------------------------------------------------------


def test_csv_fields_hold_commas_quotes_and_line_breaks(tmp_path):
    path = tmp_path / "x.csv"
    with path.open("w", newline="", encoding="utf-8-sig") as out:
        csv.writer(out).writerows(
            [["text", "n"], ['he said "no", then\r\nleft', "1"], ["", "007"], ["x" * 1_000_000, "3"]]
        )
    rows, faults = read(path)
    assert rows == [
        {"text": 'he said "no", then\r\nleft', "n": "1"},
        {"text": "", "n": "007"},
        {"text": "x" * 1_000_000, "n": "3"},
    ]
    assert not faults


def test_csv_records_of_another_shape_are_faults(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text('text,n\na,1\nb\n\n"x"y,2\nc,3,4\nd,5\n')
    rows, faults = read(path)
    assert [row["text"] for row in rows] == ["a", None, None, None, "d"]
    assert faults[1] == ("unreadable_line", "x.csv, line 3: 1 fields, and the header has 2")
    assert faults[2] == ("unreadable_line", "x.csv, line 5: ',' expected after '\"'")
    assert faults[3][1] == "x.csv, line 6: 3 fields, and the header has 2"


def test_an_open_quote_is_refused_with_its_line(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text('text,n\na,1\n"never closed,2\n' + "b,3\n" * 100)
    with pytest.raises(UserError, match=r"x\.csv, line 3: a quote is never closed"):
        FORMATS["csv"].describe(file_at(path), None)


def test_csv_headers(tmp_path):
    path = tmp_path / "x.tsv"
    path.write_text("\ttext\n0\ta, b\n")
    assert read(path)[0] == [{"column_1": "0", "text": "a, b"}]
    path.write_text("text\ttext\na\tb\n")
    with pytest.raises(UserError, match="two columns named 'text'"):
        read(path)


# ---- Parquet -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
)
def test_all_kinds_of_strings_are_read_as_one(tmp_path, kind):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"text": pa.array(["a", None, "🦊"]).cast(kind), "n": [1, 2, 3]}), path)
    assert FORMATS["parquet"].describe(file_at(path), None).schema == pa.schema(
        [("text", pa.string()), ("n", pa.int64())]
    )
    assert [row["text"] for row in read(path)[0]] == ["a", None, "🦊"]


def test_wide_rows_come_in_few_at_a_time(tmp_path):
    path = tmp_path / "x.parquet"
    pq.write_table(
        pa.table({"text": ["x" * 1_000_000 + str(i) for i in range(64)]}), path, compression=None, use_dictionary=False
    )
    file = file_at(path)
    described = FORMATS["parquet"].describe(file, None)
    chunks = list(FORMATS["parquet"].chunks(file, described.schema, "text"))
    assert max(chunk.table.num_rows for chunk in chunks) <= 17
    assert sum(chunk.table.num_rows for chunk in chunks) == described.rows == 64


def test_invalid_utf8_is_repaired_also_inside_lists_and_structs(tmp_path):
    path = tmp_path / "x.parquet"
    bad = pa.array([b"ok", b"caf\xe9", None]).view(pa.string())
    nested = pa.StructArray.from_arrays([bad, pa.ListArray.from_arrays([0, 2, 2, 3], bad)], ["s", "l"])
    pq.write_table(pa.table({"text": bad, "nested": nested}), path)
    rows, _ = read(path)
    assert rows == [
        {"text": "ok", "nested": {"s": "ok", "l": ["ok", "caf�"]}},
        {"text": "caf�", "nested": {"s": "caf�", "l": []}},
        {"text": None, "nested": {"s": None, "l": [None]}},
    ]


def test_invalid_utf8_is_repaired_inside_maps(tmp_path):
    path = tmp_path / "x.parquet"
    items = pa.array([b"ok", b"caf\xe9"]).view(pa.string())
    pairs = pa.MapArray.from_arrays([0, 1, 2], pa.array(["k", "k"]), items)
    pq.write_table(pa.table({"text": ["a", "b"], "m": pairs}), path)
    rows, _ = read(path)
    assert [row["m"] for row in rows] == [[("k", "ok")], [("k", "caf\ufffd")]]


def test_invalid_utf8_is_repaired_inside_lists_of_any_kind(tmp_path):
    path = tmp_path / "x.parquet"
    items = pa.array([b"ok", b"caf\xe9"]).view(pa.string())
    large = pa.LargeListArray.from_arrays([0, 1, 2], items)
    fixed = pa.FixedSizeListArray.from_arrays(items, 1)
    pq.write_table(pa.table({"text": ["a", "b"], "large": large, "fixed": fixed}), path)
    rows, _ = read(path)
    assert [(row["large"], row["fixed"]) for row in rows] == [(["ok"], ["ok"]), (["caf\ufffd"], ["caf\ufffd"])]


def test_a_file_whose_name_is_not_utf8_is_read(tmp_path):
    name = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.parquet")
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "x.parquet")
    os.rename(tmp_path / "x.parquet", name)
    assert [row["text"] for row in read(Path(name))[0]] == ["a"]


# ---- text files and packing ----------------------------------------------------------------------------------------


def test_a_folder_of_texts(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b/note.md").write_bytes(b"\xef\xbb\xbf# caf\xe9\r\n")
    (tmp_path / "a.txt").write_text("")
    rows = [row for path in ("a.txt", "b/note.md") for row in read(tmp_path / path)[0]]
    assert [row["text"] for row in rows] == ["", "# caf�\r\n"]
    assert names(str(tmp_path)) == ["a.txt", "b/note.md"]


PACKERS: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".zst": zstandard.compress, "": lambda raw: raw}


@pytest.mark.parametrize("packing", PACKERS)
def test_packed_files_are_unpacked(tmp_path, packing):
    path = tmp_path / f"x.jsonl{packing}"
    pack = PACKERS[packing]
    path.write_bytes(pack(b'{"text": "a"}\n') + pack(b'{"text": "b"}\n'))
    assert [row["text"] for row in read(path)[0]] == ["a", "b"]


@pytest.mark.parametrize("packing", [".gz", ".zst"])
@pytest.mark.parametrize("name", ["x.jsonl", "x.csv"])
def test_a_packed_file_that_is_cut_off_is_refused_by_name(tmp_path, name, packing):
    path = tmp_path / (name + packing)
    lines = "".join(f'{{"text": "{os.urandom(9).hex()}"}}\n' for _ in range(5_000))
    whole = PACKERS[packing](lines.encode())
    for cut in (len(whole) - 1, len(whole) // 2, 3):
        path.write_bytes(whole[:cut])
        with pytest.raises(UserError, match=rf"{name}{packing} cannot be read"):
            FORMATS[format_of(name)].describe(file_at(path), None)


@pytest.mark.parametrize("name", ["x.jsonl", "x.csv", "x.txt"])
def test_utf16_is_refused_with_the_way_to_convert_it(tmp_path, name):
    path = tmp_path / name
    path.write_text('{"text": "a"}\n', encoding="utf-16")
    file = file_at(path)
    with pytest.raises(UserError, match="is UTF-16; convert it first: iconv"):
        list(FORMATS[format_of(name)].chunks(file, pa.schema([("text", pa.string())]), "text"))


# ---- an output inside the input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "output", "held"),
    [
        ("data", "data/run", True),
        ("data", "data", True),
        ("data", "data2", False),
        ("data/**/*.parquet", "data/run", True),
        ("data/*.parquet", "data/run", False),
        ("data/a.parquet", "data/run", False),
        (["x.parquet", "data"], "data/deep/run", True),
        ("s3://bucket/in", "s3://bucket/in/run", True),
        ("s3://bucket/in", "s3://bucket/run", False),
        ("link", "data/run", True),
    ],
)
def test_an_output_that_the_input_would_read_is_seen(tmp_path, monkeypatch, wanted, output, held):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    assert bool(holds(wanted, output)) is held


def test_views_and_large_strings_inside_lists_and_structs_are_read_as_plain_ones(tmp_path):
    path = tmp_path / "x.parquet"
    words = pa.array([["a"], ["b"]], pa.list_(pa.string_view()))
    nested = pa.array([{"s": "x"}, {"s": "y"}], pa.struct([("s", pa.large_string())]))
    pq.write_table(pa.table({"text": ["a", "b"], "words": words, "nested": nested}), path)
    file = file_at(path)
    assert FORMATS["parquet"].describe(file, None).schema.field("words").type.value_type == pa.string()
    rows, _ = read(path)
    assert [(row["words"], row["nested"]) for row in rows] == [(["a"], {"s": "x"}), (["b"], {"s": "y"})]


def test_a_file_is_not_read_again_through_a_link(tmp_path):
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "a.parquet")
    (tmp_path / "z.parquet").symlink_to(tmp_path / "a.parquet")
    with pytest.raises(UserError, match="a.parquet and .*z.parquet are one file"):
        find(str(tmp_path))
    (tmp_path / "a.parquet").unlink()
    with pytest.raises(UserError, match="z.parquet is a link to nothing"):
        find(str(tmp_path))
