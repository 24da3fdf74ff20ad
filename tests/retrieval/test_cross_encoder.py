"""A reranker learns which document belongs to a query; of a pair that is too long the document loses its end."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.engine.weights import resolve
from pipelines.errors import RunStopped, UserError
from pipelines.retrieval.cross_encoder import _has_head, _pairs, asked, cross_encoder, judge, score, train
from pipelines.retrieval.lexical import opened
from pipelines.retrieval.training import arguments

BASE = "packaged:all-minilm-l6-v2"
KNOBS = {
    "base": BASE,
    "batch": 8,
    "at_once": 128,
    "steps": 30,
    "learning_rate": 2e-4,
    "pair_tokens": 48,
    "checkpoint_steps": 4,
    "seed": 0,
    "device": "cpu",
    "workers": 1,
}


class Rows:
    """Pairs with negatives, as a stage has them."""

    def __init__(self, *rows):
        self.rows = rows

    def batches(self, columns=None):
        schema = pa.schema([("query", pa.string()), ("doc_id", pa.string()), ("negatives", pa.list_(pa.string()))])
        yield pa.table([list(column) for column in zip(*self.rows, strict=True)], schema=schema)


ROWS = Rows(
    ("strings of a lute", "d5", ["d2", "d3"]),
    ("the neck of a lute", "d1", ["d2", "d3"]),
    ("weight of the air", "d2", ["d1", "d5"]),
    ("where are the maps", "d3", ["d5", "d1"]),
)


@pytest.mark.parametrize("listwise", [False, True])
def test_documents_that_belong_to_a_query_come_to_score_higher(listwise, lexicon, tmp_path):
    made = tmp_path / "made"
    made.mkdir()
    told = train(str(made), ROWS, lexicon=lexicon, listwise=listwise, **KNOBS)
    assert (told["pairs"], told["negatives"], told["batch"], told["steps"]) == (4, 8, 4 if listwise else 8, 30)
    assert told["loss"][1] < told["loss"][0]
    # Its head is new; one that is trained on later is not, and learns at a lower rate.
    assert (_has_head(BASE), _has_head(f"{made}/model")) == (False, True)
    texts = dict(zip(["d1", "d2", "d3", "d5"], opened(lexicon).text(["d1", "d2", "d3", "d5"]), strict=True))
    pairs = [(query, texts[one]) for query, own, negatives in ROWS.rows for one in (own, negatives[0])]
    found = score(f"{made}/model", pairs, batch_size=2, pair_tokens=48, device="cpu")
    assert all(own > other for own, other in zip(found[::2], found[1::2], strict=True))


@given(batch=st.integers(1, 300), at_once=st.integers(0, 300))
def test_a_batch_in_pieces_is_the_whole_batch(batch, at_once):
    how = arguments("made", batch, 1, 1e-3, 1, 0, "cpu", at_once=at_once)
    piece, pieces = how["per_device_train_batch_size"], how["gradient_accumulation_steps"]
    assert piece * pieces == batch and piece <= max(1, at_once)


def test_a_judge_gives_pairs_their_relevance(lexicon, ranker):
    rows = pa.table({"query": ["weight of the air", "where are the maps"], "doc_id": ["d2", "d3"]})
    knobs = {"base": ranker, "batch_size": 2, "pair_tokens": 48, "device": "cpu"}
    found = judge(rows, lexicon=lexicon, **knobs)["relevance"].to_pylist()
    assert len(found) == 2 and all(0.0 <= one <= 1.0 for one in found)
    assert judge(rows.slice(0, 0), **knobs).num_rows == 0
    with pytest.raises(UserError, match=f"recipe.reranker={BASE}: has no head .* so it ranks by chance"):
        judge(rows, lexicon=lexicon, **knobs | {"base": BASE})


def test_a_head_of_another_shape_is_drawn_anew(tmp_path):
    from sentence_transformers.cross_encoder import CrossEncoder

    CrossEncoder(resolve(BASE), num_labels=3).save_pretrained(str(tmp_path))
    assert not _has_head(str(tmp_path))
    assert cross_encoder(str(tmp_path), "cpu", 48, seed=0).num_labels == 1


def test_no_more_tokens_are_read_than_the_model_has_places_for():
    assert cross_encoder(BASE, "cpu", 10_000, seed=0).max_seq_length == 512
    assert cross_encoder(BASE, "cpu", 48, seed=0).max_seq_length == 48


def test_a_model_that_is_none_is_named_by_its_key(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match=f"recipe.reranker={tmp_path}: cannot be loaded"):
        cross_encoder(str(tmp_path), "cpu", 48, seed=0)


def test_each_query_is_read_once_with_its_document_and_once_with_one_that_is_none():
    rows = next(ROWS.batches())
    examples = _pairs(rows).to_pylist()
    assert [(one["query"], one["label"]) for one in examples] == [
        (query, label) for query, _, _ in ROWS.rows for label in (1.0, 0.0)
    ]
    assert [one["document"] for one in examples] == [one for _, own, others in ROWS.rows for one in (own, others[0])]


def test_queries_without_a_negative_teach_nothing(lexicon, tmp_path):
    with pytest.raises(RunStopped, match="nothing to train a reranker on"):
        train(str(tmp_path), Rows(("a", "d1", [])), lexicon=lexicon, listwise=False, **KNOBS)


@pytest.mark.parametrize("words", [1, 8, 200])
def test_the_document_is_cut_and_of_a_query_what_is_over_half(words):
    """A query takes half of the tokens at most; a longer one, which no people ask, is cut to that."""
    model = _cross_encoder_of(32)
    query, document = asked("how " * words, model.tokenizer, 32), "the strings of the lute " * 50
    assert query.split() == ["how"] * min(words, 14)
    ids = model.preprocess([(query, document)])["input_ids"][0]
    assert len(ids) == 32
    first, second = model.tokenizer.decode(ids).split("[SEP]")[:2]
    assert first.count("how") == min(words, 14) and second.startswith(" the strings")


def _cross_encoder_of(tokens):
    return cross_encoder(resolve(BASE), "cpu", tokens, seed=0)


def test_a_new_head_is_that_of_its_seed():
    pairs = [("a", "b"), ("c", "d e f")]
    once, again = (_cross_encoder_of(32).predict(pairs, show_progress_bar=False) for _ in range(2))
    assert once.tolist() == again.tolist()
