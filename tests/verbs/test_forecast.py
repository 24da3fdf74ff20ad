"""What a pilot says of other sizes: of its own size what it came to, of others in proportion."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.compose import compose
from pipelines.errors import UserError
from pipelines.run import run
from pipelines.verbs.forecast import notes
from pipelines.verbs.pilot import differences
from pipelines.verbs.plan import plan, render

pytestmark = pytest.mark.usefixtures("ray_here")

SEEDS = 120


@pytest.fixture(scope="module")
def pilot(tmp_path_factory):
    home = tmp_path_factory.mktemp("pilot")
    pq.write_table(
        pa.table({"text": [f"Passage {i} on bees and boats." for i in range(SEEDS)]}), home / "seeds.parquet"
    )
    output = home / "run"
    return output, run(compose([*settings(home / "seeds.parquet"), f"output={output}"]))


def settings(seeds, *more):
    how = ("recipe=persona_hub", "engine=simulated", "dedup.embedding.encoder=simulated", "recipe.hops=1")
    return [*how, f"input={seeds}", *more]


def planned(pilot, *more):
    seeds = pilot[0].parent / "seeds.parquet"
    return plan(compose(settings(seeds, f"forecast.pilot={pilot[0]}", *more), needs=("recipe", "input")))


def forecast(pilot, *more):
    return planned(pilot, *more)["forecast"]


def test_at_its_own_size_it_is_what_the_pilot_came_to(pilot):
    told = forecast(pilot)
    made = pilot[1]["stages"]
    for one in told["stages"]:
        sums = made[one["name"]]
        assert (one["rows"], one["kept"]) == (sums["rows_in"], sums["items_kept"])
        assert (one["calls"], one["completion_tokens"]) == (sums["calls"], sums["completion_tokens"])
    assert told["totals"]["rows"] == pilot[1]["rows_accepted"]


def test_ten_times_the_rows_take_ten_times_as_much(pilot):
    one, ten = forecast(pilot), forecast(pilot, f"rows={10 * SEEDS}")
    for key in ("rows", "completion_tokens", "gib", "device_hours"):
        assert ten["totals"][key] == pytest.approx(10 * one["totals"][key], rel=0.01)


def test_a_target_tells_how_many_seeds_it_needs(pilot):
    told = forecast(pilot, "target.rows=1000000000")
    assert told["totals"]["rows"] >= 10**9
    one_less = forecast(pilot, f"rows={told['seeds'] - 1}")
    assert one_less["totals"]["rows"] < 10**9


def test_seeds_given_stand_against_those_that_a_target_needs(pilot, shown):
    many, few = (planned(pilot, f"target.rows={rows}") for rows in (1_000_000, 50))
    assert many["target"] == {"rows": 1_000_000, "given": SEEDS, "needed": many["forecast"]["seeds"]}
    assert f"120 seeds given, about {many['forecast']['seeds']:,} needed by the pilot; once those" in shown(
        render(many)
    )
    assert few["target"]["needed"] < SEEDS and "they are asked again" not in shown(render(few))


def test_a_target_that_no_number_of_seeds_gives_is_refused(pilot, tmp_path):
    seeds = pilot[0].parent / "seeds.parquet"
    how = ("recipe.hops=0", "recipe.stages.quality.filters.too_long.than=0")
    run(compose([*settings(seeds, *how), f"output={tmp_path / 'nothing'}"]))
    with pytest.raises(UserError, match=r"target.rows=1,000: .* no number of rows gives so many"):
        forecast(pilot, f"forecast.pilot={tmp_path / 'nothing'}", "recipe.hops=0", "target.rows=1000")


def test_the_index_has_the_bytes_that_are_on_the_disk(pilot):
    told = {one["name"]: one for one in forecast(pilot)["stages"]}
    # What hop 1 was held against: a segment of what the first chain kept, once by words and once by meaning.
    files = [path for path in pilot[0].glob("stages/*-embedding-*/before/**/*") if path.is_file()]
    by_words = {path.parent for path in files if path.name == "sets.bin"}
    sizes = {path: path.stat().st_size for path in files if not path.name.startswith(("head.", "cells."))}
    words = sum(size for path, size in sizes.items() if path.parent in by_words)
    meaning = sum(size for path, size in sizes.items() if path.name != "segments.json") - words
    # The estimate is by the rows that were looked at, some of which went.
    assert told["minhash"]["index_gib"] * 2**30 == pytest.approx(words, rel=0.1)
    assert told["embedding"]["index_gib"] * 2**30 == pytest.approx(meaning, rel=0.1)


def test_hops_that_were_not_made_are_taken_for_the_last_one(pilot):
    told = {one["name"]: one for one in forecast(pilot, "recipe.hops=3")["stages"]}
    first, third = told["hop1.related"], told["hop3.related"]
    assert third["kept"] / third["rows"] == pytest.approx(first["kept"] / first["rows"], rel=0.05)
    capped = forecast(pilot, "recipe.hops=3", "recipe.max_new_per_hop=50")["stages"]
    assert [one["kept"] for one in capped if one["name"].endswith(".most")] == [50, 50, 50]


def test_speeds_and_devices_make_hours_and_small_nodes_make_partitions(pilot):
    told = forecast(pilot, "rows=1000000", "forecast.tokens_per_second=1000", "forecast.devices=4")
    tokens = told["totals"]["completion_tokens"]
    generating = sum(one["device_hours"] for one in told["stages"] if one["kind"] == "flow")
    assert generating == pytest.approx(tokens / 1000 / 3600)
    assert told["totals"]["hours"] == pytest.approx(told["totals"]["device_hours"] / 4)
    small = forecast(pilot, "rows=1000000", "forecast.node_gib=0.1")
    assert all(one["partitions"] > 1 for one in small["stages"] if one["kind"] == "dedup")
    assert "embedding: vectors of more rows than a node's memory holds" in " ".join(notes(small))
    several = forecast(pilot, "rows=1000000", "forecast.nodes=3")
    assert {one["partitions"] for one in several["stages"] if one["kind"] == "dedup"} == {1, 3}
    for told in (small, several):  # vectors are looked through by one process
        assert {one["name"] for one in told["stages"] if one.get("exchange_gib")} == {"minhash", "hop1.minhash"}


def test_it_is_shown_with_its_limits(pilot):
    seeds = pilot[0].parent / "seeds.parquet"
    told = plan(compose(settings(seeds, f"forecast.pilot={pilot[0]}"), needs=("recipe", "input")))
    assert "forecast.pilot is a simulated run: its yields and tokens are no model's" in told["notes"]
    assert "by the pilot: " in render(told).renderables[-1].plain


def test_settings_of_a_pilot_that_differ_are_told_in_a_line():
    then = {"skill": "all", "taxonomy": {"fermi": {}}, "stages": {}, "tries": 3, "quotas": {"age": {"child": 1}}}
    here = {
        "skill": "coding",
        "taxonomy": {"coding": {}},
        "stages": {"a": 1},
        "tries": 3,
        "quotas": {"age": {"old": 1}},
    }
    assert differences(then, here) == ("recipe.skill=all (here coding)", "recipe.quotas (a table)")


def test_a_pilot_of_another_recipe_or_without_a_stage_is_refused(pilot, tmp_path):
    seeds = pilot[0].parent / "seeds.parquet"
    how = ["engine=simulated", f"input={seeds}", f"forecast.pilot={pilot[0]}"]
    with pytest.raises(UserError, match="holds a run of recipe persona_hub, and this is text_to_persona"):
        plan(compose(["recipe=text_to_persona", *how], needs=("recipe", "input")))
    where = ["engine=simulated", f"input={seeds}", "dedup.embedding.enabled=false"]
    run(compose(["recipe=persona_hub", "recipe.hops=0", *where, f"output={tmp_path / 'without'}"]))
    with pytest.raises(UserError, match=r"has no stage hop1\.related; take a pilot"):
        forecast(pilot, f"forecast.pilot={tmp_path / 'without'}", "dedup.embedding.enabled=false")
    with pytest.raises(UserError, match="no run"):
        forecast(pilot, f"forecast.pilot={tmp_path / 'nothing'}")
