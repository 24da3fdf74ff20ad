"""Every skill of AgentInstruct with the real engine: what comes back is accounted for, whatever the seed."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pyarrow as pa
import pytest

from pipelines.compose import compose
from pipelines.face.taxonomy import shipped
from pipelines.recipe import stages_of
from pipelines.stages.flow import flow_work
from pipelines.store.commit import Outcome
from pipelines.store.dataset import Shard

PROSE = (
    "The bridge at Saltmere was built in 1901 of iron. Ships pass below it twice a day. In 1950 a storm took its middle"
    " part, and for two years people crossed by boat. The new part is of steel and two metres higher."
)
CODE = "def tide(harbour: str, day: str) -> float:\n    table = read_table(harbour)\n    return table[day].high\n"


def taught(live: Any, rows: list[dict[str, Any]], *overrides: str) -> Outcome:
    """What becomes of seeds that skills took up."""
    how = ["recipe=agent_instruct", "recipe.scale=small", "recipe.max_tokens=48", "input=a", "output=b"]
    config = compose([*how, *overrides])
    flow = next(one for one in stages_of(config, "f") if one.name == "taught")
    used = {"library": [{"text": CODE, "kind": "code"}]}
    work = flow_work(config, flow, live.engine, asyncio.Semaphore(64), used=used)
    table = pa.Table.from_pylist([{"id": f"{number:032x}", "language": None, **row} for number, row in enumerate(rows)])
    outcome: Outcome = live.run(work.run(Shard(0, ((0, 0, len(rows)),), len(rows)), table))
    entry = outcome.entry
    assert entry.rows_in == entry.rows_kept + entry.rows_rejected + entry.rows_failed == len(rows)
    assert (entry.failed, entry.balanced()) == ({}, None)
    return outcome


def test_all_skills_on_a_seed_each(live: Any) -> None:
    skills = shipped()
    codes = ("coding", "tool_use")
    rows = [{"skill": one, "text": CODE if one in codes else PROSE, "kind": "text"} for one in skills]
    outcome = taught(live, rows)
    kept, rejected = outcome.kept.to_pylist(), outcome.sides["rejected"].to_pylist()
    assert {item["skill"] for item in [*kept, *rejected]} == set(skills)
    assert outcome.entry.completion_tokens < 1000 * len(rows)
    for item in kept:
        turns = json.loads(item["messages"])
        assert turns[0]["role"] == "user" and turns[1] == {"role": "assistant", "content": item["response"]}
        assert item["provenance"]["calls"]
    # Whatever rests on an answer says which; what was refined names its parent beside its row.
    for item in kept:
        assert len(item["parent_ids"]) == (1 if item["origin"] == "seed" else 2)


@pytest.mark.parametrize(
    "text",
    [
        PROSE * 120,
        "这座桥建于一九〇一年。船每天从桥下经过两次。" * 20,
        "بني الجسر عام ١٩٠١. تمر السفن تحته مرتين في اليوم. " * 20,
    ],
    ids=["too long", "Chinese", "Arabic"],
)
def test_seeds_of_any_length_and_script(live: Any, text: str) -> None:
    row = {"skill": "reading_comprehension", "text": text, "kind": "text"}
    outcome = taught(live, [row, {**row, "skill": "conversation"}], "recipe.rounds=0")
    assert outcome.entry.rows_failed == 0 and outcome.entry.calls > 1
