"""What vLLM is told through the environment."""

import os

import pytest

from pipelines import settings
from pipelines.engine.environment import environment


@pytest.mark.parametrize(("given", "replicas", "threads"), [("1", 1, 8), (None, 2, 4), ("3", 1, 3), ("1", 99, 1)])
def test_a_cpu_engine_uses_all_cpus_though_ray_says_one(
    monkeypatch: pytest.MonkeyPatch, given: str | None, replicas: int, threads: int
) -> None:
    monkeypatch.setattr(os, "environ", {} if given is None else {"OMP_NUM_THREADS": given})
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    environment(settings.VllmEngine(replicas=replicas))
    assert os.environ["OMP_NUM_THREADS"] == str(threads)
    assert os.environ["VLLM_NO_USAGE_STATS"] == "1"
