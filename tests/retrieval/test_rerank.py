"""A reranker orders the head of a ranking; what is below stays below. Its weight is chosen on other queries."""

import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.retrieval import rerank
from pipelines.retrieval.collection import locate
from pipelines.retrieval.lexical import Hits, build
from pipelines.retrieval.rerank import mix, mixed, reordered, tune

SCORES = st.lists(st.sampled_from([-2.0, 0.0, 0.5, 3.0]), max_size=6)


@given(SCORES, st.integers(0, 5))
def test_the_head_is_in_its_new_order_and_the_rest_below_it(scores, below):
    ids = [f"d{number}" for number in range(len(scores) + below)]
    hits = reordered(ids, scores)
    assert sorted(hits.ids) == sorted(ids) and hits.ids[len(scores) :] == ids[len(scores) :]
    assert sorted(hits.scores, reverse=True) == hits.scores
    assert hits.scores[: len(scores)] == sorted(scores, reverse=True)
    # Equal ones keep the order they had.
    same = [one for one, score in zip(hits.ids, hits.scores, strict=True) if scores and score == max(scores)]
    assert same == [ids[place] for place, score in enumerate(scores) if score == max(scores, default=None)]


FIRST = Hits(["a", "b", "c", "d"], [4.0, 3.0, 2.0, 1.0])
SECOND = Hits(["c", "b", "a", "d"], [0.9, 0.5, 0.1, -1.0])


def test_a_weight_of_none_and_of_one_are_the_two_rankings():
    assert mixed(FIRST, SECOND, 3, 0.0).ids == ["a", "b", "c", "d"]
    assert mixed(FIRST, SECOND, 3, 1.0).ids == ["c", "b", "a", "d"]
    assert mixed(FIRST, SECOND, 3, 0.5).scores[:3] == pytest.approx([0.5, 0.5, 0.5])


class Rows:
    """Queries with two rankings."""

    def __init__(self, table):
        self.table = table

    def batches(self, columns=None):
        yield self.table


def queries(*ids):
    columns = {"query_id": list(ids)}
    for name, hits in (("bm25", FIRST), ("reranked", SECOND)):
        columns |= {f"{name}_docs": [hits.ids] * len(ids), f"{name}_scores": [hits.scores] * len(ids)}
    return pa.table(columns)


@pytest.mark.parametrize(("answer", "above", "below"), [("c", 0.5, 1.0), ("a", 0.0, 0.5)])
def test_the_weight_is_that_of_the_best_ranking(answer, above, below, tmp_path, monkeypatch):
    monkeypatch.setattr(rerank, "judgements", lambda *_: {"q": {answer: 1}})
    how = {"of": "bm25", "reranked": "reranked", "depth": 3}
    told = tune(str(tmp_path), Rows(queries("q")), collection={}, split="train", **how)
    assert above <= told["weight"] <= below and told["nDCG@10"] == 1.0 and told["queries"] == 1
    assert json.loads((tmp_path / "weight.json").read_text()) == told["weight"]
    found = mix(queries("q", "r"), arm="mixed", weight=str(tmp_path), **how)
    assert [docs[0] for docs in found["mixed_docs"].to_pylist()] == [answer] * 2
    assert mix(queries(), arm="mixed", **how).num_rows == 0


def test_the_head_is_read_by_the_reranker_with_its_texts(place, tmp_path, monkeypatch):
    build(str(tmp_path), None, collection=locate(str(place)), k1=0.9, b=0.4, stemmer="porter", stopwords=True)
    asked = []

    def score(model, pairs, **how):
        asked.extend(pairs)
        return [float("Barometers" in text) for _, text in pairs]

    monkeypatch.setattr(rerank, "score", score)
    rows = pa.table({"text": ["air", "x"], "bm25_docs": [["d1", "d2", "d5"], []], "bm25_scores": [[3.0, 2.0, 1.0], []]})
    how = {"base": "none", "batch_size": 2, "pair_tokens": 32, "device": None, "lexicon": str(tmp_path)}
    found = rerank.rerank(rows, text_column="text", of="bm25", arm="new", depth=2, **how)
    assert found["new_docs"].to_pylist() == [["d2", "d1", "d5"], []]
    assert [query for query, _ in asked] == ["air", "air"]
