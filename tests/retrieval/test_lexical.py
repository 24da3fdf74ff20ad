"""BM25 is that of bm25s over title and text; ties go by the corpus, and what shares no word is no hit."""

import bm25s
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import Stemmer

from pipelines.errors import UserError
from pipelines.retrieval.analysis import STOPWORDS
from pipelines.retrieval.collection import documents, locate, whole_texts
from pipelines.retrieval.lexical import Lexicon, build

SETTINGS = {"k1": 0.9, "b": 0.4, "stemmer": "porter", "stopwords": True}


@pytest.fixture
def lexicon(place, tmp_path):
    """An index over the collection, with the settings of a test; the second value is what building told."""

    def made(**settings):
        here = tmp_path / "made"
        here.mkdir(exist_ok=True)
        told = build(str(here), None, collection=locate(str(place)), **{**SETTINGS, **settings})
        return Lexicon(str(here)), told

    return made


def test_the_best_documents_come_first(lexicon):
    index, told = lexicon()
    assert told["documents"] == 5
    strings, air, nothing = index.search(["strings of a lute", "weighing the air", "zithers"], 10)
    assert strings.ids == ["d5", "d1"] and strings.scores[0] > strings.scores[1] > 0
    assert air.ids == ["d2"]
    assert nothing == ([], [])
    assert index.search(["strings of a lute"], 1)[0].ids == ["d5"]
    assert index.search([], 10) == []


def test_scores_are_those_of_bm25s(lexicon, place):
    index, _ = lexicon()
    texts = whole_texts(next(documents(locate(str(place))))).to_pylist()
    how = {"stemmer": Stemmer.Stemmer("porter"), "stopwords": STOPWORDS, "token_pattern": r"(?u)\b\w+\b"}
    direct = bm25s.BM25(k1=0.9, b=0.4, method="lucene")
    direct.index(bm25s.tokenize(texts, show_progress=False, **how), show_progress=False)
    words = bm25s.tokenize(["strings of a lute"], show_progress=False, return_ids=False, **how)
    _, scores = direct.retrieve(words, k=2, show_progress=False)
    np.testing.assert_allclose(index.search(["strings of a lute"], 2)[0].scores, scores[0], rtol=1e-6)


def test_documents_of_one_score_come_in_the_order_of_the_corpus(place, tmp_path):
    pq.write_table(pa.table({"doc_id": ["z", "a", "m"], "text": ["maps"] * 3}), place / "corpus.parquet")
    build(str(tmp_path), None, collection=locate(str(place)), **SETTINGS)
    assert Lexicon(str(tmp_path)).search(["maps"], 3)[0].ids == ["z", "a", "m"]


def test_texts_are_found_by_their_ids(lexicon):
    index, _ = lexicon()
    assert index.text(["d3", "d2"]) == ["Maps", "Barometers measure the weight of the air."]


def test_without_stems_and_with_stop_words(lexicon):
    index, _ = lexicon(stemmer=None, stopwords=False)
    assert index.search(["lute"], 5)[0].ids == ["d1"]
    assert set(index.search(["the"], 5)[0].ids) == {"d1", "d2"}


def test_what_cannot_be_indexed_is_named(place, lexicon):
    with pytest.raises(UserError, match=r"recipe\.stemmer=klingon: must be null or one of .*english"):
        lexicon(stemmer="klingon")
    pq.write_table(pa.table({"doc_id": ["a", "b", "a"], "text": ["x", "y", "x"]}), place / "corpus.parquet")
    with pytest.raises(UserError, match="the corpus has document a twice"):
        lexicon()
    pq.write_table(pa.table({"doc_id": ["a", "b"], "text": ["", "…"]}), place / "corpus.parquet")
    with pytest.raises(UserError, match="no document of the corpus has a word"):
        lexicon()
