"""A stage's fingerprint follows what its data is made of, and nothing of how it is run."""

import pytest

from pipelines.compose import compose
from pipelines.recipe import Round, changed_stages, recorded, stages_of

BASE = ("recipe=text_to_persona", "input=seeds.parquet", "output=run")


def stages(*overrides):
    return stages_of(compose([*BASE, *overrides]), "m" * 32)


def changed(*overrides, base=()):
    """Names of the stages that ``overrides`` void."""
    return [line.split()[1].rstrip(":") for line in changed_stages(recorded(stages(*base)), stages(*overrides))]


@pytest.mark.parametrize(
    "override",
    [
        "io.shard_rows=7",
        "io.shards_in_flight=3",
        "engine=vllm_gpu",
        "engine.max_num_seqs=8",
        "model.tensor_parallel_size=2",
        "dedup.embedding.batch_size=8",
        "engine.engine_kwargs={max_num_batched_tokens: 4096}",
    ],
)
def test_how_it_is_run_voids_nothing(override):
    assert changed(override) == []


@pytest.mark.parametrize(
    ("override", "voided"),
    [
        ("sampling.temperature=0.1", ["personas", "quality", "minhash", "embedding"]),
        ("recipe.granularity=coarse", ["personas", "quality", "minhash", "embedding"]),
        ("engine.engine_kwargs={quantization: fp8}", ["personas", "quality", "minhash", "embedding"]),
        ("recipe.languages=[en,de]", ["quality", "minhash", "embedding"]),
        ("dedup.minhash.threshold=0.8", ["minhash", "embedding"]),
        ("dedup.embedding.threshold=0.8", ["embedding"]),
        ("dedup.embedding.enabled=false", ["embedding"]),
    ],
)
def test_what_the_data_is_voids_its_stage_and_those_after_it(override, voided):
    assert changed(override) == voided


def test_another_model_behind_an_endpoint_is_another_model():
    endpoint = ("engine=endpoint", "engine.base_url=http://localhost:8000/v1")
    assert changed(*endpoint, "engine.base_url=http://elsewhere:8000/v1", base=endpoint) == []
    assert "personas" in changed(*endpoint, "engine.served_name=other", base=endpoint)


def test_a_run_can_stop_after_a_stage_and_go_on():
    early = stages("recipe.until=quality")
    assert [stage.name for stage in early] == ["seeds", "personas", "quality"]
    assert [stage.name for stage in early if stage.output] == ["quality"]
    assert [one.fingerprint for one in early] == [one.fingerprint for one in stages()[:3]]


PEOPLE = ("recipe=persona_to_persona", "input=seeds.parquet", "output=run", "recipe.hops=2")


def test_a_block_is_unrolled_and_each_hop_is_held_against_all_that_came_before():
    found = stages_of(compose([*PEOPLE, "recipe.max_new_per_hop=5"]), "m" * 32)
    hop = ["related", "quality", "minhash", "embedding", "most"]
    names = ["seeds", "given", "quality", "minhash", "embedding"]
    assert [stage.name for stage in found] == [*names, *(f"hop{n}.{name}" for n in (1, 2) for name in hop)]
    assert [stage.source for stage in found[1:]] == list(range(len(found) - 1))
    assert [stage.name for stage in found if stage.output] == ["embedding", "hop1.most", "hop2.most"]
    assert {stage.name: stage.so_far for stage in found if stage.so_far} == {
        "hop1.minhash": (4,),
        "hop1.embedding": (4,),
        "hop2.minhash": (4, 9),
        "hop2.embedding": (4, 9),
        "hop1.most": (4,),
        "hop2.most": (4, 9),
    }


def test_one_more_hop_voids_none_before_it():
    two, three = (stages_of(compose([*PEOPLE, f"recipe.hops={n}"]), "m" * 32) for n in (2, 3))
    assert [stage.fingerprint for stage in three[: len(two)]] == [stage.fingerprint for stage in two]


def test_rounds_take_rows_of_any_earlier_stage():
    config = compose([*BASE])
    rounds = [Round(0, 0, (0, 10)), Round(0, 0, (10, 10)), Round(0, 0, (0, 20), draw=1)]
    found = stages_of(config, "m" * 32, rounds)
    flows = [stage for stage in found if stage.kind == "flow"]
    assert [(stage.name, stage.source, stage.take, stage.draw) for stage in flows] == [
        ("r1.personas", 0, (0, 10), 0),
        ("r2.personas", 0, (10, 10), 0),
        ("r3.personas", 0, (0, 20), 1),
    ]
    assert len({stage.fingerprint for stage in found}) == len(found)
    assert [stage.so_far for stage in found if stage.name.endswith("minhash")] == [(), (4,), (4, 8)]


def test_further_samples_are_of_the_rows_that_a_round_takes_and_of_nothing_made_of_them():
    config = compose(["recipe=persona_math", "recipe.mode=persona_few_shot", "input=a", "output=b"])
    found = stages_of(config, "m" * 32, [Round(0, 0, (0, 10)), Round(0, 0, (0, 10), draw=1, draws=8)])
    draws = {
        stage.name: (stage.draw, stage.draws) for stage in found if stage.kind == "flow" and stage.name[:2] == "r2"
    }
    assert draws == {"r2.synthesis": (1, 8), "r2.solved": (0, 1)}


def test_samples_are_asked_of_the_first_flow_that_asks_a_model():
    config = compose(["recipe=agent_instruct", "recipe.skill=fermi", "input=a", "output=b"])
    found = stages_of(config, "m" * 32, [Round(0, 0, (0, 10), draw=1, draws=4)])
    flows = {stage.name: (stage.draw, stage.draws, stage.asks) for stage in found if stage.kind == "flow"}
    assert flows == {"r1.assigned": (0, 1, False), "r1.taught": (1, 4, True)}


def test_what_is_made_of_the_recipes_own_rows_is_made_once():
    config = compose(["recipe=persona_synthesis", "recipe.mode=persona_few_shot", "input=a", "output=b"])
    found = stages_of(config, "m" * 32, [Round(0, 0, (0, 10)), Round(0, 0, (10, 10))])
    names = [stage.name for stage in found]
    assert [name for name in names if "demonstrat" in name] == ["r1.demonstrations", "r1.demonstrated"]
    uses = {stage.name: stage.uses for stage in found if stage.uses}
    made = (("demonstrations", names.index("r1.demonstrated")),)
    assert uses == {"r1.synthesis": made, "r2.synthesis": made}


@pytest.mark.parametrize("recipe", ["text_to_persona", "persona_hub", "persona_synthesis", "persona_math"])
def test_a_result_has_the_column_that_its_dedups_compare(recipe):
    """Later rounds, the standing index and diversity read it from the result."""
    found = stages_of(compose([f"recipe={recipe}", "input=a", "output=b"]), "m" * 32)
    compared = {stage.node["dedup"]["text_column"] for stage in found if stage.kind == "dedup"}
    last = [stage for stage in found if stage.kind == "flow"][-1]
    assert compared <= set(last.node["columns"])
