"""A stage whose rows were made with what another stage made is run again when that was made again; a flow is not."""

import pyarrow as pa
import pytest

from pipelines.stages.execute import settle_plan
from pipelines.stages.stage import Stage
from pipelines.store.commit import to_parquet
from pipelines.store.dataset import Dataset, part_name
from pipelines.store.files import folder


@pytest.fixture
def source(tmp_path):
    rows = folder(str(tmp_path / "stages" / "0-seeds-f"))
    rows.create(part_name(0), to_parquet(pa.table({"id": ["a", "b"]})))
    return Dataset.of(rows, {0: 2})


def place(tmp_path, source, kind, used):
    stage = Stage(1, "next", kind, {kind: {}}, {}, "f" * 20)
    target, plan = settle_plan(folder(str(tmp_path / "stages")), stage, source, 10, (), {"model": used})
    assert [shard.rows for shard in plan.shards] == [2]
    return target.url.rpartition("/")[2]


@pytest.mark.parametrize(("kind", "again"), [("map", True), ("make", True), ("flow", False)])
def test_another_model_is_another_generation(kind, again, source, tmp_path):
    first = place(tmp_path, source, kind, "2-model-f")
    assert place(tmp_path, source, kind, "2-model-f") == first
    second = place(tmp_path, source, kind, "2.1-model-f")
    assert second == (first.replace("1-next", "1.1-next") if again else first)
    assert place(tmp_path, source, kind, "2.1-model-f") == second
