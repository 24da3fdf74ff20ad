"""Every skill of AgentInstruct with the real engine: what comes back is accounted for, whatever the seed is like."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipelines.compose import compose
from pipelines.recipe import stages_of
from pipelines.rows import python_rows
from pipelines.store.commit import Outcome

TEXTS = pq.read_table(Path(__file__).parents[2] / "scripts" / "sample_seeds.parquet")["text"].to_pylist()
CODE = '''def mean(values: list[float]) -> float:
    """The arithmetic mean."""
    if not values:
        raise ValueError("no values")
    return sum(values) / len(values)


def spread(values: list[float]) -> float:
    middle = mean(values)
    return (sum((one - middle) ** 2 for one in values) / len(values)) ** 0.5
'''
#: Sharing nothing but words with the language that it is called.
UNKNOWN_CODE = (
    "MODULE Heap;\nVAR top: INTEGER;\nPROCEDURE Push*(x: INTEGER);\nBEGIN INC(top); s[top] := x END Push;\n" * 4
)
CHINESE = "海边的灯塔由一位老人看守。他每天晚上点亮灯火，记录过往船只的名字，并写信给远方的女儿。" * 4
ARABIC = "كان حارس المنارة يوقد الضوء كل مساء ويكتب أسماء السفن التي تمر به في دفتر قديم." * 4


def taught(live: Any, seeds: list[dict[str, Any]], *overrides: str) -> tuple[Outcome, dict[str, int]]:
    """What skills make of seeds (``skill``, ``text``, ``kind``), and how many items each skill made."""
    how = ("recipe=agent_instruct", "recipe.scale=small", "input=a", "output=b", "text_column=text")
    config = compose([*how, "io.keep_calls=true", *overrides])
    [flow] = [stage for stage in stages_of(config, "f") if stage.name == "taught"]
    rows = [{"language": None, **seed} for seed in seeds]
    library = [row for row in rows if row["kind"] == "code"]
    outcome: Outcome = live.accounted(config, flow, rows, {"library": library})
    made: dict[str, int] = {}
    for items in (outcome.kept, outcome.sides["rejected"]):
        for item in python_rows(items):
            made[item["skill"]] = made.get(item["skill"], 0) + 1
    return outcome, made


def test_all_skills_are_accounted_for(live: Any) -> None:
    config = compose(["recipe=agent_instruct", "input=a", "output=b", "text_column=text"])
    skills = {name: skill["takes"] for name, skill in config["recipe"]["taxonomy"].items()}
    assert len(skills) == 17
    seeds = [
        {"skill": name, "kind": takes, "text": CODE if takes == "code" else TEXTS[number][:600]}
        for number, (name, takes) in enumerate(skills.items())
    ]
    outcome, made = taught(live, seeds, "recipe.max_tokens=48")
    assert set(made) == set(skills)
    calls = python_rows(outcome.sides["calls"])
    assert {call["row_id"] for call in calls} == {f"{number:032x}" for number in range(17)}
    assert all(call["completion_tokens"] <= 48 * len(call["answers"]) for call in calls)
    # Under 1,000 generated tokens a seed.
    assert outcome.entry.completion_tokens < 1000 * len(seeds)
    # What an item rests on is the row's calls, by their numbers.
    numbers = {(call["row_id"], call["call"]) for call in calls}
    for item in (*python_rows(outcome.kept), *python_rows(outcome.sides["rejected"])):
        row = item["parent_ids"][0] if "parent_ids" in item else item["row_id"]
        assert {(row, number) for number in item["provenance"]["calls"]} <= numbers


@pytest.mark.parametrize(
    ("skill", "kind", "text"),
    [
        ("reading_comprehension", "text", " ".join(TEXTS) * 3),
        ("reading_comprehension", "text", CHINESE),
        ("text_modification", "text", ARABIC),
        ("tool_use", "code", UNKNOWN_CODE),
        ("coding", "code", CODE * 40),
    ],
    ids=["too long", "Chinese", "Arabic", "code in an unknown language", "too much code"],
)
def test_seeds_that_are_hard_to_take(live: Any, skill: str, kind: str, text: str) -> None:
    outcome, made = taught(live, [{"skill": skill, "kind": kind, "text": text}], "recipe.max_tokens=32")
    assert set(made) == {skill}
    assert outcome.entry.completion_tokens > 0
