"""Status tells where a run stands from its ledger, whether a driver works in it or not."""

import json
from collections import Counter

import pytest

from pipelines.errors import RunStopped, UserError
from pipelines.store.dataset import part_name
from pipelines.store.files import folder
from pipelines.store.lease import acquire
from pipelines.verbs.status import render, status


def test_a_finished_run_says_what_was_kept_and_what_was_lost_to_what(run, shown):
    told = status(run.url)
    assert (told["state"], told["quarantine"], told["recipe"]) == ("finished", 1, "text_to_persona")
    stages = told["stages"]
    assert [stage["shards_committed"] for stage in stages.values()] == [2, 3, 1, 1]
    assert stages["seeds"]["items_rejected"] == {"empty_text": 1}
    assert stages["personas"]["items_rejected"] == {"cut_by_max_tokens": 1}
    assert stages["personas"]["failed"] == {"call_failed": 1}
    assert stages["minhash"]["items_rejected"] == {"duplicate": 1}
    assert stages["personas"]["prompt_tokens"] == 6 * 40
    assert any("retry=failed" in step for step in told["next"])
    json.dumps(told)
    text = shown(render(told))
    assert "too_short 1" in text and "call_failed 1" in text and "3/3" in text


def test_a_run_that_stopped_says_how_far_it_came_and_how_to_go_on(begin):
    run = begin()
    run.go(until="quality", shards=lambda shard: shard.index < 2)
    told = status(run.url)
    assert told["state"] == "stopped"
    personas, quality = told["stages"]["personas"], told["stages"]["quality"]
    assert (personas["shards_committed"], personas["shards_planned"]) == (2, 3)
    assert (quality["shards_committed"], quality["shards_planned"]) == (0, None)
    assert told["next"][0].startswith("run the same command again")


def test_a_run_with_retried_rows_under_way_is_not_finished(run):
    run.engine.working = True
    run.go(until="quality", retry=True)
    assert status(run.url)["state"] == "stopped", "the retried row has not gone through quality"
    run.go()
    assert status(run.url)["state"] == "finished"
    assert status(run.url)["quarantine"] == 0


def test_a_driver_at_work_is_named(run, shown):
    with acquire(run.place):
        told = status(run.url)
    assert told["state"] == "running"
    assert told["driver"]["pid"] > 0
    assert f"by pid {told['driver']['pid']} on {told['driver']['host']}" in shown(render(told))
    assert status(run.url)["state"] == "finished"


def test_the_ledger_is_believed_without_opening_shards(run):
    """The cost grows with shards, not rows: with a ledger, no shard's file is read at all."""
    for stage in run.made.values():
        for index in stage[2]:
            stage[1].replace(part_name(index), b"not parquet")
    assert status(run.url)["stages"]["personas"]["items_kept"] == 5


def test_a_damaged_shard_without_a_ledger_is_named_with_the_next_step(run):
    stage = run.made["quality"][1]
    stage.replace(part_name(0), b"not parquet")
    ledger = run.place.sub("ledger")
    for name in ledger.names():
        ledger.remove(name)
    with pytest.raises(RunStopped, match=r"stage quality: .* nightmill verify"):
        status(run.url)


def test_a_folder_without_a_run_is_the_users_mistake(tmp_path):
    with pytest.raises(UserError, match="holds no run"):
        status(str(tmp_path))


def test_looking_changes_nothing(run):
    def everything(place):
        here = {f"{place.url}/{name}": place.read(name) for name in place.names()}
        return here | {k: v for name in place.folders() for k, v in everything(place.sub(name)).items()}

    before = everything(folder(run.url))
    status(run.url)
    assert everything(folder(run.url)) == before


def test_groups_add_up_to_the_ledger(run, shown):
    told = status(run.url, by="granularity")
    found = told["by"]["groups"]
    lost = Counter()
    for group in found:
        lost.update(group["rejected"])
    assert lost == sum((Counter(stage["items_rejected"]) for stage in told["stages"].values()), Counter())
    assert sum(group["kept"] for group in found) == told["stages"]["minhash"]["items_kept"]
    assert sum(sum(group["failed"].values()) for group in found) == 1
    # A text that was turned away as a seed never had a granularity.
    assert {group["values"][0]: group["rejected"] for group in found}[None]["empty_text"] == 1
    text = shown(render(told))
    assert "granularity" in text and "empty_text 1" in text


def test_a_row_that_was_tried_again_counts_where_it_ended(run):
    run.go(retry=True)
    assert sum(sum(group["failed"].values()) for group in status(run.url, by="granularity")["by"]["groups"]) == 1
    run.engine.working = True
    run.go(retry=True)
    assert sum(sum(group["failed"].values()) for group in status(run.url, by="granularity")["by"]["groups"]) == 0


def test_what_cannot_be_counted_by_is_refused(run):
    with pytest.raises(UserError, match="--by granulity: no row of this run has that column; they have .*granularity"):
        status(run.url, by="granulity")
    with pytest.raises(UserError, match="--by provenance: its values are lists or structs"):
        status(run.url, by="granularity,provenance")
