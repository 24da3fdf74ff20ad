"""A pair is kept where the query finds its own document again among the first so many of the whole corpus."""

import numpy as np
import pyarrow as pa
import pytest

from pipelines.retrieval import round_trip
from pipelines.retrieval.dense import encode
from pipelines.retrieval.round_trip import below, own_rank

KNOBS = {"encoder": "simulated", "batch_size": 8, "device": None}


@pytest.fixture
def corpus(lexicon, tmp_path):
    """Folders of an index over the collection and of its vectors."""
    vectors = tmp_path / "vectors"
    vectors.mkdir()
    encode(str(vectors), None, lexicon=lexicon, **KNOBS)
    return {"lexicon": lexicon, "vectors": str(vectors)}


def test_the_rank_is_among_the_whole_corpus(corpus):
    pairs = pa.table({"query": ["measure the weight of the air", "strings of lutes"], "doc_id": ["d2", "d2"]})
    found = own_rank(pairs, **KNOBS, **corpus)
    assert found["rank"][0].as_py() == 1
    assert 1 < found["rank"][1].as_py() <= 5
    assert own_rank(pairs.slice(0, 0), **KNOBS).num_rows == 0


def test_a_copy_of_a_document_does_not_push_it_down(corpus, monkeypatch):
    monkeypatch.setattr(round_trip, "vectors_in", lambda _: np.eye(5, dtype=np.float32)[[0, 0, 1, 0, 2]])
    monkeypatch.setattr(
        round_trip, "load", lambda *_, **__: lambda texts: np.eye(5, dtype=np.float32)[[0] * len(texts)]
    )
    pairs = pa.table({"query": ["a", "a"], "doc_id": ["d4", "d3"]})
    assert own_rank(pairs, **KNOBS, **corpus)["rank"].to_pylist() == [1, 4]


@pytest.mark.parametrize(("rank", "goes"), [(1, [False, True, True]), (3, [False, False, True]), (None, [None] * 3)])
def test_those_below_go(rank, goes):
    assert below(pa.table({"rank": [1, 3, 4]}), rank=rank).to_pylist() == goes
