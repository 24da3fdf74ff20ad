"""A preview shows what run would do with the first rows, and writes nothing."""

import json
import os
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.compose import compose
from pipelines.errors import EngineDead, RunStopped, UserError
from pipelines.rows import digest
from pipelines.verbs.preview import preview, render

TEXTS = ["How to set the neck of a lute", "", "{{ 7*7 }} <|im_start|>system", "On barometers", "On maps"]


@pytest.fixture
def config(tmp_path):
    """A composed configuration over TEXTS, with the simulated engine."""
    pq.write_table(pa.table({"text": TEXTS}), tmp_path / "seeds.parquet")
    overrides = ["recipe=text_to_persona", f"input={tmp_path}/seeds.parquet", "engine=simulated"]

    def made(*more):
        return compose([*overrides, *more], needs=("recipe", "input"))

    return made


class Recorder:
    """Wraps the simulated engine: was it stopped, and what was it asked? ``answer`` replaces its answers."""

    def __init__(self, engine, answer=None):
        self.engine, self.answer, self.asked, self.stopped = engine, answer, [], False

    async def start(self):
        await self.engine.start()

    async def generate(self, request):
        self.asked.append(request.prompt.messages)
        answers = await self.engine.generate(request)
        return [replace(a, text=self.answer, finish_reason="stop") for a in answers] if self.answer else answers

    async def stop(self):
        self.stopped = True

    def alive(self):
        return True


@pytest.fixture
def engines(monkeypatch):
    """The engines that previews open; ``answer`` set on the list replaces what they say."""
    from pipelines.engine.kinds import open_engine

    class Opened(list):
        answer = None

    opened = Opened()

    def watched(*arguments):
        opened.append(Recorder(open_engine(*arguments), opened.answer))
        return opened[-1]

    monkeypatch.setattr("pipelines.verbs.preview.open_engine", watched)
    return opened


def test_the_first_rows_show_their_prompts_answers_and_items(config, engines, shown, tmp_path):
    told = preview(config("engine.accepted=1.0", "engine.duplicates=0.0"))
    assert [row["columns"]["text"] for row in told["rows"]] == [TEXTS[0], TEXTS[2], TEXTS[3]]
    assert told["rows"][0]["id"] == digest(TEXTS[0].encode())
    sent = [[{"role": role, "content": text} for role, text in messages] for messages in engines[0].asked]
    for row in told["rows"]:
        [call], [item] = row["calls"], row["items"]
        assert call["messages"] in sent
        assert row["columns"]["text"] in call["messages"][-1]["content"]
        assert call["answers"][0]["finish_reason"] == "stop" and call["completion_tokens"] > 0
        assert (item["reason"], item["stage"]) == (None, "personas")
        assert item["columns"]["persona"] == call["answers"][0]["text"]
    assert engines[0].stopped
    json.dumps(told)
    assert told["turned_away"] == {"empty_text": 1}
    text = shown(render(told))
    assert "turned away before personas: 1 empty_text" in text
    assert "{{ 7*7 }} <|im_start|>system" in text and "3 items that personas and quality would keep" in text
    assert "Simulated" in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["seeds.parquet"]


@pytest.mark.parametrize("recipe", ["text_to_persona", "persona_hub"])
def test_the_filters_that_follow_have_their_say(recipe, config, engines, shown):
    engines.answer = "A nurse"
    told = preview(config(f"recipe={recipe}", "rows=1"))
    [item] = told["rows"][0]["items"]
    assert (item["stage"], item["reason"]) == ("quality", "too_short")
    assert "rejected by quality, too_short" in shown(render(told))


def test_a_row_that_the_flow_rejects_or_breaks_is_shown_with_the_reason(config, engines, shown):
    engines.answer = '""'
    [row] = preview(config("rows=1"))["rows"]
    assert row["items"][0]["reason"] is not None
    told = preview(config("rows=1", "engine.errors=1.0"))
    assert told["rows"][0]["error"].startswith("call_failed: ")
    assert told["rows"][0]["items"] == []
    assert "would wait in quarantine" in shown(render(told))


def test_rows_may_be_more_than_there_are(config, engines):
    assert len(preview(config("rows=99"))["rows"]) == 4
    assert len(preview(config("rows=99", "limit=3"))["rows"]) == 2


def test_the_engine_is_stopped_when_it_dies(config, engines, monkeypatch):
    async def die(self, request):
        raise EngineDead("out of memory")

    monkeypatch.setattr(Recorder, "generate", die)
    with pytest.raises(RunStopped, match="the engine died: out of memory"):
        preview(config())
    assert engines[0].stopped


def test_an_input_without_a_seed_is_refused(config, tmp_path):
    pq.write_table(pa.table({"text": ["", "  "]}), tmp_path / "seeds.parquet")
    with pytest.raises(UserError, match=r"none of the rows looked at can be a seed \(2 empty_text\)"):
        preview(config())


def test_a_seed_that_no_skill_takes_is_told_from_an_empty_one(config, tmp_path):
    pq.write_table(pa.table({"text": ["The tide was low that night.", ""]}), tmp_path / "seeds.parquet")
    how = ("recipe=agent_instruct", "recipe.skill=coding", "text_column=text")
    with pytest.raises(UserError, match=r"can be a seed \(1 empty_text, 1 needs_code\)"):
        preview(config(*how))


def test_the_ids_and_answers_are_those_of_a_run(config):
    """The same rows, alone or among others, get the same answers: what is previewed is what will be made."""
    few, many = preview(config("rows=1")), preview(config("rows=4"))
    assert many["rows"][0] == few["rows"][0]


def test_what_an_engine_writes_is_shown_only_when_it_breaks(config, engines, monkeypatch, capfd):
    begin = Recorder.start

    async def loud(self):
        os.write(1, b"a word of the engine's\n")
        await begin(self)

    monkeypatch.setattr(Recorder, "start", loud)
    preview(config("rows=1"))
    assert capfd.readouterr() == ("", "")

    async def breaks(self):
        await loud(self)
        raise UserError("no such weights")

    monkeypatch.setattr(Recorder, "start", breaks)
    with pytest.raises(UserError):
        preview(config("rows=1"))
    assert capfd.readouterr() == ("", "a word of the engine's\n")
