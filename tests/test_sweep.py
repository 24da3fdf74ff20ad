"""A sweep: points in order, each in its own run directory, checked before the first starts; failing stops no other."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import Interrupted, RunStopped, UserError
from pipelines.sweep import sweep

BASE = ["recipe=text_to_persona", "input=seeds.parquet"]


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class Ran:
    """Stands where ``run`` does and keeps what it was given: these tests are of how points are made."""

    def __init__(self, **fails: BaseException) -> None:
        self.configs: list[dict[str, Any]] = []
        self._fails = fails

    def __call__(self, config: dict[str, Any]) -> dict[str, Any]:
        self.configs.append(config)
        error = self._fails.get(config["recipe"]["granularity"])
        if error is not None:
            raise error
        return {"rows": 1}


def test_each_combination_is_a_point_in_its_own_directory() -> None:
    run = Ran()
    result = sweep([*BASE, "output=runs/s", "io.keep_calls=false", "seed=1,2", "recipe.granularity=coarse,fine"], run)
    assert [(c["seed"], c["recipe"]["granularity"], c["output"]) for c in run.configs] == [
        (1, "coarse", "runs/s/points/000"),
        (1, "fine", "runs/s/points/001"),
        (2, "coarse", "runs/s/points/002"),
        (2, "fine", "runs/s/points/003"),
    ]
    assert result["ok"] is True
    assert result["points"][1] == {
        "point": "001",
        "overrides": ["seed=1", "recipe.granularity=fine"],
        "output": "runs/s/points/001",
        "ok": True,
        "result": {"rows": 1},
    }


def test_a_path_is_one_path_and_choice_sweeps_over_paths() -> None:
    run = Ran()
    sweep(["recipe=text_to_persona", "input=a,b (1)=[x].parquet", "output=runs/a,b {c}", "limit=range(1,3)"], run)
    assert [(c["input"], c["limit"], c["output"]) for c in run.configs] == [
        ("a,b (1)=[x].parquet", 1, "runs/a,b {c}/points/000"),
        ("a,b (1)=[x].parquet", 2, "runs/a,b {c}/points/001"),
    ]
    run = Ran()
    sweep(["recipe=text_to_persona", "input=choice(a.parquet,b.parquet)", "output=s"], run)
    assert [c["input"] for c in run.configs] == ["a.parquet", "b.parquet"]


def test_options_of_a_group_are_swept_over() -> None:
    run = Ran()
    sweep([*BASE, "output=s", "model=qwen2.5_7b,smollm2_135m"], run)
    assert [c["model"]["name"] for c in run.configs] == ["qwen2.5_7b", "smollm2_135m"]


def test_a_point_that_fails_is_said_at_once_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    run = Ran(coarse=RunStopped("max_failed"), medium=ValueError("a defect"))
    with caplog.at_level(logging.ERROR):
        result = sweep([*BASE, "output=s", "recipe.granularity=coarse,medium,fine"], run)
    assert [point["ok"] for point in result["points"]] == [False, False, True]
    assert [point.get("error") for point in result["points"]] == ["max_failed", "ValueError: a defect", None]
    assert result["ok"] is False
    assert "point 000 failed: max_failed" in caplog.text


@pytest.mark.parametrize("how", [Interrupted("drained"), KeyboardInterrupt()])
def test_ctrl_c_ends_the_sweep(how: BaseException) -> None:
    run = Ran(coarse=how)
    with pytest.raises(type(how)):
        sweep([*BASE, "output=s", "recipe.granularity=coarse,fine"], run)
    assert len(run.configs) == 1


def test_every_point_is_checked_before_the_first_starts() -> None:
    run = Ran()
    with pytest.raises(UserError) as caught:
        sweep([*BASE, "output=s", "sed=1", "recipe.granularity=fine,Fine", "model=smollm2_135m,gpt2"], run)
    assert run.configs == []
    message = str(caught.value)
    assert message.count("sed: no such key; did you mean seed?") == 1
    assert "no such model" in message
    assert "Invalid value 'Fine'" in message
    assert not Path("s").exists()


def test_a_sweep_into_a_run_is_refused(tmp_path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(UserError, match="a run is there, and a sweep wants a root of its own"):
        sweep([*BASE, f"output={tmp_path}", "seed=1,2"], Ran())


def test_a_sweep_needs_an_output() -> None:
    with pytest.raises(UserError, match="output is not set: a sweep needs output=DIR"):
        sweep([*BASE, "seed=1,2"], Ran())


def test_nothing_is_left_in_the_working_directory(tmp_path: Path) -> None:
    sweep([*BASE, "output=runs/s", "seed=1,2"], Ran())
    assert [entry.name for entry in tmp_path.iterdir()] == ["runs"]
    sweep([*BASE, "output=s3://bucket/s", "seed=1,2"], Ran())
    assert [entry.name for entry in tmp_path.iterdir()] == ["runs"]


def test_one_point_is_a_sweep_too() -> None:
    run = Ran()
    result = sweep([*BASE, "output=s"], run)
    assert [c["output"] for c in run.configs] == ["s/points/000"]
    assert result["points"][0]["overrides"] == []
