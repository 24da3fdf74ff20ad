"""Exact search finds the nearest documents, ties in the corpus's order; encoding goes on where it was."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.retrieval import dense
from pipelines.retrieval.dense import encode, nearest

MINILM = "packaged:all-minilm-l6-v2"


class Index:
    """Ids that are places."""

    def ids(self, places):
        return [str(place) for place in places]


VECTORS = st.lists(st.tuples(*[st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0])] * 3), min_size=1, max_size=12)


@given(VECTORS, VECTORS, st.integers(1, 15))
def test_the_nearest_are_those_of_a_full_sort(queries, documents, depth):
    queries, documents = (np.array(some, np.float32) for some in (queries, documents))
    found = nearest(queries, documents, Index(), depth)
    for query, hits in zip(queries, found, strict=True):
        scores = documents @ query
        order = sorted(range(len(documents)), key=lambda place: (-scores[place], place))[:depth]
        assert hits.scores == [float(scores[place]) for place in order]
        assert hits.ids == [str(place) for place in order]


KNOBS = {"encoder": "simulated", "batch_size": 8, "device": None}


def test_of_a_document_as_many_tokens_count_as_are_asked_for(lexicon, tmp_path):
    """So that an encoder is measured as it was before its training and as it is after it on the same words."""
    found = {}
    for tokens in (4, None):
        made = tmp_path / f"{tokens}"
        made.mkdir()
        encode(
            str(made), None, lexicon=lexicon, **{**KNOBS, "encoder": MINILM, "device": "cpu"}, document_tokens=tokens
        )
        found[tokens] = dense.vectors_in(str(made))
    # Of four tokens two are the text's own: "Maps" is whole, of "Lutes How the neck ..." an end is missing.
    same = np.isclose(found[4], found[None], atol=1e-5).all(axis=1)
    assert same.tolist() == [False, False, True, True, False]


def test_queries_find_documents_by_their_vectors(lexicon, tmp_path):
    made = tmp_path / "vectors"
    made.mkdir()
    assert encode(str(made), None, lexicon=lexicon, **KNOBS) == {"documents": 5, "dimensions": 384}
    rows = pa.table({"text": ["strings of lutes and viols", "weight of the air"]})
    how = {"text_column": "text", "depth": 2, "arm": "dense", "lexicon": lexicon, "vectors": str(made), **KNOBS}
    found = dense.dense(rows, **how)
    assert [docs[0] for docs in found["dense_docs"].to_pylist()] == ["d5", "d2"]
    assert all(len(docs) == 2 for docs in found["dense_docs"].to_pylist())
    assert dense.dense(rows.slice(0, 0), **{**how, "lexicon": "", "vectors": ""}).column_names == found.column_names


def test_a_document_without_a_word_is_near_to_nothing(lexicon, tmp_path, monkeypatch):
    """Whatever a model makes of no text at all."""
    monkeypatch.setattr(dense, "load", lambda *how, **more: lambda texts: np.ones((len(texts), 3), np.float32))
    encode(str(tmp_path), None, lexicon=lexicon, **KNOBS)
    assert dense.vectors_in(str(tmp_path)).any(axis=1).tolist() == [True, True, True, False, True]


def test_encoding_goes_on_after_a_kill_from_where_it_was(lexicon, tmp_path, monkeypatch):
    whole, begun = tmp_path / "whole", tmp_path / "begun"
    for place in (whole, begun):
        place.mkdir()
    encode(str(whole), None, lexicon=lexicon, **KNOBS)
    monkeypatch.setattr(dense, "_BLOCK", 2)
    texts = []

    def counting(*_, **__):
        def encoded(some):
            if len(texts) == 4 and "on" not in vars(counting):
                counting.on = True
                raise KeyboardInterrupt
            texts.extend(some)
            return load("simulated", 8)(some)

        return encoded

    load = dense.load
    monkeypatch.setattr(dense, "load", counting)
    with pytest.raises(KeyboardInterrupt):
        encode(str(begun), None, lexicon=lexicon, **KNOBS)
    encode(str(begun), None, lexicon=lexicon, **KNOBS)
    assert len(texts) == 5, "no document twice"
    np.testing.assert_array_equal(np.load(whole / "vectors.npy"), np.load(begun / "vectors.npy"))
    assert sorted(path.name for path in Path(begun).iterdir()) == ["how_far.txt", "vectors.npy"]
