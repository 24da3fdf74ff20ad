"""Where a run may live: an object store, and a disk that fills up on the way."""

import os
import subprocess
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import s3fs

from pipelines.store.verify import verify

pytestmark = pytest.mark.e2e


def write_seeds(path, count, words=12):
    texts = [f"Passage {i} on the care of bees, boats and bridges. " + "word " * words for i in range(count)]
    pq.write_table(pa.table({"text": texts}), path)


def command(seeds, output, *more):
    return ("run", "recipe=text_to_persona", "engine=simulated", f"input={seeds}", f"output={output}", *more)


def test_input_and_run_directory_on_s3(nightmill, s3_bucket, tmp_path):
    write_seeds(tmp_path / "seeds.parquet", 200)
    s3fs.S3FileSystem().put_file(str(tmp_path / "seeds.parquet"), f"{s3_bucket}/in/seeds.parquet")
    output = f"{s3_bucket}/runs/x"
    line = command(f"{s3_bucket}/in/*.parquet", output, "dedup.embedding.enabled=false", "io.shard_rows=20")
    slow = nightmill(*line, "engine.latency_s=1", "engine.max_num_seqs=8", "io.shards_in_flight=1")
    parts = lambda: s3fs.S3FileSystem(use_listings_cache=False).glob(f"{output}/stages/1-*/part-*.parquet")  # noqa: E731
    slow.wait_until(lambda: len(parts()) >= 2)
    slow.kill_group()
    again = nightmill(*line)
    assert again.finish() == 0, again.log.read_text()[-3000:]
    assert "died without letting go" in again.log.read_text()
    proof = verify(output)
    assert (proof["ok"], proof["complete"]) == (True, True), proof["defects"]
    assert proof["stages"]["personas"]["rows_in"] == 200
    log = again.log.read_text()
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in log.split()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MiB."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small file system")
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_stops_the_run_cleanly_and_it_goes_on_when_there_is_room(nightmill, small_disk, tmp_path):
    write_seeds(tmp_path / "seeds.parquet", 1500)
    ballast = small_disk / "ballast"
    ballast.write_bytes(os.urandom(1_700_000))
    output = small_disk / "r"
    line = command(tmp_path / "seeds.parquet", output, "dedup.embedding.enabled=false", "io.shard_rows=100")
    full = nightmill(*line)
    assert full.finish() == 1
    log = full.log.read_text()
    assert "No space left on device" in log
    assert "Traceback" not in log
    assert not [p for p in Path(output).rglob("*.tmp")]
    assert verify(str(output))["ok"]
    ballast.unlink()
    assert nightmill(*line).finish() == 0
    proof = verify(str(output))
    assert (proof["ok"], proof["complete"]) == (True, True), proof["defects"]
