"""Embedding dedup: greedy keep-first, exact, with a real encoder; and what the simulated one is good for."""

import os
import random
import weakref
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.dedup import embeddings
from pipelines.dedup.found import REMOVED
from pipelines.dedup.vectors import cells, encoder, matrix, search
from pipelines.errors import Damaged, UserError

DATA = Path(os.environ.get("NIGHTMILL_TEST_DATA", "../shared/data"))
REAL = "packaged:all-minilm-l6-v2"


@pytest.fixture(scope="module")
def encode() -> encoder.Encode:
    return encoder.load(REAL, 64)


def some_personas(count: int) -> list[str]:
    if not (DATA / "personas.parquet").exists():
        pytest.skip("real data is absent: NIGHTMILL_TEST_DATA names no folder with personas.parquet")
    texts = pq.read_table(DATA / "personas.parquet")["persona"].to_pylist()
    return random.Random(5).sample(texts, count)


def some_words(count: int, seed: int = 3) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices("abcdefghijk", k=rng.randint(1, 8))) for _ in range(count)]


def removed(found) -> dict[str, str]:
    return dict(zip(found.removed["id"].to_pylist(), found.removed["keeper_id"].to_pylist(), strict=True))


def by_brute_force(vectors: np.ndarray, threshold: float) -> dict[int, int]:
    """Greedy keep-first, one pair after the other, in float64."""
    wide = vectors.astype(np.float64)
    wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    kept: list[int] = []
    gone: dict[int, int] = {}
    for row in range(len(wide)):
        close = [k for k in kept if wide[row] @ wide[k] > threshold]
        if close:
            gone[row] = close[0]
        else:
            kept.append(row)
    return gone


def test_a_paraphrase_goes_and_another_person_stays(rows) -> None:
    texts = [
        "A nurse who works night shifts in an emergency room",
        "A luthier who restores old violins",
        "A night-shift nurse working in the emergency room",
        "A violin maker who restores old violins",
    ]
    found = embeddings.find(rows(texts), text_column="text", encoder=REAL)
    assert removed(found)["000002"] == "000000"
    assert "000001" not in removed(found)
    assert found.removed.schema == REMOVED
    for row in found.removed.to_pylist():
        assert row["method"] == "embedding"
        assert row["via_id"] == row["cluster_id"] == row["keeper_id"]
        assert row["via_similarity"] == row["similarity"] > 0.9


def test_on_real_personas_a_lower_threshold_never_keeps_more(encode) -> None:
    vectors = encode(some_personas(600))
    counts = [len(search.exact(vectors, threshold)[0]) for threshold in np.arange(0.95, 0.2, -0.05)]
    assert counts == sorted(counts)
    assert counts[-1] > counts[0]


def test_equals_brute_force_on_real_vectors_across_blocks(encode, monkeypatch) -> None:
    vectors = encode(some_personas(500))
    monkeypatch.setattr(search, "BLOCK", 37)
    monkeypatch.setattr(search, "AGAINST", 53)
    for threshold in (0.3, 0.5, 0.8):
        gone, keepers, cosines = search.exact(vectors, threshold)
        assert dict(zip(gone.tolist(), keepers.tolist(), strict=True)) == by_brute_force(vectors, threshold)
        assert (cosines > threshold).all()
        exact = np.einsum("ij,ij->i", vectors[gone].astype(np.float64), vectors[keepers].astype(np.float64))
        assert cosines == pytest.approx(exact, abs=1e-6)


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**32 - 1), threshold=st.sampled_from([-1.0, -0.2, 0.0, 0.3, 0.9]))
def test_equals_brute_force_on_any_vectors(seed: int, threshold: float) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(rng.integers(0, 40), 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    gone, keepers, _ = search.exact(vectors, threshold)
    assert dict(zip(gone.tolist(), keepers.tolist(), strict=True)) == by_brute_force(vectors, threshold)


def test_the_threshold_itself_is_not_above_it() -> None:
    vectors = np.array([[1, 0], [0.6, 0.8]], np.float32)
    exact = float(np.float64(vectors[1, 0]) / np.sqrt(np.sum(vectors[1].astype(np.float64) ** 2)))
    assert len(search.exact(vectors, exact)[0]) == 0
    assert len(search.exact(vectors, np.nextafter(exact, 0))[0]) == 1


def test_the_order_of_the_input_changes_nothing(rows) -> None:
    texts = some_personas(150)
    pairs = [(text, f"{i:04x}") for text, i in zip(texts, random.Random(2).sample(range(60_000), 150), strict=True)]
    one = embeddings.find(rows(*zip(*pairs, strict=True)), text_column="text", encoder=REAL, threshold=0.4)
    random.Random(3).shuffle(pairs)
    other = embeddings.find(rows(*zip(*pairs, strict=True)), text_column="text", encoder=REAL, threshold=0.4)
    names = ["id", "keeper_id", "via_id", "method"]
    assert one.removed.select(names).equals(other.removed.select(names))
    # An encoder's last bits depend on what else is in a batch.
    assert one.removed["similarity"].to_pylist() == pytest.approx(other.removed["similarity"].to_pylist(), abs=1e-5)
    assert one.stats == other.stats
    assert 0 < one.stats["removed"] < 150


def test_texts_without_words_are_like_nothing(rows) -> None:
    found = embeddings.find(
        rows([None, None, "", "", " \u3000\n", "x y", "x y"]), text_column="text", encoder="simulated"
    )
    assert removed(found) == {"000006": "000005"}
    assert found.stats["without_text"] == 5
    # Nothing but punctuation has no direction for the simulated encoder.
    found = embeddings.find(rows(["...", "..."]), text_column="text", encoder="simulated")
    assert (found.stats["removed"], found.stats["without_direction"]) == (0, 2)
    assert embeddings.find(rows([]), text_column="text", encoder="simulated").stats["rows"] == 0


def test_real_vectors_have_length_one(encode) -> None:
    vectors = encode(["A luthier", "", "A nurse " * 2000])
    assert vectors.shape == (3, 384)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(3), abs=1e-5)


def test_simulated_cosines_are_about_the_share_of_common_words(rows) -> None:
    words = [f"word{i}" for i in range(60)]
    same, near, half, far = encoder.simulated(
        [" ".join(words[:20]), " ".join(words[1:21]), " ".join(words[10:30]), " ".join(words[30:50])]
    )
    assert near @ same > 0.9
    assert half @ same == pytest.approx(0.5, abs=0.15)
    assert far @ same == pytest.approx(0.0, abs=0.15)
    shuffled = " ".join(random.Random(0).sample(words[:20], 20)).upper()
    assert (encoder.simulated([shuffled])[0] == same).all()


def test_what_cannot_be_loaded_or_done_is_refused_by_name(rows, tmp_path) -> None:
    with pytest.raises(UserError, match="dedup.embedding.encoder=.*nothing-here"):
        encoder.load(str(tmp_path / "nothing-here"), 8)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="dedup.embedding.encoder=.*packaged:all-minilm-l6-v2"):
        encoder.load(str(tmp_path), 8)
    with pytest.raises(UserError, match="dedup.embedding.batch_size=0"):
        encoder.load("simulated", 0)
    with pytest.raises(UserError, match="dedup.embedding.threshold=1.0"):
        embeddings.find(rows(["x"]), text_column="text", encoder="simulated", threshold=1.0)
    with pytest.raises(UserError, match="column 'words' is to be read as text.*only"):
        embeddings.find(rows(["x"]), text_column="words", encoder="simulated")


def crowd(count: int, seed: int = 1) -> np.ndarray:
    """Vectors of length 1 in loose groups, a fifth of them close to another: a density like that of texts."""
    rng = np.random.default_rng(seed)
    middles = rng.normal(size=(60, 32))
    vectors = middles[rng.integers(0, 60, count)] + 0.8 * rng.normal(size=(count, 32))
    copies = np.flatnonzero(rng.random(count) < 0.2)[1:]
    vectors[copies] = vectors[(copies * rng.random(len(copies))).astype(int)] + 0.2 * rng.normal(size=(len(copies), 32))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def small_cells(monkeypatch):
    """Sizes at which a few thousand rows take the way of millions."""
    for name, value in {"EXACT_ROWS": 500, "FAR": 1500, "NEAR": 200, "SAMPLED": 400}.items():
        monkeypatch.setattr(search, name, value)
    monkeypatch.setattr(cells, "CELL_ROWS", 100)


def test_cells_find_what_brute_force_finds_but_for_what_they_say(small_cells) -> None:
    vectors = crowd(6000)
    found = search.greedy(vectors, 0.9)
    rows, keepers, _ = search.exact(vectors, 0.9)
    truth = dict(zip(rows.tolist(), keepers.tolist(), strict=True))
    ours = dict(zip(found.rows.tolist(), found.keepers.tolist(), strict=True))
    assert len(truth) > 500
    assert len(ours.keys() & truth.keys()) >= 0.99 * len(truth)
    assert found.stats["recall"] >= 0.99
    assert found.stats["recall_pairs"] > 50
    assert (found.cosines > 0.9).all()
    assert not set(found.keepers.tolist()) & set(found.rows.tolist())


def test_with_every_cell_looked_into_cells_are_exact(small_cells, monkeypatch) -> None:
    monkeypatch.setattr(search, "WANTED", 2.0)
    monkeypatch.setattr(search, "MOST_CELLS", 10**6)
    vectors = crowd(2500, seed=7)
    found = search.greedy(vectors, 0.8)
    rows, keepers, cosines = search.exact(vectors, 0.8)
    assert found.rows.tolist() == rows.tolist()
    assert found.keepers.tolist() == keepers.tolist()
    assert found.cosines == pytest.approx(cosines, abs=1e-12)
    assert found.stats["recall"] == 1.0


def test_rows_that_are_all_alike_leave_one(small_cells) -> None:
    vectors = np.tile(crowd(1), (5000, 1))
    found = search.greedy(vectors, 0.9)
    assert (len(found.rows), set(found.keepers.tolist())) == (4999, {0})


def test_of_dense_data_some_close_pairs_stand_for_all(small_cells, monkeypatch) -> None:
    """Half of the rows are one crowd: of the pairs of a sample only so many are held at once, and all are counted."""
    vectors = crowd(4000)
    vectors[::2] = vectors[0]
    vectors[1::2] = vectors[1::2] + 0.02 * vectors[0]
    whole = search.greedy(vectors, 0.9)
    monkeypatch.setattr(search, "PAIRS", 500)
    some = search.greedy(vectors, 0.9)
    assert max(len(later) for later, _, _ in search._close_pairs(vectors, np.arange(0, 4000, 10), 0.9)) == 500
    assert some.stats["recall_pairs"] == whole.stats["recall_pairs"] > 200 * 1999
    assert some.stats["recall"] == pytest.approx(whole.stats["recall"], abs=0.01)
    assert some.rows.tolist() == whole.rows.tolist()


def test_the_first_that_is_close_is_found_past_any_number_that_only_seem_so() -> None:
    """Cosines within a rounding of the threshold are candidates, and no more."""
    asked = np.array([[1, 0], [0, 1]], np.float32)
    almost = np.array([[0.6, 0.8]], np.float32)
    others = np.concatenate([np.tile(almost, (5, 1)), [[0.7, 0.714]], [[0.8, 0.6]]]).astype(np.float32)
    exact = float(search.cosines(asked, almost, np.array([0]), np.array([0]))[0])
    place, cosine = search.first_close(asked, others, exact)
    assert place.tolist() == [5, 0]
    assert (cosine > exact).all()


def test_vectors_that_memory_has_no_room_for_lie_in_a_file(rows, monkeypatch, tmp_path) -> None:
    texts = [*some_words(400), None, "..."]
    here = embeddings.find(rows(texts), text_column="text", encoder="simulated", threshold=0.5)
    monkeypatch.setattr(matrix, "SHARE", 0.0)
    monkeypatch.setattr(matrix.tempfile, "tempdir", str(tmp_path))
    assert isinstance(matrix.zeros(3, 2), np.memmap)
    spilled = embeddings.find(rows(texts), text_column="text", encoder="simulated", threshold=0.5)
    assert spilled.removed.equals(here.removed)
    assert spilled.stats == here.stats
    assert not list(tmp_path.iterdir())

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(matrix.os, "posix_fallocate", full)
    with pytest.raises(UserError, match="dedup.embedding: the vectors of 402 rows .*TMPDIR"):
        embeddings.find(rows(texts), text_column="text", encoder="simulated", threshold=0.5)


def test_the_keeper_is_chosen_by_rule(rows) -> None:
    table = pa.table({"id": ["a", "b"], "text": ["a night nurse", "a night nurse!"], "stars": [1, 5]})
    source = type(rows([]))(table)
    kept = [
        embeddings.find(source, text_column="text", encoder="simulated", **rule).removed["keeper_id"].to_pylist()
        for rule in ({}, {"keep": "longest"}, {"keep": "highest", "score_column": "stars"})
    ]
    assert kept == [["a"], ["b"], ["b"]]


def test_vectors_are_a_dataset_of_their_own_that_find_takes(rows) -> None:
    texts = ["a night nurse", None, "a nurse at night", " ", "...", "a night nurse"]
    source = rows(texts)
    parts = [
        embeddings.vectors(table, text_column="text", encoder="simulated", threads=1) for table in source.batches()
    ]
    whole = pa.concat_tables(parts)
    assert whole["id"].to_pylist() == source.table["id"].to_pylist()
    assert [vector is None for vector in whole["vector"].to_pylist()] == [False, True, False, True, False, False]
    encoded = type(source)(whole)
    found = embeddings.find(source, text_column="text", encoder="simulated", encoded=encoded)
    here = embeddings.find(source, text_column="text", encoder="simulated")
    assert found.removed.equals(here.removed)
    assert (found.stats["without_text"], found.stats["without_direction"], found.stats["removed"]) == (2, 1, 1)


def made(source):
    """The vectors of a dataset, as a dataset."""
    parts = [embeddings.vectors(table, text_column="text", encoder="simulated") for table in source.batches()]
    return type(source)(pa.concat_tables(parts))


def test_vectors_belong_to_rows_by_id_whatever_their_order(rows) -> None:
    source = rows(some_words(60))
    encoded = made(source)
    encoded.table = encoded.table.take(np.random.default_rng(0).permutation(60))
    found = embeddings.find(source, text_column="text", encoder="simulated", threshold=0.6, encoded=encoded)
    here = embeddings.find(source, text_column="text", encoder="simulated", threshold=0.6)
    assert found.removed.equals(here.removed)
    assert found.stats["removed"] > 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda ids: [*ids[:4], "x", *ids[5:]], "part-00001 has a vector of row 'x' which the stage has not read"),
        (lambda ids: [*ids[:4], ids[0], *ids[5:]], "part-00001 has a vector of row '000000' again"),
        (lambda ids: ids[:-1], "memory has no vector of row '000006'"),
    ],
)
def test_vectors_of_other_rows_are_damage_that_names_the_file(rows, change, says) -> None:
    source = rows(some_words(7))
    encoded = made(source)
    names = change(encoded.table["id"].to_pylist())
    encoded.table = encoded.table.slice(0, len(names)).set_column(0, "id", pa.array(names))
    with pytest.raises(Damaged, match=f"{says}; delete the folder of vectors"):
        embeddings.find(source, text_column="text", encoder="simulated", encoded=encoded)


@pytest.mark.parametrize("named", ["simulated", REAL])
def test_a_shard_of_blank_rows_has_vectors_of_the_same_type(rows, named) -> None:
    blank, worded = (
        embeddings.vectors(rows(texts).table, text_column="text", encoder=named) for texts in ([None, " "], ["a nurse"])
    )
    assert blank.schema == worded.schema
    assert blank["vector"].null_count == 2


def test_what_a_night_would_lack_is_refused_before_it_begins(monkeypatch, tmp_path) -> None:
    """``refuse`` looks, and imports nothing; a run calls it before it generates."""
    embeddings.refuse(10**6, encoder=REAL, text_column="text", threshold=0.9)
    with pytest.raises(UserError, match="dedup.embedding.encoder=packaged:nothing"):
        embeddings.refuse(10, encoder="packaged:nothing")
    monkeypatch.setattr(cells, "find_spec", lambda name: None)
    embeddings.refuse(20_000, encoder="simulated")
    with pytest.raises(UserError, match="dedup.embedding.enabled=true: more than 20,000 rows need .* faiss-cpu"):
        embeddings.refuse(20_001, encoder="simulated")
    monkeypatch.setattr(encoder, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install sentence-transformers, or set dedup.embedding.enabled=false"):
        embeddings.refuse(10, encoder=REAL)


def test_an_encoder_is_let_go_when_the_rows_are_encoded() -> None:
    loaded = weakref.ref(encoder.load(REAL, 8))
    assert loaded() is not None
    embeddings.release(text_column="text", encoder=REAL)
    assert loaded() is None
    embeddings.release()
