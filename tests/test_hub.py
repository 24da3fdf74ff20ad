"""Hops on a real Ray, with the simulated engine: what is new goes on, each held against all that came before."""

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest

from pipelines.compose import compose
from pipelines.dedup.earlier import earlier
from pipelines.errors import Interrupted
from pipelines.interrupt import Interrupt
from pipelines.run import run
from pipelines.store.verify import verify
from pipelines.verbs.explain import explain
from pipelines.verbs.status import status

SIMULATED = (
    "engine=simulated",
    "engine.replicas=1",
    "dedup.embedding.encoder=simulated",
    "engine.accepted=0.6",
    "engine.duplicates=0.3",
)
PEOPLE = ("recipe=persona_to_persona", "text_column=persona", "recipe.hops=2")
ROLES = ("baker", "nurse", "pilot", "tailor", "potter", "weaver", "sailor", "teacher", "painter", "farmer")

#: What a file of personas holds that is none: refusals, nothing, addresses, essays, lists.
BAD = (
    "I cannot help with that.",
    "",
    None,
    "Write to me@example.com, a nurse",
    "A teacher " + "who walks along the river and counts the boats " * 50,
    "1. A nurse who sings\n2. A baker who runs",
)

pytestmark = pytest.mark.usefixtures("ray_here")


@pytest.fixture(scope="module")
def personas(tmp_path_factory):
    path = tmp_path_factory.mktemp("input") / "personas.parquet"
    texts = [f"A {role} from street {n} who keeps {n + 3} {role}s' letters" for n in range(8) for role in ROLES]
    pq.write_table(pa.table({"persona": [*texts, *BAD]}), path)
    return path


def start(personas, output, *overrides):
    return run(compose([*SIMULATED, *PEOPLE, f"input={personas}", f"output={output}", "io.shard_rows=20", *overrides]))


def rows(output, name="data"):
    return pads.dataset(str(output / name), format="parquet").to_table().sort_by("id").to_pylist()


@pytest.fixture(scope="module")
def finished(personas, tmp_path_factory):
    output = tmp_path_factory.mktemp("runs") / "people"
    return output, start(personas, output)


def test_the_result_is_the_given_personas_and_the_new_ones_of_every_hop(finished):
    output, summary = finished
    found = rows(output)
    assert verify(str(output))["defects"] == []
    assert {row["hop"] for row in found} == {0, 1, 2}
    assert summary["rows_accepted"] == len(found) == len({row["id"] for row in found})
    assert {"id", "persona", "relation", "hop", "parent_id"} <= set(found[0])
    assert summary["stages"]["seeds"]["items_rejected"] == {"empty_text": 2}
    named = {"refusal": 1, "contact": 1, "too_long": 1, "several": 1}
    assert summary["stages"]["quality"]["items_rejected"] == named


def test_every_chain_of_parents_ends_in_a_given_persona(finished):
    output, _ = finished
    by_id = {row["id"]: row for row in rows(output)}
    for row in by_id.values():
        assert (row["hop"] == 0) == (row["parent_id"] is None)
        assert row["hop"] == 0 or by_id[row["parent_id"]]["hop"] == row["hop"] - 1
    last = next(row for row in by_id.values() if row["hop"] == 2)
    told = explain(str(output), last["id"])["row"]
    chain = [told["id"], told["parents"][0]["id"], told["parents"][0]["parents"][0]["id"]]
    assert chain == [last["id"], last["parent_id"], by_id[last["parent_id"]]["parent_id"]]
    assert told["parents"][0]["path"][-1] == {"stage": "hop1.embedding", "outcome": "kept"}


def test_a_hop_is_held_against_all_personas_so_far(finished):
    output, summary = finished
    second = summary["stages"]["hop2.minhash"]
    assert second["measured"]["before"]["rows"] == sum(row["hop"] < 2 for row in rows(output))
    assert 0 < second["measured"]["before"]["removed"] <= second["measured"]["removed"]
    # The simulated duplicates are near-copies of 16 sentences: whatever hop says them first keeps one of each.
    removed = {row["id"]: row["keeper_id"] for row in rows(output, "removed")}
    hops = {row["id"]: row["hop"] for row in rows(output)}
    assert {hops[keeper] for keeper in removed.values()} >= {1}


def test_a_cap_on_what_a_hop_adds_is_kept_and_accounted_for(personas, tmp_path):
    output = tmp_path / "capped"
    summary = start(personas, output, "recipe.max_new_per_hop=15")
    counts = [sum(row["hop"] == hop for row in rows(output)) for hop in (1, 2)]
    assert counts == [15, 15]
    assert summary["stages"]["hop1.most"]["items_rejected"].keys() == {"over_max_new_per_hop"}
    assert summary["stages"]["hop2.related"]["rows_in"] == 15
    assert verify(str(output))["defects"] == []


def test_a_run_that_ended_in_the_second_hop_goes_on_there_to_the_same_rows(finished, personas, tmp_path, monkeypatch):
    output = tmp_path / "interrupted"
    asked = Interrupt.__bool__

    def in_the_second_hop(self):
        return asked(self) or any(
            "hop2.related" in name for name in map(str, output.glob("stages/*/part-00001.parquet"))
        )

    monkeypatch.setattr(Interrupt, "__bool__", in_the_second_hop)
    with pytest.raises(Interrupted):
        start(personas, output)
    monkeypatch.undo()
    first = {path: path.stat().st_mtime_ns for path in output.glob("stages/*/part-*.parquet")}
    assert status(str(output))["state"] == "stopped"
    start(personas, output)
    assert {path: path.stat().st_mtime_ns for path in first} == first
    assert verify(str(output))["complete"]
    undisturbed, _ = finished
    columns = ("id", "persona", "relation", "hop", "parent_id")
    assert [[row[c] for c in columns] for row in rows(output)] == [
        [row[c] for c in columns] for row in rows(undisturbed)
    ]


def test_another_run_is_held_against_all_hops_by_the_vectors_that_they_made(finished, personas, tmp_path):
    output, summary = finished
    knobs = {"text_column": "persona", "encoder": "simulated"}
    before = earlier(str(output), "another")
    made = before.vectors(knobs)
    encoded = {one for table in made.batches(["id"]) for one in table["id"].to_pylist()}
    assert len(made.each) == 3 and {row["id"] for row in rows(output)} <= encoded
    assert before.vectors(knobs | {"encoder": "another"}) is None
    again = start(personas, tmp_path / "again", f"dedup.against={output}")
    assert again["rows_accepted"] == 0
    assert again["stages"]["minhash"]["measured"]["against"]["rows"] == summary["rows_accepted"]


def test_what_all_hops_kept_is_added_to_a_standing_index(personas, tmp_path):
    index = f"dedup.against={tmp_path / 'index'}"
    first = start(personas, tmp_path / "one", index)
    again = start(personas, tmp_path / "two", index)
    assert again["stages"]["minhash"]["measured"]["against"]["rows"] == first["rows_accepted"]
    assert again["rows_accepted"] == 0
