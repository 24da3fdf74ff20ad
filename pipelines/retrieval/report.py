"""What a collection's rankings come to: a run a file, the mean figures of each arm, and how sure a difference is."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import RunStopped
from pipelines.retrieval.collection import Parts, judgements
from pipelines.retrieval.measures import MAIN, MEASURES
from pipelines.retrieval.negatives import refusals
from pipelines.retrieval.trec import qrels_lines, run_lines
from pipelines.retrieval.written import within, written
from pipelines.store.dataset import Dataset
from pipelines.store.files import Folder

Floats = NDArray[np.float64]


def tables(
    stages: Mapping[str, Dataset],
    place: Folder,
    *,
    collection: Parts,
    split: str,
    stage: str,
    query_column: str,
    arms: Mapping[str, str],
    notes: Mapping[str, str],
    over: Mapping[str, str],
    queries: Mapping[str, str] | None = None,
    negatives: str | None = None,
) -> dict[str, Any]:
    """Write ``runs/<arm>.trec`` for each arm, ``qrels/<split>.trec`` and ``measures.png``, and give the figures.

    Args:
        stages: the rows of each stage, by name.
        place: the run's directory.
        collection: where the judgements are.
        split: which of them rankings were measured by.
        stage: the one whose rows are queries with rankings and their figures.
        query_column: the column with the query's id.
        arms: what each arm is called, and the name its columns begin with; the first is what others are compared with.
            Those without columns, whose stages are switched off, are left out.
        over: arms by what they are called, each with another than the first that it is compared with.
        notes: sentences to stand below the table, each where the stage of its name was run.
        queries: where a model has written some, the names of stages whose rows these are, by what they are called.
        negatives: the stage whose rows have negatives, where there is one.

    Returns:
        ``arms``: by their names the means of ``MEASURES`` over all queries; ``within``: half a 95% interval of each
        arm's nDCG@10; ``compared``: for each other arm the mean ``difference`` in nDCG@10 to the first, and ``p`` of a
        paired t-test over queries (None with fewer than two, or where all are equal); ``over``: the same to the other
        ``arm`` that ``over`` names; ``queries``: how many were measured, and ``queries_judged``: how many the split
        judges; ``written``: what queries of a model are like (``retrieval.written``); ``refused``: documents that were
        drawn for no negative, by reason; ``notes``; ``files``: what was written, by folder.

    Raises:
        RunStopped: no query was measured.
    """
    arms = {called: arm for called, arm in arms.items() if f"{arm}_docs" in stages[stage].schema.names}
    names = [f"{arm}_{part}" for arm in arms.values() for part in ("docs", "scores", "measures")]
    measured: list[str] = []
    lines: dict[str, list[str]] = {arm: [] for arm in arms.values()}
    figures: dict[str, dict[str, list[float]]] = {arm: {name: [] for name in MEASURES} for arm in arms.values()}
    for table in stages[stage].batches(list(dict.fromkeys([query_column, *names]))):
        for row in table.to_pylist():
            measured.append(row[query_column])
            for arm in arms.values():
                ranked = list(zip(row[f"{arm}_docs"], row[f"{arm}_scores"], strict=True))
                lines[arm] += run_lines(row[query_column], ranked, arm)
                for name, value in row[f"{arm}_measures"].items():
                    figures[arm][name].append(value)
    for arm, some in lines.items():
        place.sub("runs").replace(f"{arm}.trec", "".join(some).encode())
    judged = judgements(collection, split)
    if not measured:
        raise RunStopped(
            f"recipe.split={split}: it judges {len(judged):,} queries, and not one of them was measured; raise limit, "
            "or look at their texts"
        )
    own = {query: judged[query] for query in measured}
    place.sub("qrels").replace(f"{split}.trec", "".join(qrels_lines(own)).encode())
    by_query = {called: np.array(figures[arm][MAIN]) for called, arm in arms.items()}
    place.replace("measures.png", _drawn(by_query))
    first = next(iter(by_query))
    means = {
        called: {name: round(float(np.mean(values)), 6) for name, values in figures[arm].items()}
        for called, arm in arms.items()
    }
    return {
        "arms": means,
        "within": {called: within(values) for called, values in by_query.items()},
        "written": {called: written(stages[name]) for called, name in (queries or {}).items() if name in stages},
        "refused": refusals(stages[negatives]) if negatives is not None and negatives in stages else {},
        "compared": {called: _against(by_query[first], by_query[called]) for called in list(by_query)[1:]},
        "over": {
            called: {"arm": other, **_against(by_query[other], by_query[called])}
            for called, other in over.items()
            if {called, other} <= by_query.keys()
        },
        "queries": len(measured),
        "queries_judged": len(judged),
        "notes": [text for name, text in notes.items() if name in stages],
        "files": {"runs": sorted(f"{arm}.trec" for arm in lines), "qrels": [f"{split}.trec"]},
    }


def _against(first: Floats, other: Floats) -> dict[str, Any]:
    from scipy.stats import ttest_rel

    difference = other - first
    sure = len(difference) > 1 and bool(np.ptp(difference))
    return {
        "difference": round(float(difference.mean()), 6),
        "p": float(ttest_rel(other, first).pvalue) if sure else None,
    }


def _drawn(by_query: Mapping[str, Floats]) -> bytes:
    """Bars of the mean nDCG@10 of each arm with a 95% interval, as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.5 + 1.5 * len(by_query), 4), layout="constrained")
    axes = figure.subplots()
    means = [float(values.mean()) for values in by_query.values()]
    errors = [within(values) or 0.0 for values in by_query.values()]
    bars = axes.bar(list(by_query), means, yerr=errors, capsize=4, width=0.6, color="#4c72b0")
    axes.bar_label(bars, labels=[f"{mean:.3f}" for mean in means], label_type="center", color="white")
    axes.set_ylabel(f"{MAIN}, mean over {len(next(iter(by_query.values())))} queries (bars: 95%)")
    axes.set_ylim(0, min(1.0, max(0.1, *(mean + error for mean, error in zip(means, errors, strict=True))) * 1.1))
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    out = BytesIO()
    figure.savefig(out, format="png", dpi=120)
    return out.getvalue()
