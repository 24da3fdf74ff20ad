"""How alike two personas' problems are, by how alike the personas are (papers.md 1.8): figures and the plot of them.

A compared pair looks like ``{wording: "generic", level: 0.8, personas: 0.81, problems: 0.52}``: the cosine of the two
personas and of their two problems.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

#: Colours of the wordings, in the order in which they appear.
_COLOURS = ("#1b6ca8", "#d1495b", "#3d9a50", "#8a5a9e")


def figures(pairs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For each wording and level, in the order of the pairs: ``pairs``, cosines' means and quartiles, shares.

    ``below`` is the share of pairs whose problems are less alike than their personas; ``from_0.6_to_0.75`` the share of
    problems' cosines in that range, which the paper reports for personas at 0.9.
    """
    found = []
    for wording, level in dict.fromkeys((one["wording"], one["level"]) for one in pairs):
        mine = [one for one in pairs if (one["wording"], one["level"]) == (wording, level)]
        problems = np.array([one["problems"] for one in mine])
        personas = np.array([one["personas"] for one in mine])
        low, middle, high = np.quantile(problems, [0.25, 0.5, 0.75])
        found.append(
            {
                "wording": wording,
                "level": level,
                "pairs": len(mine),
                "personas": round(float(personas.mean()), 4),
                "problems": round(float(problems.mean()), 4),
                "quartiles": [round(float(one), 4) for one in (low, middle, high)],
                "below": round(float((problems < personas).mean()), 4),
                "from_0.6_to_0.75": round(float(((problems >= 0.6) & (problems <= 0.75)).mean()), 4),
            }
        )
    return found


def correlations(pairs: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Spearman's rank correlation of personas' and problems' cosines, by wording; None where one does not vary."""
    from scipy.stats import spearmanr

    found: dict[str, float | None] = {}
    for wording in dict.fromkeys(one["wording"] for one in pairs):
        mine = [one for one in pairs if one["wording"] == wording]
        columns = [[one[name] for one in mine] for name in ("personas", "problems")]
        varies = all(len(set(column)) > 1 for column in columns)
        found[wording] = round(float(spearmanr(*columns).statistic), 4) if varies else None
    return found


def drawn(pairs: Sequence[Mapping[str, Any]], models: Sequence[str]) -> bytes:
    """A PNG: the problems' cosines by level of the personas', a box a wording; dashes are equal likeness.

    The title names the ``models``.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    levels = sorted({one["level"] for one in pairs})
    wordings = list(dict.fromkeys(one["wording"] for one in pairs))
    figure, axes = pyplot.subplots(figsize=(7, 4.5), dpi=120)
    wide = 0.8 / len(wordings)
    for number, wording in enumerate(wordings):
        colour = _COLOURS[number % len(_COLOURS)]
        for place, level in enumerate(levels):
            values = [one["problems"] for one in pairs if (one["wording"], one["level"]) == (wording, level)]
            if values:
                at = place + (number - (len(wordings) - 1) / 2) * wide
                axes.boxplot(
                    [values],
                    positions=[at],
                    widths=[0.8 * wide],
                    patch_artist=True,
                    boxprops={"facecolor": colour, "alpha": 0.6, "edgecolor": colour},
                    medianprops={"color": "#222222"},
                    flierprops={"marker": ".", "markersize": 3, "markeredgecolor": colour},
                )
        axes.plot([], [], "s", color=colour, alpha=0.6, label=wording)
    for place, level in enumerate(levels):
        axes.plot([place - 0.45, place + 0.45], [level, level], "--", color="#777777", linewidth=1)
    axes.plot([], [], "--", color="#777777", linewidth=1, label="as alike as the personas")
    axes.set_xticks(range(len(levels)), [f"{level:g}" for level in levels])
    axes.set_title(f"problems by {', and by '.join(models)}", fontsize=10)
    axes.set_xlabel("cosine of the two personas")
    axes.set_ylabel("cosine of their problems")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    out = io.BytesIO()
    figure.savefig(out, format="png")
    pyplot.close(figure)
    return out.getvalue()
