"""The arithmetic of GPUs, rows and memory, for machines that this one is not."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import settings
from pipelines.engine.resources import GIB, gpus_per_copy, kv_cache_bytes, memory_problem, place, place_readers
from pipelines.errors import UserError

SEVEN_B = settings.Model(name="seven", weights="a/b", context=8192, parameters=7.6)
SEVENTY_B = replace(SEVEN_B, name="seventy", parameters=70.6, tensor_parallel_size=4)
SMALL = settings.Model(name="small", weights="packaged:smollm2-135m", context=2048, parameters=0.135)
GPU = settings.VllmEngine(device=settings.Device.gpu, replicas=0, max_num_seqs=256)
CPU = settings.VllmEngine(max_num_seqs=64)


def config(
    model: settings.Model, engine: Any, *, shard_rows: int = 1024, shards_in_flight: int | None = None
) -> dict[str, Any]:
    io = asdict(settings.Io(shard_rows=shard_rows, shards_in_flight=shards_in_flight))
    return {"model": asdict(model), "engine": asdict(engine), "io": io}


def test_eight_gpus_hold_eight_copies_of_a_small_model() -> None:
    found = place(config(SEVEN_B, GPU), cpus=64, gpus=8)
    assert (found.actors, found.gpus_per_actor, found.bundles, found.warnings) == (8, 1, (), ())
    assert (found.shards_in_flight, found.rows_in_flight, found.requests_in_flight) == (32, 32 * 1024, 8 * 256)


def test_eight_gpus_hold_two_copies_that_take_four_each() -> None:
    found = place(config(SEVENTY_B, GPU), cpus=64, gpus=8, nodes=(8,))
    assert (found.actors, found.gpus_per_actor, found.bundles) == (2, 4, ())


@pytest.mark.parametrize(("nodes", "copies"), [((8, 8), 4), ((6, 6), 2), ((4, 3, 3), 1), ((5, 4, 3), 2)])
def test_a_copy_that_fits_one_node_is_not_spread_over_two(nodes: tuple[int, ...], copies: int) -> None:
    found = place(config(SEVENTY_B, GPU), cpus=64, gpus=sum(nodes), nodes=nodes)
    assert (found.actors, found.gpus_per_actor, found.bundles) == (copies, 4, ())


def test_a_copy_larger_than_a_node_gets_a_placement_group() -> None:
    wide = replace(SEVENTY_B, tensor_parallel_size=4)
    found = place(config(wide, GPU), cpus=16, gpus=8, nodes=(2, 2, 2, 2))
    assert (found.actors, found.gpus_per_actor, found.strategy) == (2, 0, "PACK")
    assert found.bundles == ({"CPU": 1.0, "GPU": 1.0}, {"GPU": 1.0}, {"GPU": 1.0}, {"GPU": 1.0})


def test_pipeline_parallel_counts_too() -> None:
    piped = replace(GPU, engine_kwargs={"pipeline_parallel_size": 2})
    assert gpus_per_copy(SEVENTY_B, piped) == 8
    assert place(config(SEVENTY_B, piped), cpus=64, gpus=16, nodes=(8, 8)).actors == 2


def test_no_gpu_is_an_error_that_names_the_way_out() -> None:
    with pytest.raises(UserError, match="needs 4 GPUs, and the cluster has 2.*engine=vllm_cpu"):
        place(config(SEVENTY_B, GPU), cpus=8, gpus=2)


def test_more_copies_than_fit_wait_for_the_cluster_to_grow() -> None:
    found = place(config(SEVENTY_B, replace(GPU, replicas=3)), cpus=64, gpus=8)
    assert found.actors == 3
    assert found.warnings == (
        "engine.replicas=3 need 12 GPUs and the cluster holds 2 of them; the others wait until it grows",
    )


@given(st.lists(st.integers(0, 16), min_size=1, max_size=6), st.sampled_from([1, 2, 4, 8]))
def test_copies_never_take_more_gpus_than_there_are(nodes: list[int], each: int) -> None:
    model = replace(SEVEN_B, tensor_parallel_size=each)
    try:
        found = place(config(model, GPU), cpus=8, gpus=sum(nodes), nodes=nodes)
    except UserError:
        assert sum(nodes) < each
        return
    reserved = found.gpus_per_actor or sum(bundle.get("GPU", 0) for bundle in found.bundles)
    assert reserved == each
    assert found.actors * each <= sum(nodes)


def test_a_cpu_engine_is_one_actor_without_gpus() -> None:
    found = place(config(SMALL, replace(CPU, replicas=0)), cpus=2, gpus=0)
    assert (found.actors, found.gpus_per_actor, found.requests_in_flight) == (1, 0, 64)


def test_an_endpoint_is_as_many_clients_as_asked_for() -> None:
    server = settings.EndpointEngine(base_url="http://x/v1", replicas=3, max_concurrent=100)
    found = place(config(SMALL, server), cpus=2, gpus=8)
    assert (found.actors, found.gpus_per_actor, found.requests_in_flight) == (3, 0, 300)


def test_a_recipe_without_a_model_has_an_actor_a_cpu() -> None:
    found = place(config(SMALL, CPU, shard_rows=100), cpus=6, gpus=8, engine=False)
    assert (found.actors, found.gpus_per_actor, found.rows_in_flight) == (6, 0, 2400)


def test_too_few_rows_in_flight_are_named_with_the_numbers() -> None:
    (warning,) = place(config(SEVEN_B, GPU, shard_rows=30, shards_in_flight=2), cpus=8, gpus=1).warnings
    assert warning == (
        "io.shards_in_flight=2 x io.shard_rows=30 keeps 60 rows in flight on a copy, and engine.max_num_seqs=256 "
        "can be answered at once; raise io.shards_in_flight to 9, or set it to null"
    )
    assert place(config(SEVEN_B, GPU, shard_rows=30, shards_in_flight=9), cpus=8, gpus=1).warnings == ()


@pytest.mark.parametrize(("shard_rows", "shards"), [(16, 32), (100, 6), (128, 4), (4096, 4)])
def test_unless_told_otherwise_two_rows_are_ready_for_every_sequence(shard_rows: int, shards: int) -> None:
    found = place(config(SEVEN_B, GPU, shard_rows=shard_rows), cpus=8, gpus=1)
    assert (found.shards_in_flight, found.warnings) == (shards, ())
    assert found.rows_in_flight >= 2 * found.requests_in_flight


def test_weights_that_do_not_fit_name_the_setting_that_makes_them() -> None:
    on_one = replace(SEVENTY_B, tensor_parallel_size=1)
    problem = memory_problem(on_one, GPU, 80)
    assert problem is not None
    assert "132 GiB on each of 1 GPUs (model.tensor_parallel_size=1)" in problem
    assert "engine.gpu_memory_utilization=0.9 of 80 GiB gives vLLM 72 GiB; set model.tensor_parallel_size=4" in problem
    assert memory_problem(replace(on_one, tensor_parallel_size=4), GPU, 80) is None
    assert problem in place(config(on_one, GPU), cpus=8, gpus=8, gpu_memory_gib=80).warnings


@pytest.mark.parametrize(
    ("model", "gib", "fits"),
    [
        (SEVEN_B, 24, True),  # 14.2 GiB in 16 bits
        (replace(SEVEN_B, dtype=settings.Dtype.float32), 24, False),  # 28.3 GiB
        (SEVEN_B, 16, False),  # 14.2 of 14.4 GiB leaves nothing for the KV cache
        (replace(SEVEN_B, tensor_parallel_size=2), 16, True),
    ],
)
def test_memory_goes_by_format_and_gpus(model: settings.Model, gib: float, fits: bool) -> None:
    assert (memory_problem(model, GPU, gib) is None) == fits


def test_quantised_weights_are_not_judged() -> None:
    awq = replace(GPU, engine_kwargs={"quantization": "awq"})
    assert memory_problem(replace(SEVENTY_B, tensor_parallel_size=1), awq, 48) is None


PER_TOKEN = 2 * 30 * 3 * 64 * 4  # SmolLM2-135M in float32


def test_a_small_model_takes_no_more_kv_cache_than_it_can_use() -> None:
    room = kv_cache_bytes(SMALL, CPU, PER_TOKEN, 200 * GIB)
    assert 1.4 * GIB < room < 2 * GIB
    assert kv_cache_bytes(SMALL, replace(CPU, max_num_seqs=1), PER_TOKEN, 200 * GIB) >= 2048 * PER_TOKEN


def test_a_small_machine_gives_half_of_what_is_free_beside_the_weights() -> None:
    weights = int(0.135e9 * 4)
    assert kv_cache_bytes(SMALL, CPU, PER_TOKEN, weights + GIB) == GIB // 2


def test_a_kv_cache_that_was_asked_for_is_given_or_refused() -> None:
    asked = replace(CPU, kv_cache_gib=1.5)
    assert kv_cache_bytes(SMALL, asked, PER_TOKEN, 8 * GIB) == int(1.5 * GIB)
    with pytest.raises(UserError, match="engine.kv_cache_gib=1.5: 0.5 GiB are free beside the weights"):
        kv_cache_bytes(SMALL, asked, PER_TOKEN, GIB)
    with pytest.raises(UserError, match="engine.kv_cache_gib=0.01: one sequence of model.context=2048"):
        kv_cache_bytes(SMALL, replace(CPU, kv_cache_gib=0.01), PER_TOKEN, 8 * GIB)


def test_a_context_that_does_not_fit_names_it() -> None:
    with pytest.raises(UserError, match="model.context=131072: one sequence of it takes 5.6 GiB"):
        kv_cache_bytes(replace(SMALL, context=131072), CPU, PER_TOKEN, 8 * GIB)


@pytest.mark.parametrize(
    ("device", "gpus", "actors", "each"),
    [(None, 8, 8, 1), ("cuda", 2, 2, 1), ("cuda:1", 8, 1, 0)],
)
def test_where_gpus_are_free_an_encoder_has_one_of_its_own(device, gpus: int, actors: int, each: int) -> None:
    found = place_readers({"encoder": "a/b", "device": device}, gpus)
    assert found is not None
    assert (found.actors, found.gpus_per_actor) == (actors, each)


@pytest.mark.parametrize(
    ("encoder", "device", "gpus"), [("a/b", None, 0), ("a/b", "cpu", 8), ("simulated", None, 8), ("a/b", "mps", 1)]
)
def test_elsewhere_the_runs_own_actors_encode(encoder: str, device, gpus: int) -> None:
    assert place_readers({"encoder": encoder, "device": device}, gpus) is None
