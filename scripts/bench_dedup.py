"""MinHash dedup against its peers: the same Parquet file in, Parquet out, one after another on this machine.

``scripts/bench dedup --rows 1000000``. Rows are made of real personas (``NIGHTMILL_TEST_DATA``) with planted
near-duplicates; the same rows every time. Peers are installed in an environment of their own under the cache. Recall is
measured against all pairs of a slice, by brute force. Walls are of whole commands, from start to end.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.parquet as pq
from bench import DATA, machine, measured

from pipelines.dedup.lsh.sets import jaccard, similar
from pipelines.dedup.lsh.shingles import ShingleSets, Shingling
from pipelines.kernels import kernel

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "nightmill" / "bench"
PEERS = ("usearch", "rensa==0.5.0", "datatrove[processing]==0.10.0", "spacy", "pyarrow", "numpy")
#: Rows made at once; planted duplicates repeat rows of the same chunk.
CHUNK = 50_000
#: Rows of the slice whose pairs are all compared.
SLICE = 50_000
#: Rows of the index of earlier nights, and of tonight.
NIGHTS = (5_000_000, 100_000)
SEED = 20261124


def rows(count: int, seed: int = SEED) -> Iterator[pa.Table]:
    """``id`` and ``text``: about 28 words of two personas; a fifth of the rows repeat another.

    Up to 5 of their words are changed: a row of m different words with k changed has a Jaccard similarity of
    (m - k) / (m + k) with its original.
    """
    personas = [text.split() for text in pq.read_table(DATA / "personas.parquet")["persona"].to_pylist() if text]
    personas = [words for words in personas if len(words) >= 8]
    vocabulary = sorted({word for words in personas for word in words} | {"and"})
    number = {word: i for i, word in enumerate(vocabulary)}
    coded = [np.array([number[word] for word in words], np.int32) for words in personas]
    joint = np.array([number["and"]], np.int32)
    dictionary = pa.array(vocabulary)
    rng = np.random.default_rng(seed)
    for start in range(0, count, CHUNK):
        size = min(CHUNK, count - start)
        pairs = rng.integers(0, len(coded), (size, 2))
        made = [np.concatenate([coded[x], joint, coded[y]]) for x, y in pairs]
        for row in made:  # so that two rows of the same personas are no duplicates by chance
            row[rng.integers(0, len(row), 4)] = rng.integers(0, len(vocabulary), 4)
        for row in np.flatnonzero(rng.random(size) < 0.2):
            copy = made[rng.integers(0, max(1, row))].copy()
            changed = rng.choice(len(copy), int(rng.integers(0, 6)), replace=False)
            copy[changed] = rng.integers(0, len(vocabulary), len(changed))
            made[row] = copy
        offsets = np.cumsum([0, *map(len, made)])
        words = dictionary.take(pa.array(np.concatenate(made)))
        texts = pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), words), " ")
        yield pa.table({"id": [f"{seed}-{i:09d}" for i in range(start, start + size)], "text": texts})


def made(count: int, seed: int = SEED) -> Path:
    """The file of ``count`` rows, made once."""
    path = CACHE / f"dedup-{count}-{seed}.parquet"
    if not path.exists():
        print(f"making {count:,} rows ...", file=sys.stderr)
        path.parent.mkdir(parents=True, exist_ok=True)
        writer = None
        unfinished = path.with_suffix(".tmp")
        for table in rows(count, seed):
            writer = writer or pq.ParquetWriter(unfinished, table.schema, compression="zstd")
            writer.write_table(table)
        assert writer is not None
        writer.close()
        unfinished.rename(path)
    return path


@dataclass(frozen=True)
class Ours:
    """A run of ``recipe=dedup``: wall seconds, peak GiB, ``removed/``, rows of ``data/``, what was counted."""

    wall: float
    peak: float
    removed: pa.Table
    kept: int
    stats: dict[str, Any]


def ours(path: Path, *more: str) -> Ours:
    """One run, from the command's start to its end."""
    with tempfile.TemporaryDirectory() as scratch:
        overrides = [f"input={path}", "text_column=text", "id_column=id", f"output={scratch}/run"]
        command = [sys.executable, "-m", "pipelines.cli", "run", "recipe=dedup", *overrides, *more, "--json"]
        _, wall, peak = measured([*command, "dedup.embedding.enabled=false"])
        removed = pads.dataset(f"{scratch}/run/removed", format="parquet").to_table()
        kept = pads.dataset(f"{scratch}/run/data", format="parquet").count_rows()
        stats = json.loads(Path(f"{scratch}/run/stats.json").read_text())["stages"]["minhash"]["measured"]
    return Ours(wall, peak, removed, kept, stats)


def recall(path: Path) -> tuple[float, int, float]:
    """Share of all pairs with J >= 0.9 in a slice that a run puts into one cluster; how many there are; precision."""
    table = next(pq.ParquetFile(path).iter_batches(SLICE))
    sets = Shingling().sets(table["text"])
    pairs = _all_pairs(sets)
    with tempfile.TemporaryDirectory() as scratch:
        pq.write_table(pa.Table.from_batches([table]), f"{scratch}/slice.parquet")
        removed = ours(Path(scratch) / "slice.parquet").removed
    names = table["id"].to_pylist()
    keeper = {name: name for name in names}
    keeper.update(zip(removed["id"].to_pylist(), removed["keeper_id"].to_pylist(), strict=True))
    together = sum(keeper[names[x]] == keeper[names[y]] for x, y in pairs)
    place = {name: i for i, name in enumerate(names)}
    xs = np.array([place[i] for i in removed["id"].to_pylist()])
    ys = np.array([place[i] for i in removed["via_id"].to_pylist()])
    return together / max(1, len(pairs)), len(pairs), float((jaccard(*sets, xs, ys) >= 0.9).mean())


def _all_pairs(sets: ShingleSets) -> list[tuple[int, int]]:
    """All pairs with J >= 0.9, each compared."""
    found, out = [], np.empty(len(sets.starts), np.int64)
    for x in range(len(sets.starts)):
        found += [(x, int(y)) for y in out[: _like(*sets, x, out)]]
    return found


@kernel
def _like(hashes: Any, starts: Any, sizes: Any, x: int, out: Any) -> int:
    """Write the rows after ``x`` that are like it; returns how many there are."""
    count = 0
    for y in range(x + 1, len(starts)):
        if similar(hashes, starts, sizes, x, y, 0.9) >= 0:
            out[count] = y
            count += 1
    return count


RENSA = """
import sys, rensa, pyarrow as pa, pyarrow.parquet as pq
table = pq.read_table(sys.argv[1])
matrix = rensa.RMinHash.digest_matrix_from_token_sets([text.split() for text in table["text"].to_pylist()], 128, 1)
lsh = rensa.RMinHashLSH(threshold=0.9, num_perm=128, num_bands=int(sys.argv[3]))
flags = lsh.query_duplicate_flags_matrix_one_shot(matrix)
pq.write_table(table.filter(pa.array([not flag for flag in flags])), sys.argv[2])
"""

DATATROVE = """
import sys
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.readers import ParquetReader
from datatrove.pipeline.writers import ParquetWriter
from datatrove.utils.hashing import HashConfig
if __name__ == "__main__":
    source, out, scratch = sys.argv[1:4]
    config = MinhashConfig(hash_config=HashConfig(precision=64), n_grams=1, num_buckets=16, hashes_per_bucket=8)
    reader = lambda: ParquetReader(source)
    steps = [
        ([reader(), MinhashDedupSignature(output_folder=scratch + "/s", config=config, language="eng")], 2),
        ([MinhashDedupBuckets(input_folder=scratch + "/s", output_folder=scratch + "/b", config=config)], 16),
        ([MinhashDedupCluster(input_folder=scratch + "/b", output_folder=scratch + "/r", config=config)], 1),
        ([reader(), MinhashDedupFilter(input_folder=scratch + "/r"), ParquetWriter(out)], 2),
    ]
    for number, (pipeline, tasks) in enumerate(steps):
        LocalPipelineExecutor(pipeline, tasks=tasks, workers=2, logging_dir=f"{scratch}/log{number}").run()
"""


def peers() -> str:
    """The interpreter of the peers' environment, made once."""
    place = CACHE / "peers"
    python = place / "bin" / "python"
    if not (place / ".ready").exists():
        print("installing the peers ...", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(place)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PEERS], check=True)
        (place / ".ready").touch()
    return str(python)


def nights(old: int, new: int) -> tuple[float, float, dict[str, Any]]:
    """Wall seconds of ``new`` rows alone and against an index of ``old``; what the second counted of the index.

    A tenth of the new rows are old ones.
    """
    with tempfile.TemporaryDirectory() as scratch:
        against = f"dedup.against={scratch}/index"
        ours(made(old), against)
        tonight = pq.read_table(made(new, SEED + 1))
        copied = next(pq.ParquetFile(made(old)).iter_batches(new // 10, columns=["text"]))["text"]
        texts = pa.concat_arrays([copied, tonight["text"].combine_chunks().slice(len(copied))])
        path = Path(scratch) / "tonight.parquet"
        pq.write_table(pa.table({"id": tonight["id"], "text": texts}), path, compression="zstd")
        alone = min(ours(path).wall for _ in range(2))
        second = ours(path, against)
    return alone, second.wall, second.stats["against"]


def main() -> None:
    """Print the table, a line as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--without", nargs="*", default=[], choices=("rensa", "datatrove", "recall", "night"))
    asked = parser.parse_args()
    path = made(asked.rows)
    ours(made(1000))  # kernels are compiled once a machine
    print(f"{machine()}\n\n| {asked.rows:,} rows | measured | target |\n|---|---|---|", flush=True)

    def line(what: str, measured: str, target: str = "") -> None:
        print(f"| {what} | {measured} | {target} |", flush=True)

    if "recall" not in asked.without:
        share, pairs, precision = recall(path)
        line(f"recall of the {pairs:,} pairs with J >= 0.9 among {SLICE:,} rows", f"{share:.5f}", ">= 0.999")
        line("precision over verified edges", f"{precision:.5f}", "1.0")
    mine = ours(path)
    line(
        "nightmill, file to file, no Ray started",
        f"{mine.wall:.1f} s, peak {mine.peak:.1f} GiB; {mine.kept:,} rows kept, {len(mine.removed):,} removed",
        "<= 8 GiB",
    )
    with tempfile.TemporaryDirectory() as scratch:
        if "rensa" not in asked.without:
            for bands in (8, 16):
                _, theirs, memory = measured([peers(), "-c", RENSA, str(path), f"{scratch}/out.parquet", str(bands)])
                line(f"rensa 0.5, {bands} bands", f"{theirs:.1f} s, peak {memory:.1f} GiB")
                line("nightmill / rensa", f"{mine.wall / theirs:.2f}", "<= 0.33")
        if "datatrove" not in asked.without:
            script = Path(scratch) / "peer.py"
            script.write_text(DATATROVE)
            source = Path(scratch) / "in"
            source.mkdir()
            (source / "rows.parquet").symlink_to(path.resolve())
            _, theirs, memory = measured([peers(), str(script), str(source), f"{scratch}/out", f"{scratch}/work"])
            line("datatrove 0.10, 2 workers", f"{theirs:.1f} s, peak {memory:.1f} GiB")
            line("nightmill / datatrove", f"{mine.wall / theirs:.4f}", "<= 0.01")
    if "night" not in asked.without:
        alone, second, index = nights(*NIGHTS)
        old, new = NIGHTS
        line(f"{new:,} rows alone", f"{alone:.1f} s")
        line(
            f"{new:,} rows against an index of {index['rows']:,}, {index['removed']:,} of them repeats of it",
            f"{second:.1f} s, {second / alone:.2f} of it; {index['bytes_read'] / 2**20:,.0f} MiB of the index read",
            "<= 2",
        )


if __name__ == "__main__":
    main()
