"""Negatives are drawn by lot from a window of a ranking; never the own document, never one that comes too near."""

from pathlib import Path

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipelines.retrieval.collection import locate
from pipelines.retrieval.dense import encode
from pipelines.retrieval.lexical import Hits, build
from pipelines.retrieval.negatives import draw, from_bm25, from_retriever, refusals, too_few

HITS = Hits(["a", "b", "c", "d", "e"], [9.0, 8.0, 6.0, 3.0, 1.0])


@given(st.integers(0, 12), st.integers(1, 6), st.integers(1, 6), st.one_of(st.none(), st.floats(0.1, 1.5)), st.text())
def test_what_is_drawn_is_of_the_window(count, first, most, margin, lot):
    ids = [f"d{number}" for number in range(count)]
    hits = Hits(ids, [float(count - number) for number in range(count)])
    own = "d3"
    found, refused = draw(hits, own, first, most, margin, lot)
    scores = dict(zip(*hits, strict=True))
    assert len(found) == len(set(found)) <= most
    assert own not in found and set(found) <= set(ids[first - 1 :])
    if margin is not None and own in scores:
        assert all(scores[one] <= margin * scores[own] for one in found)
    assert len(found) == min(most, max(0, count - first + 1) - sum(refused.values()))
    assert draw(hits, own, first, most, margin, lot) == (found, refused)


def test_refusals_are_counted_by_reason():
    found, refused = draw(HITS, "c", 1, 10, 1.2, "lot")
    assert sorted(found) == ["d", "e"]
    assert refused == {"own_document": 1, "too_near": 2}
    # Where the ranking does not have the own document, nothing is known to be near it.
    assert draw(HITS, "z", 1, 10, 0.5, "lot")[1] == {}


def test_they_are_added_up_over_all_rows():
    class Rows:
        def batches(self, columns=None):
            for refused in ([["own_document 1", "too_near 2"], []], [["too_near 3"]]):
                yield pa.table({"refused": pa.array(refused, pa.list_(pa.string()))})

    assert refusals(Rows()) == {"too_near": 5, "own_document": 1}


def test_another_lot_draws_others():
    drawn = {tuple(draw(Hits([str(n) for n in range(50)], [1.0] * 50), "x", 1, 2, None, f"{n}")[0]) for n in range(20)}
    assert len(drawn) > 10


def test_what_else_answers_a_query_is_no_negative():
    found, refused = draw(HITS, "c", 1, 10, None, "lot", ["a", "e"])
    assert not {"a", "c", "e"} & set(found) and found
    assert refused == {"own_document": 1, "another_answer": 2}


def test_pairs_have_their_negatives_beside_them(place, tmp_path):
    build(str(tmp_path), None, collection=locate(str(place)), k1=0.9, b=0.4, stemmer="porter", stopwords=True)
    pairs = pa.table({"query": ["strings of a lute", "zithers"], "doc_id": ["d1", "d2"]})
    knobs = {"depth": 100, "first": 1, "count": 2, "margin": None, "seed": 0}
    found = from_bm25(pairs, **knobs, lexicon=str(tmp_path))
    assert found["negatives"].to_pylist() == [["d5"], []]
    assert found["refused"].to_pylist() == [["own_document 1"], []]
    assert too_few(found, than=1).to_pylist() == [False, True]
    assert from_bm25(pairs.slice(0, 0), **knobs).num_rows == 0
    # d5 answers the first query too, say those who judged.
    judged = from_bm25(pairs.append_column("answers", pa.array([["d5"], []])), **knobs, lexicon=str(tmp_path))
    assert judged["negatives"].to_pylist() == [[], []]
    assert judged["refused"].to_pylist()[0] == ["another_answer 1", "own_document 1"]


def test_negatives_of_a_retriever_are_of_its_ranking(place, tmp_path):
    folders = {name: str(tmp_path / name) for name in ("lexicon", "vectors")}
    for one in folders.values():
        Path(one).mkdir()
    how = {"encoder": "simulated", "batch_size": 8, "device": None}
    build(folders["lexicon"], None, collection=locate(str(place)), k1=0.9, b=0.4, stemmer="porter", stopwords=True)
    encode(folders["vectors"], None, lexicon=folders["lexicon"], **how)
    pairs = pa.table({"query": ["strings of lutes and viols"], "doc_id": ["d5"]})
    knobs = {"depth": 3, "first": 1, "count": 31, "margin": None, "seed": 0, **how}
    found = from_retriever(pairs, **knobs, **folders)
    assert len(found["negatives"][0].as_py()) == 2 and "d5" not in found["negatives"][0].as_py()
    assert found["refused"].to_pylist() == [["own_document 1"]]
    assert from_retriever(pairs.slice(0, 0), **knobs).num_rows == 0
