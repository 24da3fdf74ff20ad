"""A plan counts before anything runs, says what it cannot know, and starts no engine."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.compose import compose
from pipelines.errors import UserError
from pipelines.recipe import recorded, stages_of
from pipelines.rows import keep
from pipelines.stages.ingest import ingest, settle_seeds
from pipelines.store.files import folder
from pipelines.store.freeze import freeze
from pipelines.store.record import write_record
from pipelines.verbs import trial
from pipelines.verbs.plan import plan, render
from pipelines.verbs.sample import manifest_of, spread_seeds


@pytest.fixture
def config(tmp_path):
    """Compose over 100 seeds of 400 characters, for a model that no machine has."""
    pq.write_table(pa.table({"text": [f"{n:04d}" * 100 for n in range(100)]}), tmp_path / "seeds.parquet")
    overrides = [
        "recipe=text_to_persona",
        f"input={tmp_path}/seeds.parquet",
        "engine=simulated",
        "model.weights=nobody/nothing",
        "io.shard_rows=32",
        "sampling.max_tokens=50",
    ]

    def made(*more):
        return compose([*overrides, *more], needs=("recipe", "input"))

    return made


def of(told, name):
    return next(stage for stage in told["stages"] if stage["name"] == name)


def test_rows_calls_tokens_and_shards_are_counted(config, shown):
    told = plan(config())
    personas = of(told, "personas")
    assert (personas["rows"], personas["calls"], personas["shards"]) == (100, 100, 4)
    assert personas["completion_tokens_at_most"] == 100 * 50
    text = len("0000" * 100)
    assert text / 4 * 100 < personas["prompt_tokens"] < 2.5 * text / 4 * 100, "the seed and the template around it"
    assert [stage["rows_known"] for stage in told["stages"]] == [True, True, False, False, False]
    assert told["totals"]["calls"] == 100
    assert told["tokens_by"].startswith("4 characters a token")
    json.dumps(told)
    assert "simulated (no model)" in shown(render(told)) and "smollm2" not in shown(render(told))
    assert "100 calls" in shown(render(told)) and "~100" in shown(render(told))


def test_rows_asks_for_another_size(config):
    small, large = of(plan(config()), "personas"), of(plan(config("rows=1000000")), "personas")
    assert large["calls"] == 1_000_000
    assert large["prompt_tokens"] == pytest.approx(small["prompt_tokens"] * 10_000, rel=0.01)
    assert large["shards"] == 31_250


def test_limit_is_obeyed(config, shown):
    told = plan(config("limit=7"))
    assert of(told, "personas")["calls"] == 7
    assert "the input has 7 rows in 1 file within limit=7" in shown(render(told))


def test_a_speed_without_a_pilot_bounds_the_hours(config):
    [note] = [
        note
        for note in plan(config("forecast.tokens_per_second=0.5", "forecast.devices=2"))["notes"]
        if "at" in note[:2]
    ]
    assert note.startswith("at forecast.tokens_per_second=0.5 on 2 devices, 5,000 tokens out take 1.4 hours; ")


def test_prompts_that_do_not_fit_are_told_and_counted_as_trimmed(config):
    told = plan(config("model.context=100"))
    assert any("64 of 64 sampled prompts do not fit model.context; they are trimmed" in note for note in told["notes"])
    assert of(told, "personas")["prompt_tokens"] == 100 * 50
    assert any("their rows fail" in note for note in plan(config("model.context=100", "recipe.overlong=fail"))["notes"])


def test_the_models_own_tokenizer_counts_where_it_is(config, smollm):
    told = plan(config(f"model.weights={smollm}"))
    assert told["tokens_by"] == f"the tokenizer of {smollm}"
    assert of(told, "personas")["prompt_tokens"] != of(plan(config()), "personas")["prompt_tokens"]


@pytest.fixture
def smollm():
    """Directory of the packaged model, where it is prepared already: a plan prepares none."""
    from pipelines.engine.weights import ready, resolve

    if not ready("packaged:smollm2-135m"):
        pytest.skip("packaged:smollm2-135m is not prepared")
    return resolve("packaged:smollm2-135m")


def test_a_flow_of_several_calls_is_counted_and_what_is_not_known_is_said(config, monkeypatch):
    async def chain(row, llm, prompts, **_):
        draft = await llm.chat(prompts.render("persona", text=row["text"], relation="read", granularity="fine"))
        better = await llm.sample(
            prompts.render("persona", text=draft.text, relation="read", granularity="fine"), 3, max_tokens=10
        )
        return [keep(better[0], persona=better[0].text, relation="read", granularity="fine")]

    monkeypatch.setattr("pipelines.flows.persona_hub.text_to_persona", chain)
    told = plan(config())
    personas = of(told, "personas")
    assert (personas["calls"], personas["completion_tokens_at_most"]) == (200, 100 * (50 + 3 * 10))
    assert any("makes several calls a row" in note for note in told["notes"])


def test_a_flow_that_never_gets_what_it_asks_for_ends(config, monkeypatch):
    async def insists(row, llm, prompts, **_):
        while (
            "A baker"
            not in (await llm.chat(prompts.render("persona", text="x", relation="read", granularity="fine"))).text
        ):
            pass

    monkeypatch.setattr("pipelines.flows.persona_hub.text_to_persona", insists)
    assert of(plan(config("limit=2")), "personas")["calls"] == 2 * trial.MOST_CALLS


def test_a_flow_that_breaks_at_a_made_up_answer_is_told(config, monkeypatch):
    async def breaks(row, llm, prompts, **_):
        answer = await llm.chat(prompts.render("persona", text="x", relation="read", granularity="fine"))
        return [keep(answer, persona=answer.text.split("Persona:")[1])]

    monkeypatch.setattr("pipelines.flows.persona_hub.text_to_persona", breaks)
    assert any("breaks off at a made-up answer" in note for note in plan(config())["notes"])


def test_the_sample_comes_from_all_over_the_input(tmp_path, config):
    (tmp_path / "many").mkdir()
    for n in range(20):
        pq.write_table(
            pa.table({"text": [f"file {n} row {row}" for row in range(50)]}), tmp_path / f"many/{n:02d}.parquet"
        )
    seeds = spread_seeds(manifest_of(config(f"input={tmp_path}/many")), 64, [])["text"].to_pylist()
    assert len(seeds) == 64
    assert {text.split()[1] for text in seeds} >= {"0", "19"}
    assert {text.split()[3] for text in seeds} >= {"0", "49"}


def test_a_sample_under_a_limit_by_kinds_is_of_the_rows_that_are_taken(tmp_path):
    """The code lies in a file behind more prose than is taken."""
    (tmp_path / "many").mkdir()
    pq.write_table(
        pa.table({"text": [f"The owl sleeps all day, {n} times." for n in range(50)]}), tmp_path / "many/0.parquet"
    )
    pq.write_table(
        pa.table({"text": [f"import os\n\nprint(os, {n})\n" for n in range(50)]}), tmp_path / "many/1.parquet"
    )
    how = ("recipe=agent_instruct", "limit=3", "text_column=text", f"input={tmp_path}/many", f"output={tmp_path}/run")
    manifest = manifest_of(compose(how))
    assert manifest.rows == 6
    texts = spread_seeds(manifest, 64, [])["text"].to_pylist()
    assert [text.startswith("import") for text in texts] == [False] * 3 + [True] * 3


def test_what_is_committed_in_output_is_counted_and_other_runs_are_told(config, tmp_path):
    output = f"output={tmp_path}/run"
    settings = config(output)
    place = folder(settings["output"])
    manifest = freeze(settings["input"], text_column="text")
    stages = stages_of(settings, manifest.fingerprint)
    write_record(place, "stages.json", {"recipe": "text_to_persona", "stages": recorded(stages)})
    seeds = place.sub("stages").sub(stages[0].folder())
    settle_seeds(seeds, manifest.rows, 40)
    list(ingest(manifest.to_json(), seeds.url, stages[0].fingerprint, 40))

    told = plan(settings)
    assert (of(told, "seeds")["shards"], of(told, "seeds")["shards_committed"]) == (3, 3)
    assert of(told, "personas")["shards_committed"] == 0
    assert not any("would refuse" in note for note in told["notes"])
    changed = plan(config(output, "sampling.temperature=0.1"))
    assert any("to be redone: personas, quality" in note for note in changed["notes"])
    assert of(changed, "seeds")["shards_committed"] == 3


def test_a_folder_that_does_not_exist_yet_is_nothing_to_go_on_with(config, tmp_path):
    told = plan(config(f"output={tmp_path}/new"))
    assert all(stage["shards_committed"] == 0 for stage in told["stages"])
    assert not (tmp_path / "new").exists()


def test_an_input_of_blank_rows_is_refused_by_the_name_of_its_column(config, tmp_path):
    pq.write_table(pa.table({"text": pa.array([None, "", "  "], pa.string())}), tmp_path / "blank.parquet")
    with pytest.raises(UserError, match="text_column=text: none of the rows looked at can be a seed"):
        plan(config(f"input={tmp_path}/blank.parquet"))


def test_hops_grow_by_what_each_asks_for_and_are_bounded_by_their_cap(config, tmp_path):
    pq.write_table(pa.table({"text": [f"A baker who keeps {n} bees" for n in range(100)]}), tmp_path / "people.parquet")
    given = ("recipe=persona_to_persona", f"input={tmp_path}/people.parquet", "recipe.hops=3", "recipe.fan_out=4")
    told = plan(config(*given))
    assert [of(told, f"hop{n}.related")["calls"] for n in (1, 2, 3)] == [400, 1600, 6400]
    capped = plan(config(*given, "recipe.max_new_per_hop=150"))
    assert [of(capped, f"hop{n}.related")["rows"] for n in (1, 2, 3)] == [100, 150, 150]
    assert of(plan(config("recipe=persona_hub", given[1], "recipe.hops=1")), "hop1.related")["calls"] == 200


def test_a_target_is_told_to_go_in_rounds(config, shown):
    told = plan(config("target.rows=1000"))
    assert any("goes in rounds" in note for note in told["notes"])
    assert told["target"] == {"rows": 1000, "given": 100, "needed": None}
    text = shown(render(told))
    assert "one pass over 100 seeds, those given" in text
    assert "target.rows=1,000: 100 seeds given; forecast.pilot=RUN, without rows, tells how many it needs" in text
    assert "one pass" not in shown(render(plan(config())))
