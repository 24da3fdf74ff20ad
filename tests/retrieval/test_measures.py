"""Figures are trec_eval's; a query without a hit counts."""

from math import log2

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.retrieval.collection import locate
from pipelines.retrieval.measures import measured, measures_of, not_judged

JUDGED = {"q": {"a": 2, "b": 1, "c": 0}}


def test_figures_of_a_ranking():
    found = measures_of({"q": [("x", 3.0), ("a", 2.0), ("c", 1.0)]}, JUDGED)["q"]
    assert found["nDCG@10"] == pytest.approx((2 / log2(3)) / (2 / log2(2) + 1 / log2(3)))
    assert found["MRR@10"] == pytest.approx(1 / 2)
    assert found["MAP"] == pytest.approx(1 / 4)
    assert found["recall@100"] == pytest.approx(1 / 2)
    assert found["judged@10"] == pytest.approx(2 / 3)


def test_a_query_without_a_hit_counts_as_nothing_found():
    found = measures_of({}, JUDGED | {"other": {"a": 1}})
    assert set(found) == {"q", "other"}
    assert all(value == 0.0 for figures in found.values() for value in figures.values())


def test_places_count_where_scores_are_equal():
    for order in ("ax", "xa"):
        found = measures_of({"q": [(doc, 1.0) for doc in order]}, {"q": {"a": 1}})["q"]
        assert found["MRR@10"] == 1 / (1 + order.index("a"))
        assert found["nDCG@10"] == pytest.approx(1 / log2(2 + order.index("a")))


def test_rows_have_their_figures_beside_them(place):
    rows = {"query": ["q2", "q1"], "bm25_docs": [["d2"], []], "bm25_scores": [[1.0], []]}
    knobs = {"collection": locate(str(place)), "split": "test", "query_column": "query", "arms": {"BM25": "bm25"}}
    found = measured(pa.table(rows), **knobs)["bm25_measures"].to_pylist()
    assert [one["nDCG@10"] for one in found] == [1.0, 0.0]
    assert measured(pa.table(rows).slice(0, 0), **knobs).num_rows == 0


def test_queries_of_other_splits_are_not_judged(place):
    rows = pa.table({"id": ["q1", "q3", "q2"]})
    assert not_judged(rows, collection=locate(str(place)), split="test").to_pylist() == [False, True, False]
    assert not_judged(rows, collection=locate(str(place)), split="train").to_pylist() == [True, True, False]


def test_examples_of_the_measured_split_count_as_not_found(place):
    """papers.md 3.1: a prompt has shown that the document answers the query."""
    rows = pa.table({"query": ["q2"], "bm25_docs": [["d2", "d1"]], "bm25_scores": [[2.0, 1.0]]})
    knobs = {"collection": locate(str(place)), "split": "test", "query_column": "query", "arms": {"BM25": "bm25"}}
    shown = {"examples": 8, "examples_split": "test", "seed": 0}
    [fair] = measured(rows, **knobs, **shown).to_pylist()
    assert fair["bm25_measures"]["nDCG@10"] == fair["bm25_measures"]["recall@100"] == 0.0
    # What is written as a run gives the same figures.
    assert (fair["bm25_docs"], fair["bm25_scores"]) == (["d1"], [1.0])


def test_examples_of_another_split_are_measured_as_they_stand(place):
    judged = {"query_id": ["q2", "q1"], "doc_id": ["d2", "d1"], "score": [1, 1], "split": ["test", "train"]}
    pq.write_table(pa.table(judged), place / "qrels.parquet")
    rows = pa.table({"query": ["q2"], "bm25_docs": [["d2", "d1"]], "bm25_scores": [[2.0, 1.0]]})
    knobs = {"collection": locate(str(place)), "split": "test", "query_column": "query", "arms": {"BM25": "bm25"}}
    [row] = measured(rows, **knobs, examples=8, examples_split="train", seed=0).to_pylist()
    assert row["bm25_measures"]["nDCG@10"] == 1.0 and row["bm25_docs"] == ["d2", "d1"]
