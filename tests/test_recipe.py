"""A stage's fingerprint follows what its data is made of, and nothing of how it is run."""

import pytest

from pipelines.compose import compose
from pipelines.recipe import changed_stages, recorded, stages_of

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
