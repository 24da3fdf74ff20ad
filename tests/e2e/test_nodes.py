"""Three nodes, one node and memory decide alike; a kill while a run decides costs what was not written."""

import json
import random

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
from ray.cluster_utils import Cluster

from pipelines.store.verify import verify

pytestmark = pytest.mark.e2e

WORDS = "amber bridge canal debate engine forest garden harbour island journal kettle ladder market needle".split()


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """30,000 rows, a third of them near another, in an order that tells nothing."""
    rng = random.Random(20261125)
    texts = [" ".join(f"{rng.choice(WORDS)}{rng.randint(0, 400)}" for _ in range(14)) for _ in range(20_000)]
    near = [f"{text} {rng.choice(WORDS)}" for text in rng.choices(texts, k=10_000)]
    every = [*texts, *near]
    rng.shuffle(every)
    path = tmp_path_factory.mktemp("input") / "rows.parquet"
    ids = [f"row-{place:06d}" for place in range(len(every))]
    pq.write_table(pa.table({"id": ids, "text": every}), path)
    return path


def command(source, output, *more):
    where = (f"input={source}", "text_column=text", "id_column=id", f"output={output}")
    return ("run", "recipe=dedup", *where, "dedup.embedding.enabled=false", "io.bulk_rows=4000", *more)


def removed(output):
    table = pads.dataset(str(output / "removed"), format="parquet").to_table().sort_by("id")
    return table.combine_chunks()


@pytest.fixture(scope="module")
def three_nodes():
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 100 << 20})
    for _ in range(2):
        cluster.add_node(num_cpus=1, object_store_memory=100 << 20)
    yield cluster.address
    cluster.shutdown()


def test_three_nodes_one_node_and_memory_decide_alike(nightmill, source, three_nodes, tmp_path):
    cases = {"memory": (), "files": ("dedup.memory_gib=0.01",), "nodes": (f"cluster.address={three_nodes}",)}
    for name, more in cases.items():
        run = nightmill(*command(source, tmp_path / name, *more))
        assert run.finish() == 0, run.log.read_text()[-3000:]
        assert verify(str(tmp_path / name))["complete"]
        stats = json.loads((tmp_path / name / "stats.json").read_text())["stages"]["minhash"]["measured"]
        assert stats["in_memory"] is (name == "memory")
    expected = removed(tmp_path / "memory")
    assert 9_000 < len(expected) < 11_000
    for name in ("files", "nodes"):
        assert removed(tmp_path / name).equals(expected), name
    kept = {name: pads.dataset(str(tmp_path / name / "data")).to_table(columns=["id"])["id"] for name in cases}
    assert kept["memory"].equals(kept["files"])
    assert kept["memory"].equals(kept["nodes"])


def test_a_run_that_is_killed_while_it_decides_goes_on_with_any_memory(nightmill, source, tmp_path):
    output = tmp_path / "r"
    line = command(source, output)
    run = nightmill(*line, "dedup.memory_gib=0.005")
    done = lambda: list(output.glob("stages/1-*/spill/segment-*/done.bin"))  # noqa: E731
    run.wait_until(lambda: len(done()) >= 2)
    family = run.family()
    run.kill_group()
    assert not run.left(family), "a killed run left processes behind"
    assert not list(output.glob("stages/1-*/decisions/*"))
    # With other memory the rows are cut otherwise; what fits is taken, and nothing else.
    again = nightmill(*line, "dedup.memory_gib=0.004")
    assert again.finish() == 0, again.log.read_text()[-3000:]
    assert verify(str(output))["complete"]
    assert not list(output.glob("stages/1-*/spill"))
    undisturbed = nightmill(*command(source, tmp_path / "undisturbed"))
    assert undisturbed.finish() == 0
    assert removed(output).equals(removed(tmp_path / "undisturbed"))
