"""Any id of a run has an explanation: what became of the row, how it was made, and its parents down to the seed."""

import json
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipelines.errors import UserError
from pipelines.rows import digest, keep
from pipelines.store.survey import survey
from pipelines.verbs.explain import explain, render
from pipelines.verbs.lookup import find


def outcome(row):
    return [(event["stage"], event["outcome"]) for event in row["path"]]


def id_with(run, stage, side, **wanted):
    """The id of the row of a stage (or of its side files) with these values."""
    for path in sorted(Path(run.made[stage][1].url, side).glob("part-*.parquet")):
        for row in pq.read_table(path).to_pylist():
            if all(row[name] == value for name, value in wanted.items()):
                return row.get("id") or row["row_id"]
    raise AssertionError(f"no row of {stage} has {wanted}")


def test_a_final_row_leads_to_its_prompt_its_answer_and_its_seed(run):
    id_ = id_with(run, "minhash", "", persona="A writer of maps who lives by the sea")
    told = explain(run.url, id_)
    row = told["row"]
    assert outcome(row) == [("personas", "kept"), ("quality", "kept"), ("minhash", "kept")]
    assert row["columns"]["persona"] == "A writer of maps who lives by the sea"
    assert row["provenance"]["model"] == "tiny" and row["provenance"]["revision"] == "abc"
    assert row["provenance"]["finish_reason"] == "stop" and row["provenance"]["prompt_hash"]
    [call] = row["calls"]
    assert call["messages"] == [{"role": "user", "content": "Who would read this?\nmaps"}]
    assert call["answers"] == [{"text": "A writer of maps who lives by the sea", "finish_reason": "stop"}]
    assert call["seed"] == row["provenance"]["seed"]
    [seed] = row["parents"]
    assert (seed["columns"], seed["parents"]) == ({"text": "maps", "domain": "test"}, [])
    assert outcome(seed) == [("seeds", "kept")]
    assert json.loads(json.dumps(told)) == told


def test_a_rejected_item_by_its_id_and_its_row_by_its_own(run):
    cut = id_with(run, "personas", "rejected", reason="cut_by_max_tokens")
    row = explain(run.url, cut)["row"]
    assert row["path"] == [{"stage": "personas", "outcome": "rejected", "reason": "cut_by_max_tokens"}]
    assert row["calls"][0]["answers"][0]["finish_reason"] == "length"
    [seed] = row["parents"]
    whole = explain(run.url, seed["id"])["row"]
    assert whole["path"][1]["items_rejected"] == [{"id": cut, "reason": "cut_by_max_tokens"}]


def test_a_row_that_a_filter_rejected_names_the_rule(run):
    row = explain(run.url, id_with(run, "quality", "rejected", reason="too_short"))["row"]
    assert outcome(row) == [("personas", "kept"), ("quality", "rejected")]
    assert row["path"][1]["reason"] == "too_short"


def test_a_duplicate_names_the_row_that_stays(run):
    row = explain(run.url, id_with(run, "minhash", "rejected", reason="duplicate"))["row"]
    last = row["path"][-1]
    assert (last["stage"], last["reason"], last["method"], last["similarity"]) == (
        "minhash",
        "duplicate",
        "minhash",
        1.0,
    )
    assert last["keeper_id"] in run.ids("minhash")


def test_a_failed_row_shows_the_error_and_the_exact_request(run, shown):
    id_ = id_with(run, "personas", "failed", error="call_failed")
    told = explain(run.url, id_)
    last = told["row"]["path"][-1]
    assert (last["outcome"], last["error"], last["message"]) == ("failed", "call_failed", "HTTP 500 after 6 tries")
    assert last["request"]["messages"] == [{"role": "user", "content": "Who would read this?\nbreaks"}]
    assert last["calls"][0]["answers"] == []
    assert "retry=failed tries it again" in shown(render(told))


def test_a_retried_row_shows_both_tries(run):
    id_ = id_with(run, "personas", "failed", error="call_failed")
    run.engine.working = True
    run.go(retry=True)
    row = explain(run.url, id_)["row"]
    assert outcome(row) == [("seeds", "kept"), ("personas", "failed"), ("personas", "used")]
    [made] = row["path"][2]["items_kept"]
    child = explain(run.url, made)["row"]
    assert child["path"][-1]["stage"] == "minhash" and child["parents"][0]["id"] == id_


def test_a_row_that_is_no_seed_says_why(run):
    row = explain(run.url, id_with(run, "seeds", "rejected", reason="empty_text"))["row"]
    assert row["path"] == [{"stage": "seeds", "outcome": "rejected", "reason": "empty_text"}]
    assert row["columns"]["domain"] == "test"


def test_of_several_calls_those_that_made_an_item_are_told(begin, monkeypatch, shown):
    async def several(row, llm, prompts, **_):
        asked = ["barometers", f"{row['text']} first", f"{row['text']} second"]
        idle, *answers = [await llm.chat(prompts.render("persona", text=one, relation="read")) for one in asked]
        known = {"relation": "read", "granularity": "fine"}
        first, second = (keep(one, persona=one.text, **known) for one in answers)
        return [first, replace(second, on=(answers[0],))]

    monkeypatch.setattr("pipelines.flows.persona_hub.text_to_persona", several)
    run = begin(["maps"]).go(until="minhash")
    first, second = run.ids("personas")
    told = explain(run.url, second)
    assert [(call["number"], call["taken"]) for call in told["row"]["calls"]] == [(2, None), (3, 0)]
    assert "call 3: test/persona" in shown(render(told))
    assert shown(render(told)).count("which the item was read from") == 1
    [seed] = told["row"]["parents"]
    used = explain(run.url, seed["id"])
    assert [call["items"] for call in used["row"]["path"][1]["calls"]] == [[], [first, second], [second]]
    assert f"out, for {first}, {second}" in " ".join(shown(render(used)).replace("│", " ").split())


def test_a_row_of_an_unfinished_run_waits(begin):
    run = begin()
    run.go(until="quality")
    assert outcome(explain(run.url, run.ids("personas")[0])["row"]) == [("personas", "kept"), ("quality", "waiting")]


def test_a_further_parent_that_a_flow_named_is_told_too(begin, monkeypatch):
    mate = digest(b"maps")  # the id of the seed "maps"

    async def paired(row, llm, prompts):
        return [keep(persona=f"A pair of {row['text']}", parents=(mate,), relation="read", granularity="fine")]

    run = begin(["strings", "maps"])
    monkeypatch.setattr(
        "pipelines.flows.persona_hub.text_to_persona", lambda row, llm, prompts, **_: paired(row, llm, prompts)
    )
    run.go()
    id_ = id_with(run, "personas", "", persona="A pair of strings")
    row = explain(run.url, id_)["row"]
    assert [parent["columns"]["text"] for parent in row["parents"]] == ["strings", "maps"]
    assert row["calls"] == []


def test_without_stored_calls_it_says_so(begin, shown):
    run = begin(keep_calls=False).go()
    told = explain(run.url, run.ids("minhash")[0])
    assert told["row"]["calls"] is None
    assert "io.keep_calls=false" in shown(render(told))
    failed = explain(run.url, id_with(run, "personas", "failed", error="call_failed"))
    assert "Who would read this?" in shown(render(failed)), "quarantine still has the request"


def test_a_unique_beginning_is_enough(run):
    id_ = run.ids("minhash")[0]
    assert explain(run.url, id_[:6])["row"]["id"] == id_


def test_unknown_and_ambiguous_ids_are_answered_with_what_is_near(run):
    id_ = run.ids("minhash")[0]
    with pytest.raises(UserError, match=f"near to it: {id_}"):
        explain(run.url, id_[:-1] + "z")
    with pytest.raises(UserError, match="at least 6 characters"):
        explain(run.url, id_[:3])
    with pytest.raises(UserError, match="ids are in the column id of data/"):
        explain(run.url, "nothing like it")
    stages = survey(run.place)
    assert find(stages, id_).id == id_


def test_of_two_ids_the_one_given_whole_is_meant_though_the_other_begins_with_it(begin):
    run = begin(["one", "two"], id_column="name", names=["row-01", "row-01b"]).go()
    assert explain(run.url, "row-01")["row"]["columns"]["text"] == "one"


def test_a_beginning_of_several_ids_is_refused_with_those(begin):
    run = begin(["one", "two"], id_column="name", names=["row-01a", "row-01b"]).go()
    with pytest.raises(UserError, match=r"several ids begin so \(row-01a, row-01b \.\.\.\); give more"):
        explain(run.url, "row-01")


def test_what_a_model_wrote_cannot_steer_the_terminal(run, shown):
    id_ = id_with(
        run, "minhash", "", persona="\x1b[31mA lighthouse keeper who repairs [bold]barometers[/bold] on stormy coasts"
    )
    told = explain(run.url, id_)
    assert told["row"]["columns"]["persona"].startswith("\x1b"), "--json gives the text as it is"
    text = shown(render(told))
    assert "\x1b" not in text
    assert "\\x1b[31mA lighthouse keeper who repairs [bold]barometers[/bold]" in text


def test_only_the_shard_that_holds_the_row_is_read_whole(run, monkeypatch):
    """Finding a row reads id columns; other columns are read of the row groups that hold it, and of no other file."""
    whole = []
    original = pq.ParquetFile.read_row_group

    def spied(self, i, columns=None, **more):
        if columns is None:
            whole.append(i)
        return original(self, i, columns=columns, **more)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", spied)
    explain(run.url, run.ids("minhash")[0])
    assert len(whole) == 3, "the row, its call, its seed"
