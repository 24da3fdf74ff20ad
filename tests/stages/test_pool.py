"""Where actors go that encode, on a cluster that says it has GPUs."""

import pytest
import ray

from pipelines.compose import compose
from pipelines.stages import cluster
from pipelines.stages.pool import Pool
from pipelines.stages.stage import Stage


@pytest.fixture
def two_gpus():
    ray.init(address="local", namespace=cluster.NAMESPACE, num_cpus=2, num_gpus=2, include_dashboard=False)
    yield
    cluster.disconnect()


def embedding(config) -> Stage:
    return Stage(1, "embedding", "vectors", config["recipe"]["stages"]["embedding"], {}, "0" * 32)


def test_encoders_have_a_gpu_each_and_give_it_back(two_gpus, tmp_path) -> None:
    config = compose(["recipe=dedup", "input=x.parquet", f"output={tmp_path}"])
    pool = Pool(config, engine=False)
    assert (pool.placement.actors, pool.placement.gpus_per_actor) == (2, 0)
    with pool.readers(embedding(config)) as encoders:
        assert (encoders.placement.actors, encoders.placement.gpus_per_actor) == (2, 1)
        encoders.load(lambda: None)
        assert ray.available_resources().get("GPU", 0) == 0
        # Another run finds no GPU free, and encodes where its rows are sifted.
        with pool.readers(embedding(config)) as others:
            assert others is pool
    pool.load(lambda: None)
    pool.close()


def test_so_have_those_that_rank_by_a_model_and_no_others(two_gpus, tmp_path) -> None:
    config = compose(["recipe=dedup", "input=x.parquet", f"output={tmp_path}"])
    pool = Pool(config, engine=False)
    node = {"map": {"_target_": "pipelines.retrieval.dense.dense", "device": None}}
    with pool.readers(Stage(1, "trained", "map", node, {}, "0" * 32)) as readers:
        assert (readers.placement.actors, readers.placement.gpus_per_actor) == (2, 1)
    node = {"map": {"_target_": "pipelines.retrieval.search.lexical"}}
    with pool.readers(Stage(2, "bm25", "map", node, {}, "0" * 32)) as readers:
        assert readers is pool
    pool.close()


def test_a_process_apart_has_a_gpu_that_is_free(two_gpus) -> None:
    assert [cluster.apart(gpus_of_this_process, gpu=gpu) for gpu in (True, False)] == [1, 0]


def test_a_training_has_none_but_for_its_processes() -> None:
    node = {"_target_": "x", "device": None}
    made = [Stage(1, "m", "make", {"make": node | more}, {}, "0" * 32) for more in ({}, {"workers": 1})]
    assert [stage.has_gpu_apart for stage in made] == [True, False]


def gpus_of_this_process() -> int:
    return len(ray.get_gpu_ids())


def test_simulated_vectors_are_made_by_the_runs_own_actors(two_gpus, tmp_path) -> None:
    config = compose(["recipe=dedup", "input=x.parquet", f"output={tmp_path}", "dedup.embedding.encoder=simulated"])
    pool = Pool(config, engine=False)
    with pool.readers(embedding(config)) as encoders:
        assert encoders is pool
    pool.close()
