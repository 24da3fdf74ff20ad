"""The product's main job with the real engine: texts in, personas out, and an engine that dies on the way."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest

from pipelines.store.verify import verify

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
REAL_SEEDS = Path(os.environ.get("NIGHTMILL_TEST_DATA", ROOT / "../shared/data")) / "seeds.parquet"


def nightmill_json(*arguments):
    """A verb's one JSON object."""
    command = [sys.executable, "-m", "pipelines.cli", *arguments, "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout)


@pytest.fixture
def scratch():
    """A folder for temporary files with a short name: those of sockets have 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="n") as name:
        yield Path(name)


@pytest.mark.skipif(not REAL_SEEDS.exists(), reason="real data is absent: NIGHTMILL_TEST_DATA has no seeds.parquet")
def test_personas_from_real_texts(nightmill, tmp_path, scratch):
    output = tmp_path / "r"
    given = (f"input={REAL_SEEDS}", "text_column=text", f"output={output}", "limit=8")
    run = nightmill("run", "recipe=text_to_persona", *given, env={"TMPDIR": str(scratch)})
    run.wait_until(lambda: (output / "metadata.json").exists(), limit_s=500)
    family = run.family()
    assert run.finish() == 0, run.log.read_text()[-3000:]
    assert not run.left(family)
    assert {path.name for path in scratch.iterdir() if path.is_socket() or path.name.startswith("nightmill")} == set()
    proof = verify(str(output))
    assert (proof["ok"], proof["complete"]) == (True, True), proof["defects"]
    assert proof["stages"]["personas"]["rows_in"] == 8
    assert proof["stages"]["personas"]["completion_tokens"] > 8
    data = pads.dataset(str(output / "data"), format="parquet").to_table()
    assert {"id", "persona", "parent_ids"} <= set(data.column_names)
    seeds = set(pq.read_table(next(output.glob("stages/0-*/part-00000.parquet")))["id"].to_pylist())
    for row in data.to_pylist():
        assert set(row["parent_ids"]) <= seeds
        assert row["provenance"]["finish_reason"] == "stop"
        assert row["provenance"]["engine"] == "vllm"
    made = pads.dataset([str(p) for p in output.glob("stages/1-*/*.parquet")], format="parquet").to_table().to_pylist()
    code, ancestry = nightmill_json("explain", str(output), (made or data.to_pylist())[0]["id"])
    assert code == 0
    assert any(seed in json.dumps(ancestry) for seed in seeds)


def test_a_killed_engine_is_replaced_and_no_row_is_lost(nightmill, tmp_path):
    output = tmp_path / "r"
    run = nightmill(
        "run",
        "recipe=text_to_persona",
        f"input={ROOT / 'scripts/sample_seeds.parquet'}",
        f"output={output}",
        "limit=12",
        "io.shard_rows=3",
        "io.shards_in_flight=1",
        "sampling.max_tokens=32",
        "dedup.embedding.enabled=false",
    )
    run.wait_until(lambda: any(output.glob("stages/1-*/part-*.parquet")), limit_s=400)
    [core] = [p for p in run.family() if "EngineCore" in p.name() or "EngineCore" in " ".join(p.cmdline())]
    core.send_signal(signal.SIGKILL)
    assert run.finish(500) == 0, run.log.read_text()[-3000:]
    proof = verify(str(output))
    assert (proof["ok"], proof["complete"]) == (True, True), proof["defects"]
    personas = proof["stages"]["personas"]
    assert (personas["rows_in"], personas["rows_failed"]) == (12, 0)
