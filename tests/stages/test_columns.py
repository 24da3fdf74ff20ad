"""Columns that a stage is to read are looked for before anything is generated."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.compose import compose
from pipelines.errors import UserError
from pipelines.recipe import stages_of
from pipelines.run import run
from pipelines.stages.columns import columns_of, refuse_absent
from pipelines.store.freeze import freeze, settings_of


@pytest.fixture
def settled(tmp_path):
    """The stages and the frozen input of a configuration over two rows."""
    table = pa.table({"text": ["a", "b"], "kind": ["verse", None], "score": [1.0, 2.0], "domain": ["x", "y"]})
    pq.write_table(table, tmp_path / "rows.parquet")

    def made(*overrides):
        config = compose([f"input={tmp_path}/rows.parquet", f"output={tmp_path}/run", *overrides])
        manifest = freeze(config["input"], **settings_of(config))
        return stages_of(config, manifest.fingerprint), manifest

    return made


def test_each_stage_gives_what_its_kind_says(settled):
    stages, manifest = settled("recipe=agent_instruct", "recipe.decontaminate=null")
    found = {stages[number].name: schema.names for number, schema in columns_of(stages, manifest).items()}
    assert found["seeds"] == ["id", "parent_ids", "text", "kind", "score", "domain", "provenance"]
    assert set(found["kinds"]) == {*found["seeds"], "input_kind", "language"}
    assert found["assigned"] == ["id", "parent_ids", "skill", "kind", "language", "text", "provenance"]
    assert {"question", "passage", "messages"} < set(found["taught"]) and found["minhash"] == found["taught"]


def test_a_map_that_wants_rows_leaves_columns_unknown(settled, monkeypatch):
    monkeypatch.setattr("pipelines.filters.kind.with_kind", lambda table, column: table[:1]["text"][0] and table)
    stages, manifest = settled("recipe=agent_instruct")
    assert columns_of(stages, manifest)[1] is None
    refuse_absent(stages, manifest)


@pytest.mark.parametrize("recipe", ["agent_instruct", "persona_hub", "persona_to_persona", "dedup", "text_to_persona"])
def test_what_recipes_read_is_there(settled, recipe):
    refuse_absent(*settled(f"recipe={recipe}"))


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (
            ["recipe=dedup", "dedup.minhash.within=domian"],
            "dedup.minhash.within=domian: the rows that stage minhash compares have no such column; they have id, "
            "parent_ids, text, kind, score, domain, provenance; did you mean domain?",
        ),
        (["recipe=agent_instruct", "dedup.minhash.within=[skill,pasage]"], "dedup.minhash.within=pasage: .* passage?"),
        (["recipe=dedup", "dedup.minhash.within=score"], "dedup.minhash.within=score: the column holds double, and"),
        (
            ["recipe=agent_instruct", "recipe.stages.minhash.dedup.text_column=reply"],
            "recipe.stages.minhash.dedup.text_column=reply: the rows that stage minhash compares have no such column",
        ),
        (["recipe=dedup", "dedup.keep=highest", "dedup.score_column=scores"], "dedup.score_column=scores: .* score?"),
        (["recipe=dedup", "dedup.keep=highest", "dedup.score_column=parent_ids"], "name a column of numbers"),
        (["recipe=persona_to_persona", "dedup.minhash.within=domain"], "dedup.minhash.within=domain: the rows"),
        (["recipe=agent_instruct", "text_column=kind"], "text_column=kind: every row gets a column of that name"),
    ],
)
def test_a_column_that_will_not_be_there_is_refused_with_those_that_will(settled, overrides, says):
    with pytest.raises(UserError, match=says.replace("?", r"\?").replace("[", r"\[")):
        refuse_absent(*settled(*overrides))


def test_a_run_refuses_it_before_it_reads_or_writes_a_row(settled, tmp_path):
    settled("recipe=dedup")
    how = ("recipe=dedup", "dedup.minhash.within=nothing", "dedup.embedding.enabled=false")
    with pytest.raises(UserError, match="dedup.minhash.within=nothing"):
        run(compose([f"input={tmp_path}/rows.parquet", f"output={tmp_path}/run", *how]))
    assert not (tmp_path / "run" / "stages").exists()
