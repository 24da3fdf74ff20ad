"""The command line: verbs, flags anywhere, exit codes, one JSON object, help at once, a clean working directory."""

from __future__ import annotations

import importlib
import inspect
import itertools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipelines.cli import main
from pipelines.face.groups import GROUPS
from pipelines.face.verbs import VERBS, Option, Verb

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {"ray", "torch", "vllm", "hydra", "pyarrow", "numpy"}

#: A verb of each outcome, and one that writes everywhere it should not.
MADE = """
import os, subprocess, sys
from pipelines.errors import RunStopped, UserError

def shows(config):
    return {key: config[key] for key in ("input", "output", "seed")}

def takes(run, row_id=None, format="jsonl", to=None):
    return {"run": run, "row_id": row_id, "format": format, "to": to}

def refuses(config): raise UserError("limit=0: must be at least 1")
def stops(config): raise RunStopped("max_failed=0.5: too many")
def breaks(config): raise KeyError("a defect")
def interrupted(config): raise KeyboardInterrupt
def finds(config): return {"ok": False, "checks": []}

def chatters(config):
    print("through print")
    os.write(1, b"through the file descriptor")
    subprocess.run([sys.executable, "-c", "print('through a child process')"])
    return {"rows": 1}

def render(result):
    return f"rendered {result}"
"""
RUN = ["recipe=text_to_persona", "input=a", "output=b"]


@pytest.fixture(autouse=True)
def made_verbs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "made_verbs.py").write_text(MADE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "made_verbs", raising=False)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)


def put(monkeypatch: pytest.MonkeyPatch, name: str, function: str, **changes: Any) -> None:
    verb = Verb("made", name, f"made_verbs:{function}", "made_verbs:render", (), **({"composes": True} | changes))
    monkeypatch.setitem(VERBS, name, verb)  # type: ignore[arg-type]


def nightmill(*arguments: str, code: str = "") -> subprocess.CompletedProcess[str]:
    command = (
        f"import sys; from pipelines.cli import main; rc = main({list(arguments)!r}); {code or 'pass'}; sys.exit(rc)"
    )
    return subprocess.run([sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)


def test_help_loads_nothing_heavy_and_names_every_verb() -> None:
    done = nightmill("--help", code="print(*sys.modules, file=sys.stderr)")
    assert done.returncode == 0
    assert all(f"  {verb.usage}" in done.stdout for verb in VERBS.values())
    loaded = set(done.stderr.split())
    assert "pipelines.face.usage" in loaded
    assert not loaded & (HEAVY | {"omegaconf", "rich", "yaml"})


@pytest.mark.parametrize("verb", VERBS)
def test_a_verbs_help_shows_what_it_takes(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: nightmill {VERBS[verb].usage}")
    assert all(f"nightmill {example}" in shown for example in VERBS[verb].examples)
    assert all(option.name in shown for option in VERBS[verb].options)
    assert not VERBS[verb].composes or all(f"\n{group}=  " in shown for group in GROUPS)
    assert max(map(len, shown.splitlines())) <= 130


def test_the_keys_in_the_help_are_those_of_the_schemas(capsys: pytest.CaptureFixture[str]) -> None:
    main(["run", "-h"])
    shown = capsys.readouterr().out
    for key in (
        "input",
        "max_failed",
        "recipe.granularity",
        "engine.base_url",
        "engine.latency_s",
        "dedup.minhash.bands",
    ):
        assert f"\n  {key} " in shown
    assert "qwen2.5_72b" in shown


def test_a_chosen_recipe_shows_its_own_keys_alone(capsys: pytest.CaptureFixture[str]) -> None:
    main(["run", "recipe=persona_to_persona", "--help"])
    shown = capsys.readouterr().out
    assert "\n  recipe.hops " in shown and "\n  recipe.overlong " in shown
    assert "\n  recipe.granularity " not in shown and "\n  recipe.skill " not in shown


@pytest.mark.parametrize(
    ("overrides", "bracket"),
    [
        ([], "engine.max_num_seqs .*[64]"),
        (["engine=vllm_gpu"], "engine.max_num_seqs .*[256]"),
        ([], "dedup.minhash.num_permutations .*[128]"),
        (
            ["recipe=text_to_persona", "engine=endpoint"],
            "dedup.minhash.normalise .*[nfkc, lowercase, strip_punctuation]",
        ),
        (["recipe=text_to_persona"], "recipe.granularity .*[fine]"),
        (["recipe=none_such", "limit=7"], "limit .*[7]"),
    ],
)
def test_the_values_in_brackets_are_those_of_the_command_line(overrides, bracket, capsys) -> None:
    assert main(["run", *overrides, "--help"]) == 0
    key, value = bracket.split(" .*")
    [line] = re.findall(rf"\n  {re.escape(key)} .*(?:\n {{34}}.*)*", capsys.readouterr().out)[:1]
    assert line.rstrip().endswith(value)


def test_a_verbs_help_loads_no_engine() -> None:
    done = nightmill("run", "--help", code="print(*sys.modules, file=sys.stderr)")
    assert not set(done.stderr.split()) & {"ray", "torch", "vllm"}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_exists_and_takes_what_the_command_line_gives(verb: str) -> None:
    what = VERBS[verb]
    modules = [importlib.import_module(path.partition(":")[0]) for path in (what.function, what.render)]
    function, render = (
        getattr(m, path.partition(":")[2]) for m, path in zip(modules, (what.function, what.render), strict=True)
    )
    inspect.signature(render).bind({})
    if what.composes:
        inspect.signature(function).bind({})
    else:
        given = [p.lower() for p in what.positionals] + [o.name.lstrip("-").replace("-", "_") for o in what.options]
        inspect.signature(function).bind(**dict.fromkeys(given))
        inspect.signature(function).bind(**dict.fromkeys(p.lower() for p in what.positionals))


def test_version_and_no_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("nightmill 0.")
    assert main([]) == 2
    assert "usage: nightmill VERB" in capsys.readouterr().err
    assert main(["recipe=text_to_persona"]) == 2
    assert "no verb" in capsys.readouterr().err


def test_a_typo_in_a_verb_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verfy", "runs/x"]) == 2
    assert capsys.readouterr().err == "nightmill: verfy: no such verb; did you mean verify?\n"


@pytest.mark.parametrize("words", list(itertools.permutations(["made", "--json", "recipe=text_to_persona", "seed=4"])))
def test_flags_and_overrides_stand_anywhere(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put(monkeypatch, "made", "shows", needs=("recipe",))
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out) == {"input": None, "output": None, "seed": 4}


def test_positionals_and_options_stand_anywhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put(
        monkeypatch, "made", "takes", composes=False, positionals=("RUN", "ROW_ID"),
        options=(Option("--format", "", takes="FORMAT", choices=("jsonl",)), Option("--to", "", takes="PATH")),
    )  # fmt: skip
    for words in (
        ["made", "runs/a=b, c", "id1", "--to", "x y", "--json"],
        ["--to", "x y", "--json", "made", "runs/a=b, c", "id1"],
        ["--json", "made", "--to=x y", "runs/a=b, c", "--format", "jsonl", "id1"],
    ):
        assert main(words) == 0
        assert json.loads(capsys.readouterr().out) == {
            "run": "runs/a=b, c",
            "row_id": "id1",
            "format": "jsonl",
            "to": "x y",
        }


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["verify"], "the following arguments are required: RUN"),
        (["verify"], "usage: nightmill verify"),
        (["explain", "runs/x"], "required: ROW_ID"),
        (["verify", "runs/x", "--jsn"], "--jsn: not an option of verify; did you mean --json"),
        (["status", "runs/x", "-m"], "-m: not an option of status"),
        (["plan", "recipe=text_to_persona", "--multirun"], "--multirun: not an option of plan"),
        (["export", "runs/x", "--format", "csv"], "invalid choice: 'csv'"),
        (["run", "text_to_persona"], "text_to_persona: neither key=value nor an option"),
        (["run", *RUN, "--config-dir", "x"], "--config-dir x: not an option of run"),
        (["run", "limit=3"], "recipe is not chosen: add recipe=NAME"),
        (["run", "-m", "recipe=text_to_persona", "input=a", "seed=1,2"], "a sweep needs output=DIR"),
    ],
)
def test_a_mistake_is_exit_code_2_and_no_traceback(
    words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    shown = capsys.readouterr()
    assert expected in shown.err
    assert "Traceback" not in shown.err
    assert shown.out == ""


@pytest.mark.parametrize(
    ("function", "code", "message"),
    [
        ("refuses", 2, "limit=0: must be at least 1"),
        ("stops", 1, "max_failed=0.5: too many"),
        ("interrupted", 1, "stopped by Ctrl-C"),
        ("breaks", 1, "KeyError: 'a defect'"),
    ],
)
def test_how_a_command_ends(
    function: str, code: int, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put(monkeypatch, "made", function)
    assert main(["made", *RUN]) == code
    shown = capsys.readouterr()
    assert message in shown.err
    assert ("Traceback" in shown.err) == (function == "breaks")  # only a defect of ours shows one
    assert main(["made", *RUN, "--json"]) == code
    answer = json.loads(capsys.readouterr().out)
    assert answer["exit_code"] == code
    assert message in answer["error"]


def test_a_defect_found_is_exit_code_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    put(monkeypatch, "made", "finds")
    assert main(["made", *RUN]) == 1
    assert "rendered" in capsys.readouterr().out


def test_json_is_all_that_reaches_stdout(tmp_path: Path) -> None:
    """Not even what a child process or a library writes to the file descriptor may come between."""
    code = (
        "import sys; from pipelines.cli import main; from pipelines.face.verbs import VERBS, Verb; "
        "VERBS['made'] = Verb('', '', 'made_verbs:chatters', 'made_verbs:render', (), composes=True); "
        f"sys.exit(main(['--json', 'made', *{RUN!r}]))"
    )
    environment = {"PYTHONPATH": f"{ROOT}:{tmp_path}"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"rows": 1}
    assert all(f"through {way}" in done.stderr for way in ("print", "the file descriptor", "a child process"))


def test_a_name_that_is_no_text_can_be_printed(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pipelines.cli import main; from pipelines.face.verbs import VERBS, Verb; "
        "VERBS['made'] = Verb('', '', 'made_verbs:shows', 'made_verbs:render', (), composes=True); "
        "name = os.fsdecode(b'input=a\\xff'); words = ['made', 'recipe=text_to_persona', 'output=b', name]; "
        "sys.exit(main(words) or main([*words, '--json']))"
    )
    environment = {"PYTHONPATH": f"{ROOT}:{tmp_path}", "PYTHONUTF8": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1])["input"] == "a\udcff"


def test_a_sweep_from_the_command_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(
        VERBS,
        "run",
        Verb("", "", "made_verbs:shows", "made_verbs:render", (), composes=True, options=VERBS["run"].options),
    )  # type: ignore[arg-type]
    for words in (["-m", "run"], ["run", "--multirun"]):
        assert main([*words, "recipe=text_to_persona", "input=a,b", "seed=1,2", "output=o", "--json"]) == 0
        points = json.loads(capsys.readouterr().out)["points"]
        assert [point["result"] for point in points] == [
            {"input": "a,b", "output": "o/points/000", "seed": 1},
            {"input": "a,b", "output": "o/points/001", "seed": 2},
        ]
    assert main(["recipe=text_to_persona", "run", "input=a", "output=o", "seed=1,2", "-m"]) == 0
    assert "nightmill status o/points/000" in capsys.readouterr().out


def test_a_sweep_with_a_failing_point_is_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(
        VERBS,
        "run",
        Verb("", "", "made_verbs:stops", "made_verbs:render", (), composes=True, options=VERBS["run"].options),
    )  # type: ignore[arg-type]
    assert main(["run", "-m", *RUN, "seed=1,2", "--json"]) == 1
    shown = capsys.readouterr()
    assert [point["error"] for point in json.loads(shown.out)["points"]] == ["max_failed=0.5: too many"] * 2


def test_the_working_directory_stays_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, "made", "shows")
    assert main(["made", "recipe=text_to_persona", "input=a", "output=runs/x"]) == 0
    assert main(["made", "recipe=typo", "input=a", "output=runs/x"]) == 2
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_a_job(verb: str) -> None:
    """``python jobs/VERB.py`` is the verb, wherever Ray puts the script."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "jobs" / f"{verb}.py"), "--help"],
        env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.startswith(f"usage: nightmill {verb}")
