"""Runs go out and come in in TREC's six columns."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import UserError
from pipelines.retrieval.trec import read_run, run_lines

IDS = st.text(st.characters(codec="utf-8", categories=["L", "N", "P"]), min_size=1)


@given(st.dictionaries(IDS, st.dictionaries(IDS, st.integers(-1000, 1000), min_size=1), min_size=1))
def test_a_run_comes_back_as_it_went_out(run):
    ranked = {query: sorted(some.items(), key=lambda one: -one[1]) for query, some in run.items()}
    lines = [line for query, some in ranked.items() for line in run_lines(query, some, "tag")]
    found = read_run(lines, "a.trec")
    assert {query: [one for one, _ in some] for query, some in found.items()} == {
        query: [one for one, _ in some] for query, some in ranked.items()
    }
    for query, some in ranked.items():
        assert [score for _, score in found[query]] == pytest.approx([score for _, score in some], abs=1e-9)
        # No program that reads them has ties to break.
        assert len({score for _, score in found[query]}) == len(some)


def test_ids_with_white_space_stay_one_column():
    [line] = run_lines("q 1", [("a\tb", 0.5)], "bm25")
    assert line == "q_1 Q0 a_b 1 0.5 bm25\n"


def test_scores_that_are_nearly_the_same_stay_apart():
    ranked = [("a", 3e-7), ("b", 2e-7), ("c", 1e-12)]
    assert read_run(run_lines("q", ranked, "t"), "a.trec") == {"q": ranked}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("q Q0 d 1 high tag", "a run has six columns"),
        ("q Q0 d 1 0.5", "six columns"),
        ("q Q0 a 2 0.5 t", "twice"),
        ("q Q0 d 1 nan t", "the score a number"),
    ],
)
def test_what_is_no_run_is_named_by_its_line(line, said):
    with pytest.raises(UserError, match=f"a.trec, line 2: .*{said}"):
        read_run(["q Q0 a 1 0.5 t\n", line], "a.trec")
