"""A run towards a target on a real Ray, with the simulated engine: its rounds, and what a later start makes of them."""

import json
import shutil
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest

from pipelines.compose import compose
from pipelines.errors import Interrupted, RunStopped, UserError
from pipelines.flows.persona_hub import attributes
from pipelines.interrupt import Interrupt
from pipelines.rows import digest
from pipelines.run import run
from pipelines.store.verify import verify
from pipelines.towards import refuse_target
from pipelines.verbs.doctor import doctor

pytestmark = pytest.mark.usefixtures("ray_here")

WANTED = 150
#: A population, of which few are of one value.
RARE = {"age": {"rare": 12, "usual": 88}}


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    path = tmp_path_factory.mktemp("input") / "seeds.parquet"
    pq.write_table(pa.table({"text": [f"Passage {i} on bees, boats and bridges." for i in range(100)]}), path)
    return path


def config(seeds, output, *overrides, recipe="recipe=persona_hub"):
    how = ("engine=simulated", "dedup.embedding.encoder=simulated", "io.shard_rows=20", f"target.rows={WANTED}")
    hops = ("recipe.hops=2",) if recipe == "recipe=persona_hub" else ()
    return compose([recipe, *how, *hops, f"input={seeds}", "text_column=text", f"output={output}", *overrides])


def rows(output):
    columns = ("id", "persona", "hop", "parent_id")
    return [
        tuple(row[c] for c in columns)
        for row in pads.dataset(str(output / "data"), format="parquet").to_table().sort_by("id").to_pylist()
    ]


def rounds(output):
    return json.loads((output / "stages.json").read_bytes())["rounds"]


@pytest.fixture(scope="module")
def finished(seeds, tmp_path_factory):
    output = tmp_path_factory.mktemp("runs") / "night"
    return output, run(config(seeds, output))


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished[0], tmp_path / "copy")


def test_it_ends_with_at_least_the_rows_asked_for_and_says_so(finished):
    output, told = finished
    assert told["target"]["stopped"] == "rows"
    assert told["target"]["says"] == f"target.rows={WANTED} is reached: {len(rows(output))} rows"
    assert WANTED <= len(rows(output)) == told["target"]["rounds"][-1]["rows"]
    assert (verify(str(output))["complete"], verify(str(output))["defects"]) == (True, [])
    assert (output / "saturation.png").exists()


def test_a_start_after_it_was_reached_adds_nothing(copy, seeds):
    before = (rows(copy), rounds(copy), (copy / "stats.json").read_bytes())
    run(config(seeds, copy))
    assert (rows(copy), rounds(copy), (copy / "stats.json").read_bytes()) == before


@pytest.fixture
def unlucky(tmp_path):
    """Texts of which none is asked for a rare value in the first sample, and some are in the second."""
    path = tmp_path / "texts.parquet"
    texts = [f"Passage {i} on bees, boats and bridges." for i in range(400)]
    drawn = {text: [attributes(RARE, digest(text.encode()), draw)["age"] for draw in (0, 1)] for text in texts}
    usual = [text for text in texts if drawn[text] == ["usual", "usual"]][:10]
    rare = [text for text in texts if drawn[text] == ["usual", "rare"]][:2]
    pq.write_table(pa.table({"text": [*usual, *rare]}), path)
    return path


def quotas(unlucky, output, *overrides):
    table = f"recipe.quotas={json.dumps(RARE).replace(chr(34), '')}"
    how = (table, "recipe.quota_tolerance=0.1", "engine.accepted=1", "engine.duplicates=0", *overrides)
    return config(unlucky, output, *how, recipe="recipe=text_to_persona")


def test_a_first_round_that_lacks_a_value_adds_none_and_the_next_one_does(unlucky, tmp_path, capsys):
    told = run(quotas(unlucky, tmp_path / "night", "target.rows=5"))
    first = told["stages"]["r1.population"]
    assert (first["items_kept"], first["items_rejected"]) == (0, {"over_quota": 12})
    assert first["measured"]["unmet"] in " ".join(capsys.readouterr().err.split())
    assert told["target"]["stopped"] == "rows" and told["rows_accepted"] >= 5


def test_weights_that_the_rows_of_a_run_cannot_meet_end_it(unlucky, tmp_path):
    for _ in range(2):
        with pytest.raises(RunStopped, match=r"age=rare wants 12.0% and has 0 of 12 rows, 0.0%"):
            run(quotas(unlucky, tmp_path / "run", "target.rows=null"))


def test_a_higher_target_goes_on_from_there(copy, seeds):
    before, first = rows(copy), rounds(copy)
    run(config(seeds, copy, "target.rows=250"))
    assert set(before) <= set(rows(copy)) and len(rows(copy)) >= 250
    assert rounds(copy)[: len(first)] == first
    assert verify(str(copy))["complete"]


def test_a_run_that_ended_within_a_round_goes_on_there_to_the_same_rows(finished, seeds, tmp_path, monkeypatch):
    output = tmp_path / "interrupted"
    asked = Interrupt.__bool__
    monkeypatch.setattr(
        Interrupt, "__bool__", lambda self: asked(self) or any(output.glob("stages/*-r2.*/part-00001.parquet"))
    )
    with pytest.raises(Interrupted):
        run(config(seeds, output))
    monkeypatch.undo()
    assert len(rounds(output)) == 2
    first = {path: path.stat().st_mtime_ns for path in output.glob("stages/*/part-*.parquet")}
    run(config(seeds, output))
    assert {path: path.stat().st_mtime_ns for path in first} == first
    assert verify(str(output))["complete"]
    assert (rows(output), rounds(output)) == (rows(finished[0]), rounds(finished[0]))


def test_a_changed_setting_is_refused_and_redone_from_the_first_round_that_it_concerns(copy, seeds):
    first = rounds(copy)
    with pytest.raises(UserError, match=r"(?s)r1\.personas: prompt changed.*redo=changed"):
        run(config(seeds, copy, "prompt.system=Be brief."))
    run(config(seeds, copy, "prompt.system=Be brief.", "redo=changed"))
    assert verify(str(copy))["complete"] and len(rows(copy)) >= WANTED
    assert len(list(copy.glob("stages/*-r1.personas-*"))) == 2
    assert rounds(copy)[0] == first[0]


def test_rounds_of_hops_that_are_no_longer_asked_for_go(copy, seeds):
    assert any(one["chain"] for one in rounds(copy))
    with pytest.raises(UserError, match="no longer in the recipe"):
        run(config(seeds, copy, "recipe.hops=0"))
    run(config(seeds, copy, "recipe.hops=0", "redo=changed"))
    assert not any(one["chain"] for one in rounds(copy))
    assert verify(str(copy))["complete"]


def test_the_doctor_sees_a_run_that_its_command_goes_on_with(copy, seeds):
    told = doctor(config(seeds, copy))
    assert (
        next(one for one in told["checks"] if one["name"] == "run directory")["seen"] == "holds this run, which goes on"
    )


def test_a_deadline_that_is_over_ends_a_run_that_has_begun_with_what_it_has(copy, seeds):
    told = run(config(seeds, copy, "target.rows=100000", "target.deadline=2020-01-01T00:00+00:00"))
    assert told["target"]["stopped"] == "deadline"
    assert json.loads((copy / "stats.json").read_bytes())["target"]["stopped"] == "deadline"
    with pytest.raises(UserError, match="is over"):
        run(config(seeds, copy.parent / "other", "target.deadline=2020-01-01T00:00+00:00"))


def test_an_input_that_is_used_up_ends_the_run_by_its_rule(seeds, tmp_path):
    told = run(config(seeds, tmp_path / "r", "target.rows=100000", "target.least_new=900"))
    assert told["target"]["stopped"] == "saturated"
    assert "fewer than target.least_new=900 of 1,000" in told["target"]["says"]


def test_time_for_not_one_round_is_said(seeds, tmp_path, monkeypatch):
    clock = iter([*2 * [datetime(2026, 1, 1, 6, 59, tzinfo=UTC)], datetime(2026, 1, 1, 7, 1, tzinfo=UTC)])
    monkeypatch.setattr("pipelines.towards._now", lambda: next(clock))
    with pytest.raises(
        RunStopped, match=r"target\.deadline: no time for another round before 2026-01-01 07:00 UTC; 0 rows"
    ):
        run(config(seeds, tmp_path / "r", "target.deadline=07:00 UTC"))


def test_a_time_of_day_is_that_of_the_first_start(copy, seeds, monkeypatch):
    at = datetime(2026, 1, 1, 6, 59, 59, tzinfo=UTC)
    monkeypatch.setattr("pipelines.towards._now", lambda: at)
    more = ("target.rows=100000", "target.deadline=07:00 UTC")
    assert run(config(seeds, copy, *more))["target"]["stopped"] == "deadline"
    begun = len(rounds(copy))
    at = datetime(2026, 1, 1, 7, 20, tzinfo=UTC)
    assert run(config(seeds, copy, *more))["target"]["stopped"] == "deadline"
    assert len(rounds(copy)) == begun
    at = datetime(2026, 1, 1, 7, 20, 30, tzinfo=UTC)
    with pytest.raises(Interrupted):  # another time is a later one, and goes on
        monkeypatch.setattr(Interrupt, "__bool__", lambda self: len(rounds(copy)) > begun)
        run(config(seeds, copy, "target.rows=100000", "target.deadline=09:00 UTC"))


def test_calls_that_all_break_end_a_run_by_max_failed(tmp_path):
    path = tmp_path / "few.parquet"
    pq.write_table(pa.table({"text": [f"Passage {i} on bees and boats." for i in range(60)]}), path)
    with pytest.raises(RunStopped, match=r"max_failed=0.5: 100 of 100 rows failed \(100%\), most often by call_failed"):
        run(config(path, tmp_path / "r", "engine.errors=1.0"))


def test_the_cap_of_a_hop_holds_over_all_rounds(seeds, tmp_path):
    told = run(config(seeds, tmp_path / "r", "recipe.max_new_per_hop=12", "target.rows=100000", "target.least_new=200"))
    hops = [row[2] for row in rows(tmp_path / "r")]
    assert (hops.count(1), hops.count(2)) == (12, 12)
    assert told["target"]["stopped"] == "saturated" and "over_max_new_per_hop" in told["target"]["says"]


def test_rows_that_are_asked_for_many_samples_are_shards_of_fewer_rows(tmp_path):
    path, output = tmp_path / "few.parquet", tmp_path / "r"
    pq.write_table(pa.table({"text": [f"Passage {i} on bees and boats." for i in range(12)]}), path)
    run(config(path, output, "recipe.hops=0"))
    draws = {number: one["draws"] for number, one in enumerate(rounds(output), 1)}
    assert max(draws.values()) > 2
    for number, many in draws.items():
        for plan in output.glob(f"stages/*-r{number}.personas-*/plan-000.json"):
            sizes = [shard["rows"] for shard in json.loads(plan.read_bytes())["shards"]]
            assert all(size * many <= max(20, many) for size in sizes)
    assert verify(str(output))["complete"] and len(rows(output)) >= WANTED


def test_a_recipe_that_trains_on_all_of_its_rows_is_refused():
    recipe = {"name": "inpars", "stages": {"queries": {"flow": {}}, "retriever": {"make": {}}}, "until": None}
    with pytest.raises(UserError, match="target: recipe inpars trains on what all of its rows have become"):
        refuse_target({"target": {"deadline": None}, "recipe": recipe}, begun=False)


def test_a_recipe_that_begins_by_looking_at_all_rows_is_refused(seeds, tmp_path):
    study = ("recipe.levels=[0.8]", "recipe.pairs_per_level=5")
    with pytest.raises(UserError, match="target: stage pairs of recipe similarity_study looks at all rows at once"):
        run(config(seeds, tmp_path / "r", *study, recipe="recipe=similarity_study"))
