"""Killed at any moment and started again: finished shards are kept, nothing is lost, nothing doubled."""

import random

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest

from pipelines.store.verify import verify

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    path = tmp_path_factory.mktemp("input") / "seeds.parquet"
    texts = [f"Passage {i} on the care of bees, boats and bridges." for i in range(1000)]
    pq.write_table(pa.table({"text": texts}), path)
    return path


def command(seeds, output, *more):
    return (
        "run",
        "recipe=text_to_persona",
        "engine=simulated",
        "dedup.embedding.encoder=simulated",
        f"input={seeds}",
        f"output={output}",
        "io.shard_rows=20",
        "engine.latency_s=0.5",
        "engine.max_num_seqs=32",
        *more,
    )


def kept(output):
    columns = ["id", "persona", "relation", "parent_ids"]
    return pads.dataset(str(output / "data"), format="parquet").to_table(columns=columns).sort_by("id").to_pylist()


def shards(output):
    return len(list(output.glob("stages/1-*/part-*.parquet")))


def test_three_kills_end_row_exact(nightmill, seeds, tmp_path):
    output = tmp_path / "r"
    moments = random.Random(20261123)
    for _ in range(3):
        aim = shards(output) + moments.randint(3, 12)
        run = nightmill(*command(seeds, output))
        run.wait_until(lambda: shards(output) >= aim)  # noqa: B023
        family = run.family()
        before = {p: p.read_bytes() for p in output.glob("stages/1-*/part-*.parquet")}
        run.kill_group()
        assert not run.left(family), "a killed run left processes behind"
        assert verify(str(output))["ok"]
        assert all(p.read_bytes() == content for p, content in before.items())
    assert nightmill(*command(seeds, output)).finish() == 0
    proof = verify(str(output))
    assert (proof["ok"], proof["complete"]) == (True, True), proof["defects"]
    undisturbed = tmp_path / "u"
    assert nightmill(*command(seeds, undisturbed, "engine.latency_s=0")).finish() == 0
    assert kept(output) == kept(undisturbed)


def test_ctrl_c_drains_and_a_second_one_stops(nightmill, seeds, tmp_path):
    output = tmp_path / "r"
    run = nightmill(*command(seeds, output))
    run.wait_until(lambda: shards(output) >= 4)
    run.interrupt()
    assert run.finish() == 1
    assert "Ctrl-C again stops at once" in run.log.read_text()
    drained = shards(output)
    assert 4 < drained < 50
    assert verify(str(output))["ok"]
    run = nightmill(*command(seeds, output))
    run.wait_until(lambda: shards(output) > drained)
    family = run.family()
    run.interrupt()
    run.wait_until(lambda: run.log.read_text().count("Ctrl-C again") == 2)
    run.interrupt()
    assert run.finish(60) == 1
    assert not run.left(family)
    assert verify(str(output))["ok"]


def test_sigterm_drains_too(nightmill, seeds, tmp_path):
    """What Slurm and Kubernetes send before they take a machine away."""
    output = tmp_path / "r"
    run = nightmill(*command(seeds, output))
    run.wait_until(lambda: shards(output) >= 4)
    family = run.family()
    run.process.terminate()
    assert run.finish() == 1
    log = run.log.read_text()
    assert "finishing and committing the shards under way" in log
    assert "SIGTERM received" not in log
    assert not run.left(family)
    assert verify(str(output))["ok"]


def test_one_of_two_actors_dies_and_its_shards_are_done_elsewhere(nightmill, seeds, tmp_path):
    output = tmp_path / "r"
    run = nightmill(*command(seeds, output, "engine.replicas=2", "io.shards_in_flight=4"))
    run.wait_until(lambda: shards(output) >= 6)
    actors = [p for p in run.family() if "ShardActor" in " ".join(p.cmdline())]
    assert len(actors) == 2
    actors[0].kill()
    assert run.finish() == 0, run.log.read_text()[-3000:]
    proof = verify(str(output))
    assert (proof["ok"], proof["complete"]) == (True, True), proof["defects"]
    assert (proof["stages"]["personas"]["rows_in"], proof["stages"]["personas"]["rows_failed"]) == (1000, 0)
