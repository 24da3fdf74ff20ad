"""Batch and steps by the size of a corpus; training moves the encoder, and goes on from a checkpoint after a kill."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from transformers import Trainer

from pipelines.dedup.vectors.encoder import load, unload
from pipelines.errors import RunStopped
from pipelines.retrieval.bi_encoder import group, train
from pipelines.retrieval.collection import judged_pairs, locate
from pipelines.retrieval.training import last_checkpoint

ENCODER = "packaged:all-minilm-l6-v2"


@pytest.mark.parametrize(
    ("documents", "batch", "steps"),
    [(49_999, 128, 1_000), (50_000, 6_144, 1_000), (500_000, 6_144, 1_000), (500_001, 6_144, 5_000)],
)
def test_batch_and_steps_follow_the_corpus(documents, batch, steps):
    assert group(documents) == (batch, steps)


def test_pairs_are_what_the_judgements_say(place):
    pairs = judged_pairs(collection=locate(str(place)), split="test", setting="recipe.split")
    assert [(one["query"], one["doc_id"]) for one in pairs] == [
        ("strings of a lute", "d1"),
        ("strings of a lute", "d5"),
        ("weighing the air", "d2"),
    ]


class Rows:
    """Pairs as a stage has them."""

    def __init__(self, *pairs):
        self.pairs = pairs

    def batches(self, columns=None):
        queries, ids = [one[0] for one in self.pairs], [one[1] for one in self.pairs]
        yield pa.table({"query": pa.array(queries, pa.string()), "doc_id": pa.array(ids, pa.string())})


PAIRS = Rows(("zither", "d2"), ("zithers", "d2"), ("strings", "d5"), ("lutes", "d1"), ("what are maps", "d3"))
KNOBS = {
    "encoder": ENCODER,
    "batch": 4,
    "at_once": 128,
    "steps": 6,
    "learning_rate": 1e-3,
    "temperature": 0.05,
    "document_tokens": 32,
    "checkpoint_steps": 2,
    "seed": 0,
    "device": "cpu",
    "workers": 1,
}


def trained(made, lexicon, **more):
    made.mkdir(exist_ok=True)
    return train(str(made), PAIRS, lexicon=lexicon, **{**KNOBS, **more})


def encoded(place):
    unload()
    return load(str(place), 8, "cpu")(["zither", "Barometers measure the weight of the air.", "Maps"])


def test_too_few_pairs_are_a_named_stop(lexicon, tmp_path):
    with pytest.raises(RunStopped, match="there are 2 queries of 1 documents to train on"):
        train(str(tmp_path), Rows(("a", "d1"), ("b", "d1")), lexicon=lexicon, **KNOBS)


def test_training_brings_queries_to_their_documents(lexicon, tmp_path):
    told = trained(tmp_path / "made", lexicon)
    assert (told["pairs"], told["documents"], told["batch"], told["steps"]) == (5, 4, 4, 6)
    assert told["loss"][1] < told["loss"][0]
    before, after = encoded(ENCODER), encoded(tmp_path / "made" / "model")
    assert after[0] @ after[1] > before[0] @ before[1], "a zither is in no document, but d2 answers it now"
    assert after[0] @ after[1] > after[0] @ after[2]
    assert not (tmp_path / "made" / "checkpoints").exists()


def test_after_a_kill_training_goes_on_from_the_checkpoint(lexicon, tmp_path, monkeypatch):
    """What comes out is what an undisturbed training gives, bit for bit on a CPU."""
    trained(tmp_path / "whole", lexicon)
    step, done = Trainer.training_step, []

    def killed(self, *arguments, **more):
        done.append(self.state.global_step)
        if len(done) == 4:
            raise KeyboardInterrupt
        return step(self, *arguments, **more)

    monkeypatch.setattr(Trainer, "training_step", killed)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "begun", lexicon)
    assert Path(last_checkpoint(str(tmp_path / "begun")) or "").name == "checkpoint-2"
    trained(tmp_path / "begun", lexicon)
    assert done == [0, 1, 2, 3, 2, 3, 4, 5]
    np.testing.assert_array_equal(encoded(tmp_path / "whole" / "model"), encoded(tmp_path / "begun" / "model"))


def test_two_processes_train_what_one_does(ray_here, lexicon, tmp_path):
    """They share a batch, and each holds its queries against the documents of both."""
    alone, both = ({"workers": workers, "encoder": _still(tmp_path)} for workers in (1, 2))
    told = [trained(tmp_path / str(how["workers"]), lexicon, **how) for how in (alone, both)]
    assert told[0]["loss"] == pytest.approx(told[1]["loss"], abs=2e-4)
    found = [encoded(tmp_path / str(number) / "model") for number in (1, 2)]
    np.testing.assert_allclose(*found, atol=2e-3)
    assert sorted(path.name for path in (tmp_path / "2").iterdir()) == ["how_far.txt", "model"]


def _still(tmp_path):
    """The encoder without dropout, whose lots each process would draw for itself."""
    from sentence_transformers import SentenceTransformer

    from pipelines.engine.weights import resolve

    place = tmp_path / "still"
    if not place.exists():
        model = SentenceTransformer(resolve(ENCODER), device="cpu")
        model[0].model.config.hidden_dropout_prob = 0.0
        model[0].model.config.attention_probs_dropout_prob = 0.0
        model.save_pretrained(str(place))
    return str(place)


def test_a_checkpoint_that_a_kill_cut_off_is_not_gone_on_from(tmp_path):
    for step, whole in ((2, True), (4, False)):
        place = tmp_path / "checkpoints" / f"checkpoint-{step}"
        place.mkdir(parents=True)
        if whole:
            (place / "trainer_state.json").write_text("{}")
    assert Path(last_checkpoint(str(tmp_path)) or "").name == "checkpoint-2"
    assert not (tmp_path / "checkpoints" / "checkpoint-4").exists()
    assert last_checkpoint(str(tmp_path / "elsewhere")) is None
