"""Persona-to-Persona over many personas with the simulated engine: time, memory, bytes, and what a pilot says of it.

``scripts/bench hops --rows 100000 --hops 3``. The personas are those of ``bench dedup``: a fifth repeat another. Rows
of each hop, the size of the run directory, and the size that an index of what was kept has, by words and by meaning.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from bench import machine, measured
from bench_dedup import made


def main() -> None:
    """Run once and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--hops", type=int, default=3)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    asked = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as scratch:
        run = Path(scratch) / "run"
        recipe = ["recipe=persona_to_persona", f"recipe.hops={asked.hops}", "engine=simulated"]
        line = [*recipe, f"input={made(asked.rows)}", "text_column=text", "dedup.embedding.encoder=simulated"]
        line += asked.overrides
        command = [sys.executable, "-m", "pipelines.cli"]
        out, wall, peak = measured([*command, "run", *line, f"output={run}", "--json"])
        told = json.loads(out)
        stored = sum(path.stat().st_size for path in run.rglob("*") if path.is_file())
        planned, _, _ = measured([*command, "plan", *line, f"forecast.pilot={run}", "--json"])
    print(
        f"{asked.rows:,} personas, {asked.hops} hops: {told['rows_accepted']:,} rows, {wall:.0f} s, all processes "
        f"together at most {peak:.1f} GiB, {stored / 2**30:.2f} GiB written"
    )
    for one in json.loads(planned)["forecast"]["stages"]:
        if "index_gib" in one:
            index = f"index {one['index_gib'] * 1024:.0f} MiB"
            print(f"  {one['name']}: {one['rows']:,} rows in, {one['kept']:,} kept, {index}")


if __name__ == "__main__":
    main()
