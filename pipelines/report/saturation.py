"""The saturation curve of a run towards a target: new rows of 1,000 made, round by round, with what was forecast."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any


def saturation_curve(rounds: Sequence[Mapping[str, Any]], least_new: float) -> bytes:
    """A PNG: over the rows that the run had after each round, its new rows of 1,000, the forecast and the limit.

    ``rounds`` are those of ``stats.json``; those that asked no model are left out.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = [one for one in rounds if one["new_per_1000"] is not None]
    figure, axes = pyplot.subplots(figsize=(7, 4), dpi=120)
    rows = [one["rows"] for one in shown]
    axes.plot(rows, [one["new_per_1000"] for one in shown], "o-", color="#1b6ca8", label="measured")
    told = [one for one in shown if one["forecast_per_1000"] is not None]
    axes.plot(
        [one["rows"] for one in told],
        [one["forecast_per_1000"] for one in told],
        "x",
        color="#d1495b",
        label="forecast before the round",
    )
    axes.axhline(least_new, color="#777777", linestyle=":", label=f"target.least_new={least_new:g}")
    axes.set_xlabel("rows of the result after the round")
    axes.set_ylabel("new rows of 1,000 items made")
    axes.set_ylim(0, 1050)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    out = io.BytesIO()
    figure.savefig(out, format="png")
    pyplot.close(figure)
    return out.getvalue()
