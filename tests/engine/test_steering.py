"""Every flow of personas with the real engine: what comes back is accounted for, and follows what was asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipelines.compose import compose
from pipelines.flows.persona_synthesis import TOOL_KEYS
from pipelines.recipe import stages_of
from pipelines.rows import python_rows
from pipelines.store.commit import Outcome
from pipelines.verbs.sample import rows_used

TEXTS = pq.read_table(Path(__file__).parents[2] / "scripts" / "sample_seeds.parquet")["text"].to_pylist()[:16]
PERSONAS = ["A lighthouse keeper who restores brass barometers", "A nurse on night shifts who collects maps"]
#: What a problem looks like that solutions are asked for.
PROBLEM = {
    "task": "math",
    "text": "A baker sells 3 loaves at 4 euros each. How much does she take?",
    "persona": "A baker",
}


def through(live: Any, stage: str, rows: list[dict[str, Any]], *overrides: str) -> Outcome:
    """What becomes of rows in one flow of a recipe."""
    config = compose([*overrides, "input=a", "output=b", "text_column=text", "io.keep_calls=true"])
    stages = stages_of(config, "f")
    flow = next(one for one in stages if one.name == stage)
    used = {argument: python_rows(some) for argument, (some, _) in rows_used(stages, flow).items()}
    outcome: Outcome = live.accounted(config, flow, rows, used)
    return outcome


@pytest.mark.parametrize(
    ("stage", "rows", "overrides"),
    [
        *(
            (
                "synthesis",
                [{"text": persona} for persona in PERSONAS],
                ("recipe=persona_synthesis", f"recipe.task={task}"),
            )
            for task in ("math", "reasoning", "instruction", "knowledge", "npc", "tool")
        ),
        ("solved", [PROBLEM], ("recipe=persona_math",)),
        ("problems", [{"text": persona} for persona in PERSONAS], ("recipe=similarity_study",)),
        ("hop1.related", [{"persona": persona, "hop": 0} for persona in PERSONAS], ("recipe=persona_hub",)),
    ],
)
def test_a_flow_is_accounted_for(live: Any, stage: str, rows: list[dict[str, Any]], overrides: tuple[str, ...]) -> None:
    outcome = through(live, stage, rows, *overrides, "sampling.max_tokens=40")
    assert outcome.entry.calls >= len(rows) and outcome.entry.completion_tokens > 0
    assert outcome.sides["calls"].num_rows == outcome.entry.calls


def test_a_tool_is_an_object_of_its_keys(live: Any) -> None:
    shown = ("recipe.mode=few_shot", "recipe.task=tool")
    outcome = through(live, "synthesis", [{"text": one} for one in PERSONAS], "recipe=persona_synthesis", *shown)
    for row in python_rows(outcome.kept):
        assert list(json.loads(row["text"])) == list(TOOL_KEYS) and row["persona"] in PERSONAS
    reasons = {row["reason"] for row in python_rows(outcome.sides["rejected"])}
    assert reasons <= {"cut_by_max_tokens", "unparsable", "copied", "missing_keys", "off_schema"}
    assert outcome.kept.num_rows + len(reasons) > 0


def test_another_persona_gives_another_text(live: Any) -> None:
    rows = [{"text": persona} for persona in PERSONAS]
    how = ("recipe=persona_synthesis", "recipe.task=instruction", "sampling=greedy", "sampling.max_tokens=40")
    texts = [call["answers"][0] for call in through(live, "synthesis", rows, *how).sides["calls"].to_pylist()]
    assert texts[0] != texts[1]


def test_granularity_changes_the_prompt_and_how_long_personas_are(live: Any) -> None:
    words, prompts = {}, {}
    for granularity in ("coarse", "fine"):
        how = (
            "recipe=text_to_persona",
            f"recipe.granularity={granularity}",
            "sampling=greedy",
            "sampling.max_tokens=64",
        )
        calls = through(live, "personas", [{"text": text[:400]} for text in TEXTS], *how).sides["calls"].to_pylist()
        words[granularity] = [len(call["answers"][0].split()) for call in calls]
        prompts[granularity] = [call["prompt"] for call in calls]
    assert all(one != other for one, other in zip(prompts["coarse"], prompts["fine"], strict=True))
    assert sorted(words["coarse"]) != sorted(words["fine"])
