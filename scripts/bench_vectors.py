"""The search part of embedding dedup against its peers, on the same vectors, one after another on this machine.

``scripts/bench vectors --rows 1000000``. Up to 100,000 rows (real personas, and generated ones made of them) are
encoded with the packaged encoder, once; the rest lie between near neighbours of those, so that density and duplicates
are those of real data. Peers build an index and ask it for each row's neighbours. Recall is against brute force.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from bench import DATA
from numpy.typing import NDArray

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "nightmill" / "bench"
ENCODER = "packaged:all-minilm-l6-v2"
SEED = 20261124
#: Rows whose neighbours are all looked up, for recall.
SAMPLED = 1000
Floats = NDArray[np.float32]


def encoded(count: int) -> Floats:
    """Vectors of ``count`` rows: real personas first, then pairs of halves of them."""
    path = CACHE / f"encoded-{count}-{SEED}.npy"
    if not path.exists():
        from pipelines.dedup.vectors.encoder import load

        print(f"encoding {count:,} rows, once ...", file=sys.stderr)
        real = [text for text in pq.read_table(DATA / "personas.parquet")["persona"].to_pylist() if text]
        rng = np.random.default_rng(SEED)
        texts = real[:count]
        while len(texts) < count:
            x, y = (real[i].split() for i in rng.integers(0, len(real), 2))
            texts.append(" ".join([*x[: len(x) // 2], *y[len(y) // 2 :]]))
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, load(ENCODER, 64)(texts))
    made: Floats = np.load(path)
    return made


def vectors(count: int, base: int) -> Floats:
    """``count`` vectors: encoded ones, and others between each and one of its nearest."""
    path = CACHE / f"vectors-{count}-{base}-{SEED}.npy"
    if not path.exists():
        known = encoded(min(count, base))
        near = np.empty((len(known), 8), np.int64)
        for start in range(0, len(known), 2048):
            close = known[start : start + 2048] @ known.T
            near[start : start + 2048] = np.argpartition(-close, 8, axis=1)[:, 1:9]
        rng = np.random.default_rng(SEED)
        made = np.empty((count, known.shape[1]), np.float32)
        made[: len(known)] = known
        for start in range(len(known), count, 65_536):
            size = min(65_536, count - start)
            x = rng.integers(0, len(known), size)
            y = near[x, rng.integers(0, 8, size)]
            share = rng.random((size, 1), np.float32)
            made[start : start + size] = share * known[x] + (1 - share) * known[y]
        made /= np.linalg.norm(made, axis=1, keepdims=True)
        np.save(path, made[rng.permutation(count)])
    found: Floats = np.load(path)
    return found


def truth(every: Floats, threshold: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All pairs of a sampled row and an earlier one above the threshold, by brute force."""
    sample = np.sort(np.random.default_rng(1).choice(len(every), min(SAMPLED, len(every)), replace=False))
    xs, ys = [], []
    for start in range(0, len(every), 8192):
        x, y = np.nonzero(every[sample] @ every[start : start + 8192].T > threshold)
        xs.append(sample[x])
        ys.append(y + start)
    x, y = np.concatenate(xs), np.concatenate(ys)
    return x[y < x], y[y < x]


FAISS = """
import sys, time, numpy as np, faiss
every, threshold = np.load(sys.argv[1]), float(sys.argv[3])
begun = time.perf_counter()
index = faiss.IndexHNSWFlat(every.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
index.hnsw.efConstruction, index.hnsw.efSearch = 40, int(sys.argv[4])
index.add(every)
near, rows = index.search(every, 16)
print(time.perf_counter() - begun)
np.savez(sys.argv[2], near=near, rows=rows)
"""

USEARCH = """
import sys, time, numpy as np
from usearch.index import Index
every, threshold = np.load(sys.argv[1]), float(sys.argv[3])
begun = time.perf_counter()
index = Index(ndim=every.shape[1], metric="cos", dtype="f32", expansion_search=int(sys.argv[4]))
index.add(np.arange(len(every)), every)
found = index.search(every, 16)
print(time.perf_counter() - begun)
np.savez(sys.argv[2], near=1 - found.distances, rows=found.keys.astype(np.int64))
"""


def peer(python: str, script: str, path: Path, threshold: float, effort: int) -> tuple[float, float]:
    """Seconds that a peer takes to index and to ask for every row, and its recall of close earlier rows."""
    every = np.load(path, mmap_mode="r")
    with tempfile.TemporaryDirectory() as scratch:
        command = [python, "-c", script, str(path), f"{scratch}/found.npz", str(threshold), str(effort)]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found = np.load(f"{scratch}/found.npz")
        near, rows = found["near"], found["rows"]
    x, y = truth(np.asarray(every), threshold)
    # A row is found to be a duplicate when any earlier row above the threshold is among its neighbours.
    hit = ((rows < np.arange(len(rows))[:, None]) & (rows >= 0) & (near > threshold)).any(axis=1)
    doubles = np.unique(x)
    return float(out.split()[-1]), float(hit[doubles].mean()) if len(doubles) else 1.0


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--base", type=int, default=100_000, help="rows that are really encoded")
    parser.add_argument("--threshold", type=float, default=0.9)
    parser.add_argument("--effort", type=int, default=64, help="efSearch of faiss, expansion of usearch")
    parser.add_argument("--without", nargs="*", default=[], choices=("faiss", "usearch"))
    asked = parser.parse_args()
    from pipelines.dedup.vectors.search import greedy

    every = vectors(asked.rows, asked.base)
    path = CACHE / f"vectors-{asked.rows}-{asked.base}-{SEED}.npy"
    begun = time.perf_counter()
    found = greedy(every, asked.threshold)
    ours = time.perf_counter() - begun
    x, y = truth(every, asked.threshold)
    gone = np.zeros(len(every), bool)
    gone[found.rows] = True
    missed = (~gone[x] & ~gone[y]).mean() if len(x) else 0.0
    print(
        f"nightmill, {asked.rows:,} x {every.shape[1]}, cosine {asked.threshold}: {ours:.1f} s, {len(found.rows):,} go"
    )
    print(f"  recall {1 - missed:.5f} of {len(x):,} close pairs; it says {found.stats}")
    if "faiss" not in asked.without:
        seconds, share = peer(sys.executable, FAISS, path, asked.threshold, asked.effort)
        print(f"faiss HNSW (M 32, efConstruction 40, efSearch {asked.effort}): {seconds:.1f} s, recall {share:.5f}")
        print(f"  nightmill / faiss {ours / seconds:.2f}")
    if "usearch" not in asked.without:
        from bench_dedup import peers

        seconds, share = peer(peers(), USEARCH, path, asked.threshold, asked.effort)
        print(f"usearch (expansion {asked.effort}): {seconds:.1f} s, recall {share:.5f}; {ours / seconds:.2f}")


if __name__ == "__main__":
    main()
