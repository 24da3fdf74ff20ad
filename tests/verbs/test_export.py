"""An export is every row of data/, once, in the asked layout; and it never overwrites what is not its own."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from pipelines.errors import RunStopped, UserError
from pipelines.verbs.export import card, export, render


def lines(path) -> list[dict]:
    opened = gzip.open(path) if str(path).endswith(".gz") else open(path, "rb")
    with opened as file:
        return [json.loads(line) for line in file]


def test_json_lines_hold_every_row_with_its_provenance(run, tmp_path, shown):
    told = export(run.url, to=str(tmp_path / "out" / "personas.jsonl"))
    rows = lines(tmp_path / "out" / "personas.jsonl")
    assert [row["id"] for row in rows] == run.ids("minhash")
    assert rows[0]["provenance"]["model"] == "tiny" and rows[0]["parent_ids"]
    assert rows[0]["provenance"]["created_at"].endswith("+00:00")
    assert (told["rows"], told["format"]) == (3, "jsonl")
    assert told["bytes"] == (tmp_path / "out" / "personas.jsonl").stat().st_size
    assert "3 rows as jsonl, 1 file" in shown(render(told))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["personas.jsonl"], "no temporary file is left"


def test_the_ending_of_the_target_is_enough(run, tmp_path):
    assert export(run.url, to=str(tmp_path / "a.parquet"))["format"] == "parquet"
    export(run.url, to=str(tmp_path / "a.jsonl.gz"))
    assert [row["id"] for row in lines(tmp_path / "a.jsonl.gz")] == pq.read_table(tmp_path / "a.parquet")[
        "id"
    ].to_pylist()


def test_without_provenance(run, tmp_path):
    export(run.url, to=str(tmp_path / "a.jsonl"), no_provenance=True)
    assert set(lines(tmp_path / "a.jsonl")[0]) == {"id", "parent_ids", "persona", "relation", "granularity"}


def test_by_default_it_lies_beside_the_data(run):
    assert export(run.url)["to"] == f"{run.url}/data.jsonl"
    assert export(run.url, format="parquet")["to"] == f"{run.url}/data.parquet"
    assert pq.read_table(f"{run.url}/data.parquet").schema.equals(pq.read_table(f"{run.url}/data").schema)


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_a_folder_is_a_dataset_that_others_load(begin, tmp_path, format):
    datasets = pytest.importorskip("datasets")
    run = begin([f"maps {n * 3} {n * 4}" for n in "abcdefg"], rows_per_file=3).go()
    told = export(run.url, format=format, to=str(tmp_path / "set"))
    assert sorted(p.name for p in (tmp_path / "set" / "data").iterdir()) == [f"part-0000{n}.{format}" for n in range(3)]
    assert told["rows"] == 7
    loaded = datasets.load_dataset(str(tmp_path / "set"), cache_dir=str(tmp_path / "cache"))
    assert loaded["train"]["id"][:] == run.ids("minhash")


def test_the_card_speaks_of_the_files_that_are_there():
    load = 'load_dataset("parquet", data_files="data/*.parquet")'
    text = f"---\nconfigs:\n- config_name: removed\ntags: [a]\n---\n# x\n{load}\n"
    fitted = card(text, "jsonl", ("provenance",))
    front = yaml.safe_load(fitted.split("---")[1])
    assert front == {"configs": [{"config_name": "default", "data_files": "data/*.jsonl"}], "tags": ["a"]}
    assert 'load_dataset("json", data_files="data/*.jsonl")' in fitted
    assert "leaves out `provenance`" in fitted


def test_an_earlier_export_is_replaced_and_its_stale_files_go(begin, tmp_path):
    run = begin([f"maps {n * 3} {n * 4}" for n in "abcde"], rows_per_file=2).go()
    target = tmp_path / "set"
    export(run.url, to=str(target))
    assert len(list((target / "data").iterdir())) == 3
    (Path(run.url) / "metadata.json").unlink()
    run.config["io"]["rows_per_file"] = 3
    run.go()
    export(run.url, to=str(target))
    assert [path.name for path in sorted((target / "data").iterdir())] == ["part-00000.jsonl", "part-00001.jsonl"]


def test_a_file_of_data_that_is_lost_or_damaged_is_named(begin, tmp_path):
    run = begin([f"maps {n * 3} {n * 4}" for n in "abcde"], rows_per_file=2).go()
    part = Path(run.url) / "data" / "part-00002.parquet"
    content = part.read_bytes()
    part.write_bytes(content[:-20])
    with pytest.raises(RunStopped, match="part-00002.parquet is damaged"):
        export(run.url, to=str(tmp_path / "set"))
    part.unlink()
    with pytest.raises(UserError, match="data/ is not complete; run the same command to its end first"):
        export(run.url, to=str(tmp_path / "set"))


def test_an_export_that_was_interrupted_is_taken_up_again(run, tmp_path, monkeypatch):
    target = tmp_path / "set"

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pipelines.verbs.export.orjson.dumps", full)
        with pytest.raises(RunStopped, match="No space left"):
            export(run.url, to=str(target))
    export(run.url, to=str(target))
    assert len(lines(target / "data" / "part-00000.jsonl")) == 3
    assert not list(tmp_path.glob(".nightmill-export-*"))


def test_nothing_of_others_is_overwritten(run, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "diary.txt").write_text("mine")
    with pytest.raises(UserError, match="no earlier export of this"):
        export(run.url, to=str(tmp_path / "notes"))
    (tmp_path / "a.jsonl").write_text("mine\n")
    with pytest.raises(UserError, match="is not this export; delete it"):
        export(run.url, to=str(tmp_path / "a.jsonl"))
    assert (tmp_path / "a.jsonl").read_text() == "mine\n"
    assert [path.name for path in (tmp_path / "notes").iterdir()] == ["diary.txt"]
    with pytest.raises(UserError, match="a file of that name is there"):
        export(run.url, to=str(tmp_path / "notes" / "diary.txt"))


def test_the_same_file_again_is_no_mistake(run, tmp_path):
    for name in ("a.jsonl", "a.jsonl.gz", "a.parquet"):
        first = export(run.url, to=str(tmp_path / name))
        assert export(run.url, to=str(tmp_path / name)) == first


def test_another_layout_does_not_mix_with_an_earlier_one(run, tmp_path):
    export(run.url, to=str(tmp_path / "set"))
    with pytest.raises(UserError, match="no earlier export of this"):
        export(run.url, format="parquet", to=str(tmp_path / "set"))


@pytest.mark.parametrize("inside", ["", "/data", "/data/more.jsonl", "/stages/x"])
def test_the_runs_own_folders_are_refused(run, inside):
    with pytest.raises(UserError, match="the run's own files"):
        export(run.url, to=run.url + inside)


def test_a_target_and_a_format_that_disagree(run, tmp_path):
    with pytest.raises(UserError, match="named as parquet and --format is jsonl"):
        export(run.url, format="jsonl", to=str(tmp_path / "a.parquet"))


def test_an_unfinished_run_is_refused_with_the_fix(begin, tmp_path):
    run = begin()
    run.go(until="minhash")
    with pytest.raises(UserError, match="is not finished.*run the same command to its end first"):
        export(run.url, to=str(tmp_path / "a.jsonl"))


def test_a_run_that_kept_nothing_exports_no_rows_but_types(begin, tmp_path):
    run = begin(["short", "long"]).go()
    assert export(run.url, to=str(tmp_path / "a.jsonl"))["rows"] == 0
    export(run.url, to=str(tmp_path / "a.parquet"))
    assert (tmp_path / "a.jsonl").read_bytes() == b""
    assert pq.read_schema(tmp_path / "a.parquet").field("parent_ids").type == pa.list_(pa.string())


def test_to_an_object_store_and_from_one(begin, s3_bucket, tmp_path):
    import s3fs

    run = begin(output=f"{s3_bucket}/run").go()
    assert export(run.url, to=f"{s3_bucket}/out/a.jsonl")["files"] == [f"{s3_bucket}/out/a.jsonl"]
    export(run.url, to=f"{s3_bucket}/set")
    export(run.url, to=f"{s3_bucket}/set")
    store = s3fs.S3FileSystem()
    rows = [json.loads(line) for line in store.cat_file(f"{s3_bucket}/set/data/part-00000.jsonl").splitlines()]
    assert len(rows) == 3
    assert store.cat_file(f"{s3_bucket}/out/a.jsonl") == store.cat_file(f"{s3_bucket}/set/data/part-00000.jsonl")
    export(run.url, to=str(tmp_path / "here.jsonl"))
    assert lines(tmp_path / "here.jsonl") == rows
    store.pipe_file(f"{s3_bucket}/mine/diary.txt", b"mine")
    with pytest.raises(UserError, match="no earlier export"):
        export(run.url, to=f"{s3_bucket}/mine")


def test_explain_and_status_read_a_run_in_an_object_store(begin, s3_bucket):
    from pipelines.verbs.explain import explain
    from pipelines.verbs.status import status

    run = begin(output=f"{s3_bucket}/run").go()
    assert status(run.url)["state"] == "finished"
    last = run.made["minhash"][1]
    with last.open("part-00000.parquet") as file:
        id_ = pq.read_table(file)["id"][0].as_py()
    assert explain(run.url, id_)["row"]["parents"][0]["columns"]["domain"] == "test"
