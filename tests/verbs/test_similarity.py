"""The similarity study on a real Ray with the simulated engine and encoder: from personas to the plot."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.compose import compose
from pipelines.errors import UserError
from pipelines.run import run
from pipelines.store.verify import verify
from pipelines.verbs.similarity import ACROSS, render, similarity

pytestmark = pytest.mark.usefixtures("ray_here")


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """The same study by two models."""
    home = tmp_path_factory.mktemp("study")
    trades, places = "baker nurse pilot weaver judge".split(), "harbour valley desert city island".split()
    personas = [f"a {trade} who lives in the {place} and sings" for trade in trades for place in places]
    pq.write_table(pa.table({"persona": personas}), home / "personas.parquet")
    for model in ("smollm2_135m", "smollm2_1.7b"):
        how = [
            "recipe=similarity_study",
            "engine=simulated",
            "engine.accepted=1",
            "engine.duplicates=0",
            "dedup.embedding.encoder=simulated",
        ]
        where = [f"input={home / 'personas.parquet'}", "text_column=persona", f"output={home / model}"]
        run(compose([*how, *where, f"model={model}", "recipe.levels=[0.78,0.89]", "seed=3"]))
    return home / "smollm2_135m", home / "smollm2_1.7b"


def test_pairs_are_compared_under_every_wording_and_across_models(studies):
    one, other = map(str, studies)
    told = similarity(one, other)
    assert (verify(one)["complete"], verify(one)["defects"]) == (True, [])
    assert told["models"] == ["simulated (no model)"] * 2, "a simulated run names no model"
    by = {(found["wording"], found["level"]): found for found in told["figures"]}
    assert {wording for wording, _ in by} == {"generic", "constrained", ACROSS}
    assert all(abs(found["personas"] - level) <= 0.021 for (_, level), found in by.items())
    table = pq.read_table(f"{one}/similarity/pairs.parquet")
    assert table.num_rows == sum(found["pairs"] for found in told["figures"])
    with open(f"{one}/similarity/similarity.png", "rb") as file:
        assert file.read(4) == b"\x89PNG"
    assert set(table["left_model"].to_pylist()) == set(table["right_model"].to_pylist()) == {"simulated (no model)"}
    text = render(told).renderables[1].plain
    assert "rank correlation" in text
    assert "models: simulated (no model), simulated (no model);" in text and "not from a model" in text


def test_other_runs_are_refused(studies, tmp_path):
    path = tmp_path / "texts.parquet"
    pq.write_table(pa.table({"text": ["one", "two"]}), path)
    run(compose(["recipe=dedup", "dedup.embedding.enabled=false", f"input={path}", f"output={tmp_path / 'r'}"]))
    with pytest.raises(UserError, match="holds a run of recipe dedup; this takes similarity_study"):
        similarity(str(tmp_path / "r"))
