"""What a stage makes beside its rows is whole or not there, goes on after a kill, and is proven by its checksums."""

from pathlib import Path

import pyarrow as pa
import pytest

from pipelines.errors import Damaged
from pipelines.store.dataset import Dataset, Shard
from pipelines.store.decisions import write_decisions
from pipelines.store.files import folder
from pipelines.store.made import defects, made, making

NOTHING = pa.table({"row": pa.array([], pa.int64()), "id": pa.array([], pa.string())})


def fill(place):
    """Two files, one in a folder; counts how often it was called in this place."""
    here = Path(place)
    (here / "deep").mkdir(exist_ok=True)
    (here / "deep" / "model.bin").write_bytes(b"weights")
    (here / "calls").write_text((here / "calls").read_text() + "x" if (here / "calls").exists() else "x")
    return {"steps": 3}


def settled(stage):
    """Make, and decide with what was told, as a stage does."""
    told = making(stage, fill)
    source = Dataset.of(stage, {0: 1})
    return write_decisions(stage, source, [Shard(0, ((0, 0, 1),), 1)], [NOTHING], told)


def test_what_was_made_is_there_with_its_checksums(tmp_path):
    stage = folder(str(tmp_path / "stage"))
    ledger = settled(stage)
    assert ledger["stats"]["steps"] == 3
    assert sorted(ledger["stats"]["made"]) == ["calls", "deep/model.bin"]
    assert (tmp_path / "stage" / "made" / "deep" / "model.bin").read_bytes() == b"weights"
    assert made(stage.url) == str(tmp_path / "stage" / "made")
    assert list(defects(stage)) == []


def test_after_a_kill_the_same_folder_is_gone_on_with(tmp_path):
    stage = folder(str(tmp_path / "stage"))

    def killed(place):
        fill(place)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        making(stage, killed)
    assert not (tmp_path / "stage" / "made").exists()
    making(stage, fill)
    assert (tmp_path / "stage" / "made" / "calls").read_text() == "xx"
    # Killed once more, between the renaming and the decisions.
    making(stage, fill)
    assert (tmp_path / "stage" / "made" / "calls").read_text() == "xxx"
    assert not (tmp_path / "stage" / "making").exists()


def test_what_is_gone_or_changed_is_named(tmp_path):
    stage = folder(str(tmp_path / "stage"))
    settled(stage)
    (tmp_path / "stage" / "made" / "calls").unlink()
    (tmp_path / "stage" / "made" / "deep" / "model.bin").write_bytes(b"Weights")
    gone, other = defects(stage)
    assert "made/calls is gone" in gone and "made/deep/model.bin is not as it was made" in other


def test_nothing_is_proven_before_it_is_made(tmp_path):
    with pytest.raises(Damaged, match="has not made anything yet"):
        list(defects(folder(str(tmp_path / "stage"))))


def test_on_an_object_store_it_is_fetched_once(s3_bucket):
    stage = folder(f"{s3_bucket}/run/stages/1-index-abc")
    settled(stage)
    assert stage.sub("made/deep").read("model.bin") == b"weights"
    here = made(stage.url)
    assert (Path(here) / "deep" / "model.bin").read_bytes() == b"weights" and made(stage.url) == here
    assert list(defects(stage)) == []
    stage.sub("made").replace("calls", b"y")
    assert len(list(defects(stage))) == 1


def test_what_goes_to_an_object_store_goes_on_after_a_kill_too(s3_bucket):
    stage = folder(f"{s3_bucket}/run/stages/1-model-g")

    def killed(place):
        Path(place, "half").write_text("done")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        making(stage, killed)
    found = making(stage, lambda place: {"half": Path(place, "half").read_text()})
    assert found["half"] == "done"
    # What was made is gone from this machine, where the next one would find it.
    assert making(stage, lambda place: {"files": len(list(Path(place).iterdir()))})["files"] == 0
