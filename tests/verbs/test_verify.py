"""The verdict of ``verify`` is shown with the ledger, and every defect by name."""

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
