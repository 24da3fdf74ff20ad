"""What MinHash and embeddings find on labelled real pairs: precision and recall over thresholds, as a picture.

``scripts/bench quality`` writes docs/dedup_quality.png. Cora: all pairs of 1,879 citations, 182 gold clusters. MSR:
5,801 pairs of sentences, paraphrase or not. Plagiarised answers: pairs of an answer and the original of its task,
copied (cut, light, heavy) or not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from bench import DATA
from numpy.typing import NDArray

from pipelines.dedup.lsh.sets import jaccard
from pipelines.dedup.lsh.shingles import STEPS, Shingling
from pipelines.dedup.vectors.encoder import load

matplotlib.use("Agg")
PAIRS = DATA / "dups"
OUT = Path("docs/dedup_quality.png")
THRESHOLDS = np.linspace(0.05, 1.0, 96)
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


def cora() -> tuple[list[str], Any, Any, Bools]:
    """Texts, the pairs of their positions, and which pairs are gold."""
    table = pq.read_table(PAIRS / "cora_records.parquet")
    cluster = np.array(table["cluster_id"].to_pylist())
    x, y = np.triu_indices(len(cluster), 1)
    return table["text"].to_pylist(), x, y, cluster[x] == cluster[y]


def msr() -> tuple[list[str], Any, Any, Bools]:
    """As ``cora``, of sentence pairs."""
    table = pq.read_table(PAIRS / "msrp_pairs.parquet")
    texts = table["text1"].to_pylist() + table["text2"].to_pylist()
    count = len(table)
    return texts, np.arange(count), np.arange(count, 2 * count), np.array(table["label"].to_pylist()) == 1


def answers() -> tuple[list[str], Any, Any, Bools]:
    """As ``cora``, of answers and the original of their task."""
    rows = pq.read_table(PAIRS / "plagiarism_short_answers.parquet").to_pylist()
    original = {row["task"]: place for place, row in enumerate(rows) if row["category"] == "orig"}
    pairs = [
        (place, original[row["task"]], row["category"]) for place, row in enumerate(rows) if row["category"] != "orig"
    ]
    x, y, kind = zip(*pairs, strict=True)
    return [row["text"] for row in rows], np.array(x), np.array(y), np.array(kind) != "non"


def similarities(texts: list[str], x: Any, y: Any) -> tuple[Floats, Floats]:
    """Exact Jaccard of normalised words, and cosine of the packaged encoder, of every pair."""
    sets = Shingling(normalise=STEPS).sets(pa.array(texts))
    vectors = load("packaged:all-minilm-l6-v2", 64)(texts)
    cosines = np.concatenate(
        [
            np.einsum("ij,ij->i", vectors[x[s : s + 65_536]], vectors[y[s : s + 65_536]])
            for s in range(0, len(x), 65_536)
        ]
    )
    return jaccard(*sets, x, y), cosines.astype(np.float64)


def curve(likeness: list[Floats], gold: Bools) -> tuple[Floats, Floats]:
    """Precision and recall at every threshold; a pair is found when any of its likenesses reaches it."""
    best = np.maximum.reduce(likeness)
    found = [best >= threshold for threshold in THRESHOLDS]
    precision = np.array([gold[one].mean() if one.any() else np.nan for one in found])
    return precision, np.array([one[gold].mean() for one in found])


def main() -> None:
    """Draw the curves and print what holds at 0.9."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(13, 4.2), sharey=True)
    for axis, (name, make) in zip(
        axes, {"Cora citations": cora, "MSR paraphrases": msr, "Plagiarised answers": answers}.items(), strict=True
    ):
        texts, x, y, gold = make()
        by_words, by_meaning = similarities(texts, x, y)
        for label, likeness in (("MinHash", [by_words]), ("embedding", [by_meaning]), ("both", [by_words, by_meaning])):
            precision, recall = curve(likeness, gold)
            axis.plot(recall, precision, label=label, linestyle="--" if label == "both" else "-")
            at = int(np.argmin(np.abs(THRESHOLDS - 0.9)))
            axis.plot(recall[at], precision[at], "o", color=axis.lines[-1].get_color())
            share = f"precision {precision[at]:.3f}, recall {recall[at]:.3f}"
            print(f"{name}, {label} at 0.9: {share}; {gold.sum():,} of {len(gold):,} pairs are gold")
        axis.set(title=name, xlabel="recall", xlim=(0, 1.02), ylim=(0, 1.02))
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("precision")
    axes[0].legend(title="dot: threshold 0.9", loc="lower left")
    figure.tight_layout()
    figure.savefig(OUT, dpi=120)
    print(f"wrote {OUT}")


if __name__ == "__main__":
    main()
