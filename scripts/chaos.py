"""Kill a run at random moments, start the same command again, and hold the end against an undisturbed run.

``scripts/chaos --kills 3 recipe=text_to_persona input=SEEDS.parquet limit=120``. Each kill is a SIGKILL of the run's
process group, at a moment drawn from ``--seed`` once it has committed a shard. After each one the run directory must
pass ``nightmill verify``, no process may be left, and no committed shard may have changed by a byte.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.dataset as pads

from pipelines.store.verify import verify

#: Columns in which two runs may differ: when and by which attempt a row was made.
_OF_THE_ATTEMPT = ("created_at", "attempt", "logprobs")


def main() -> int:
    """Run, kill, verify, compare; 0 when every promise held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--within", type=float, default=60.0, help="seconds after a start's first commit [60]")
    parser.add_argument("overrides", nargs="+", metavar="KEY=VALUE")
    asked = parser.parse_args()
    chance = random.Random(asked.seed)
    with tempfile.TemporaryDirectory() as scratch:
        disturbed, calm = Path(scratch) / "disturbed", Path(scratch) / "calm"
        line = [*asked.overrides, f"output={disturbed}"]
        kills = 0
        while kills < asked.kills and killed(line, disturbed, kills, chance, asked.within):
            kills += 1
        print(f"{kills} kills; going on to the end", flush=True)
        for overrides in (line, [*asked.overrides, f"output={calm}"]):
            subprocess.run([sys.executable, "-m", "pipelines.cli", "run", *overrides], stdout=sys.stderr, check=True)
        proof = verify(str(disturbed))
        print(f"verify after {kills} kills: ok {proof['ok']}, complete {proof['complete']}, {proof['defects']}")
        for name, sums in proof["stages"].items():
            counts = ("rows_in", "rows_kept", "rows_rejected", "rows_failed")
            print(f"  {name}: " + ", ".join(f"{key} {sums[key]}" for key in counts))
        same = compare(kept(disturbed), kept(calm))
    if kills < asked.kills:
        print(
            f"only {kills} of {asked.kills} kills: the run ended before the moment came; lower --within, or more rows"
        )
    return 0 if proof["ok"] and proof["complete"] and same and kills == asked.kills else 1


def killed(line: list[str], output: Path, number: int, chance: random.Random, within: float) -> bool:
    """Start the run and kill it; False when it ended before the moment came."""
    before = shards(output)
    run = subprocess.Popen(
        [sys.executable, "-m", "pipelines.cli", "run", *line], stdout=sys.stderr, start_new_session=True
    )
    while shards(output) == before and run.poll() is None:
        time.sleep(0.1)  # polling a file system
    moment = chance.uniform(0, within)
    try:
        run.wait(moment)
        return False
    except subprocess.TimeoutExpired:
        family = psutil.Process(run.pid).children(recursive=True)
        committed = {path: path.read_bytes() for path in parts(output)}
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    _, left = psutil.wait_procs(family, timeout=30)
    proof = verify(str(output))
    changed = [path for path, content in committed.items() if path.read_bytes() != content]
    print(
        f"kill {number + 1}: {moment:.1f} s after this start's first commit, {len(committed)} shards committed; verify "
        f"ok {proof['ok']} {proof['defects']}, changed shards {len(changed)}, processes left {len(left)}",
        flush=True,
    )
    if not proof["ok"] or changed or left:
        sys.exit(1)
    return True


def parts(output: Path) -> list[Path]:
    """Committed shards of the stages after the seeds."""
    return sorted(output.glob("stages/[1-9]*/part-*.parquet"))


def shards(output: Path) -> int:
    """How many shards are committed."""
    return len(parts(output))


def kept(output: Path) -> pa.Table:
    """The final rows by id, without what an attempt leaves in them."""
    table = pads.dataset(str(output / "data"), format="parquet").to_table().sort_by("id")
    provenance = table["provenance"].combine_chunks()
    fields = [field for field in provenance.type if field.name not in _OF_THE_ATTEMPT]
    same = pa.StructArray.from_arrays([provenance.field(field.name) for field in fields], fields=fields)
    return table.set_column(table.column_names.index("provenance"), "provenance", pa.chunked_array([same]))


def compare(disturbed: pa.Table, calm: pa.Table) -> bool:
    """Whether two runs kept the same rows; says in how many they differ."""
    ours, theirs = disturbed.to_pylist(), calm.to_pylist()
    differ = len({str(row) for row in ours} ^ {str(row) for row in theirs})
    print(f"rows kept: {len(ours)} after kills, {len(theirs)} undisturbed; rows that are not the same: {differ}")
    return differ == 0


if __name__ == "__main__":
    sys.exit(main())
