"""The figures of the study: what they say of planted pairs, and that the plot is drawn."""

import numpy as np

from pipelines.report.similarity import correlations, drawn, figures


def pairs(wording, slope, floor):
    """Problems whose likeness follows the personas'."""
    rng = np.random.default_rng(1)
    return [
        {"wording": wording, "level": level, "personas": level, "problems": floor + slope * level + rng.normal(0, 0.01)}
        for level in (0.4, 0.6, 0.8)
        for _ in range(50)
    ]


PLANTED = pairs("generic", 0.5, 0.1) + pairs("constrained", 0.5, 0.25)


def test_likeness_that_follows_is_seen_level_by_level():
    found = figures(PLANTED)
    by = {(one["wording"], one["level"]): one for one in found}
    assert [one["pairs"] for one in found] == [50] * 6
    for wording in ("generic", "constrained"):
        assert by[wording, 0.4]["problems"] < by[wording, 0.6]["problems"] < by[wording, 0.8]["problems"]
        assert by[wording, 0.8]["below"] == 1.0
    assert by["constrained", 0.6]["problems"] > by["generic", 0.6]["problems"]
    low, middle, high = by["generic", 0.4]["quartiles"]
    assert low < middle < high
    assert by["constrained", 0.8]["from_0.6_to_0.75"] > 0.9 > by["generic", 0.4]["from_0.6_to_0.75"]


def test_a_rank_correlation_and_none_where_nothing_varies():
    found = correlations(PLANTED + [{"wording": "flat", "level": 0.4, "personas": 0.4, "problems": 0.1}] * 3)
    assert found["generic"] > 0.9 and found["flat"] is None


def test_it_is_drawn():
    assert drawn(PLANTED, ["smollm2_135m"]).startswith(b"\x89PNG")
