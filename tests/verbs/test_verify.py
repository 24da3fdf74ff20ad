"""The verdict of ``verify`` is shown with the ledger, and every defect by name."""

import random
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipelines.errors import UserError
from pipelines.store.commit import to_parquet
from pipelines.verbs.verify import render, verify


def test_a_sound_run_is_complete(run, shown):
    told = verify(run.url)
    assert (told["ok"], told["complete"]) == (True, True)
    text = shown(render(told))
    assert "complete; every row in is kept, rejected or failed" in text
    assert "cut_by_max_tokens 1, call_failed 1" in text


def test_an_unfinished_run_has_no_defect(begin, shown):
    run = begin()
    run.go(until="quality", shards=lambda shard: shard.index == 0)
    told = verify(run.url)
    assert (told["ok"], told["complete"], told["pending_shards"]) == (True, False, 2)
    assert "unfinished, 2 planned shards are not committed" in shown(render(told))


def test_a_lost_file_is_named(run, shown):
    stage, entries = run.made["quality"][1:]
    stage.sub("rejected").remove(entries[0].files["rejected"].name)
    told = verify(run.url)
    assert not told["ok"]
    text = shown(render(told))
    assert "defect: stage quality" in text and "is missing" in text and "1 defect" in text


def test_files_of_attempts_that_lost_are_harmless(run, shown):
    run.made["quality"][1].sub("rejected").replace("part-00000.deadbeef.parquet", b"x")
    told = verify(run.url)
    assert told["ok"]
    assert "1 files of attempts that did not commit" in shown(render(told))


def test_a_flipped_byte_is_named_wherever_it_is(run):
    """Page, statistics, footer, side file, decision: no byte of a run's tables can change unnoticed."""
    chance = random.Random(20261124)
    files = sorted(p for p in Path(run.url).rglob("*.parquet") if p.parent.name != "ledger")
    assert {p.parent.name for p in files} >= {"data", "removed", "rejected", "failed", "calls", "decisions"}
    for file in files:
        sound = file.read_bytes()
        for place in (0, len(sound) - 9, *(chance.randrange(len(sound)) for _ in range(6))):
            file.write_bytes(sound[:place] + bytes([sound[place] ^ 1 << chance.randrange(8)]) + sound[place + 1 :])
            told = verify(run.url)
            assert not told["ok"], f"byte {place} of {file}"
        file.write_bytes(sound)
    assert verify(run.url)["ok"]


def test_decisions_that_are_not_those_that_were_applied_are_named(run):
    _, folder, _ = run.made["minhash"]
    [decisions] = Path(folder.url).glob("decisions/*.parquet")
    decisions.write_bytes(to_parquet(pq.read_table(decisions).slice(0, 0)))
    [defect] = verify(run.url)["defects"]
    assert "turned away 1 rows, which are not the 0 that decisions/ names" in defect


def test_data_that_another_hand_wrote_is_named(run):
    """Sound files with the right ids are not enough: their columns must be what the last stage kept."""
    [data, *_] = sorted(Path(run.url, "data").glob("part-*.parquet"))
    sound, table = data.read_bytes(), pq.read_table(data)
    data.write_bytes(to_parquet(table.set_column(2, "persona", [["Somebody else"] * table.num_rows])))
    [defect] = verify(run.url)["defects"]
    assert "data/ holds" in defect
    data.write_bytes(sound)
    data.with_name("extra.parquet").write_bytes(sound)
    [defect] = verify(run.url)["defects"]
    assert "data/ holds 6 rows in 2 files, which are not the 3" in defect


@pytest.mark.parametrize("name", ["manifest.json", "stages.json", "metadata.json", "stats.json", "config.yaml", "plan"])
@pytest.mark.parametrize("change", ["altered", "cut", "gone"])
def test_a_record_that_is_not_as_it_was_written_is_named(run, name, change):
    [path] = Path(run.url).glob("stages/1-*/plan-000.json") if name == "plan" else [Path(run.url) / name]
    text = path.read_text()
    if change == "gone":
        path.unlink()
    else:
        altered = re.sub(r"\d", lambda digit: str(9 - int(digit[0])), text, count=1)
        path.write_text(altered if change == "altered" else text[: len(text) // 2])
    if (name, change) == ("stages.json", "gone"):
        with pytest.raises(UserError, match="holds no run"):
            verify(run.url)
        return
    proof = verify(run.url)
    if (name, change) == ("metadata.json", "gone"):
        assert (proof["ok"], proof["complete"]) == (True, False)
    else:
        assert not proof["ok"]
        assert any(path.name in defect for defect in proof["defects"]), proof["defects"]


def test_a_damaged_cache_is_no_defect_and_stops_nothing(run):
    [cache, *_] = sorted((Path(run.url) / "ledger").iterdir())
    content = cache.read_bytes()
    for place in range(0, len(content), 97):
        cache.write_bytes(content[:place] + bytes([content[place] ^ 64]) + content[place + 1 :])
        assert verify(run.url)["ok"]


def test_data_without_a_file_is_a_defect(run):
    for file in (Path(run.url) / "removed").iterdir():
        file.unlink()
    assert any(defect.startswith("removed/") for defect in verify(run.url)["defects"])


def test_data_of_an_earlier_state_is_unfinished_and_no_defect(run):
    """As a kill leaves it between the last shard of a retry and data/."""
    [part, *_] = sorted(Path(run.url).glob("stages/*-minhash-*/part-*.parquet"))
    published = (Path(run.url) / "metadata.json").read_bytes()
    part.unlink()
    run.go()
    (Path(run.url) / "metadata.json").write_bytes(published)
    told = verify(run.url)
    assert told["defects"] == []
    assert (told["ok"], told["complete"]) == (True, False)
    run.go()
    assert verify(run.url)["complete"]
