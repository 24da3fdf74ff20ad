"""The recipe that docs/CONTRIBUTING.md teaches is taken from the page and run, in a copy of the checkout."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

from pipelines.flows.agent_instruct.constraints import CONSTRAINTS
from pipelines.flows.agent_instruct.skill import Agent, Skill

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "CONTRIBUTING.md").read_text()
#: "The flow, `pipelines/flows/titles.py`:" and the block that follows.
EXAMPLE = re.compile(r"`((?:pipelines|conf)/[\w/]+\.(?:py|yaml))`:\n\n```\w+\n(.*?)```", re.DOTALL)


def test_the_worked_example_runs(tmp_path):
    for part in ("pipelines", "conf"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    files = EXAMPLE.findall(PAGE)
    assert [Path(name).name for name, _ in files] == ["titles.py", "titles.yaml", "titles.yaml"]
    for name, content in files:
        (tmp_path / name).write_text(content)
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": f"Text {i} on bees."}) + "\n" for i in range(40)))
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", "run", "recipe=titles", "engine=simulated", "input=texts.jsonl"]
        + ["output=runs/titles", "engine.words_mean=10", "--json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    titles = json.loads(done.stdout)["stages"]["titles"]
    assert titles["rows_in"] == 40
    assert titles["rows_kept"] + titles["rows_rejected"] == 40
    assert set(titles["items_rejected"]) <= {"wrong_length", "cut_by_max_tokens"}


def test_every_key_and_constraint_of_a_skill_is_in_the_docs():
    page = (ROOT / "docs" / "agent_instruct.md").read_text()
    taught = page[page.index("## A skill of your own") :]
    keys = {key.name for schema in (Skill, Agent) for key in fields(schema)} | set(CONSTRAINTS)
    assert [key for key in sorted(keys) if not re.search(rf"\b{key}\b", taught)] == []


def test_the_skill_of_ones_own_runs(tmp_path):
    """The file that docs/agent_instruct.md shows."""
    page = (ROOT / "docs" / "agent_instruct.md").read_text()
    [skill] = re.findall(r"`haiku\.yaml`[^`]*`recipe\.skill=haiku\.yaml`[^`]*```yaml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "haiku.yaml").write_text(skill)
    texts = "".join(json.dumps({"text": f"Text {i} on the bees of a hill."}) + "\n" for i in range(30))
    (tmp_path / "texts.jsonl").write_text(texts)
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", "run", "recipe=agent_instruct", "recipe.skill=haiku.yaml"]
        + ["recipe.scale=small", "engine=simulated", "input=texts.jsonl", "output=runs/haiku", "--json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["stages"]["taught"]["rows_in"] == 30
    assert told["rows_accepted"] > 0
    assert {row["skill"] for row in told["examples"]} == {"haiku"}
