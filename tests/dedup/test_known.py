"""The standing index for embeddings: tonight's rows against every earlier night's, whatever happens to its files."""

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.dedup import embeddings
from pipelines.dedup.index import Index
from pipelines.dedup.vectors import cells, known, search
from pipelines.dedup.vectors import segment as vector_segment
from pipelines.dedup.vectors.parts import parted
from pipelines.errors import Damaged, UserError
from pipelines.store.files import folder

KNOBS = {"text_column": "text", "threshold": 0.6, "encoder": "simulated"}


def night(rows, texts, origin, first=0, rng=None):
    """Rows of one night, with ids that rise from night to night; within one they come in any order."""
    ids = [f"{first + i:06d}" for i in range(len(texts))]
    if rng is not None:
        rng.shuffle(ids)
    source = rows(texts, ids)
    source.origin = origin
    return source


def kept(source, found):
    gone = set(found.removed["id"].to_pylist())
    table = source.table.filter(pa.array([id_ not in gone for id_ in source.table["id"].to_pylist()], pa.bool_()))
    return type(source)(table, source.origin)


def encoded(source):
    parts = [embeddings.vectors(table, text_column="text", encoder="simulated") for table in source.batches()]
    return type(source)(pa.concat_tables(parts))


def some(rng, count):
    return [" ".join(rng.choices("abcdefghijk", k=rng.randint(0, 8))) for _ in range(count)]


def pairs(found):
    return dict(zip(found.removed["id"].to_pylist(), found.removed["keeper_id"].to_pylist(), strict=True))


def go(rows, texts, origin, index, first=0, rng=None, beforehand=False, **more):
    """A night: decide against the index, then add what stays."""
    source = night(rows, texts, origin, first, rng)
    made = {"encoded": encoded(source)} if beforehand else {}
    knobs = {**KNOBS, **more, **made, "against": str(index)}
    found = embeddings.find(source, **knobs)
    embeddings.remember(kept(source, found), run=origin, state=repr(sorted(pairs(found))), **knobs)
    return source, found


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 10**6),
    threshold=st.sampled_from([-0.1, 0.2, 0.6, 0.9]),
    part=st.sampled_from([1, 4, 1000]),
    beforehand=st.booleans(),
)
def test_a_night_is_as_if_the_earlier_ones_had_come_before_it(
    tmp_path_factory, rows, seed, threshold, part, beforehand
) -> None:
    index, rng = tmp_path_factory.mktemp("index"), random.Random(seed)
    before = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vector_segment, "PART_BYTES", part * 384 * 4)
        for number in range(3):
            texts, state = some(rng, 40), rng.getstate()
            alone = night(rows, texts, f"run{number}", 1000 * number, rng)
            whole = embeddings.find(
                type(alone)(pa.concat_tables([*before, alone.table])), **{**KNOBS, "threshold": threshold}
            )
            rng.setstate(state)
            source, found = go(rows, texts, f"run{number}", index, 1000 * number, rng, beforehand, threshold=threshold)
            assert source.table.equals(alone.table)
            ours = set(source.table["id"].to_pylist())
            assert pairs(found) == {id_: keeper for id_, keeper in pairs(whole).items() if id_ in ours}
            before.append(kept(source, found).table)


def test_removed_rows_name_the_row_of_the_earlier_night(rows, tmp_path) -> None:
    text = "a retired lighthouse keeper who restores brass barometers"
    go(rows, [text, "a nurse who collects maps"], "monday", tmp_path / "i")
    _, found = go(rows, [f"{text} daily", "a diver", "a deep diver", text], "tuesday", tmp_path / "i", 100)
    assert pairs(found) == {"000100": "000000", "000102": "000101", "000103": "000000"}
    assert found.removed["similarity"].to_pylist()[2] == pytest.approx(1.0)
    assert (found.stats["removed"], found.stats["clusters"]) == (3, 2)
    told = found.stats["against"]
    assert (told["rows"], told["removed"], told["recall"]) == (2, 2, 1.0)
    read = sum(f.stat().st_size for f in (tmp_path / "i").rglob("*") if f.name in ("vectors.bin", "head.json"))
    assert 2 * 384 * 4 < told["bytes_read"] < read


def test_a_run_is_not_checked_against_itself_and_is_added_once(rows, tmp_path) -> None:
    for _ in range(2):
        _, found = go(rows, ["a b c", "d e f"], "monday", tmp_path / "i")
        assert (found.stats["removed"], found.stats["against"]["rows"]) == (0, 0)
    assert [path.name for path in (tmp_path / "i").rglob("version-*")] == ["version-00001.json"]
    _, found = go(rows, ["a b c"], "tuesday", tmp_path / "i", 100)
    assert found.stats["against"]["rows"] == 2


def test_nights_without_rows_or_words_are_segments_that_hold_none(rows, tmp_path) -> None:
    for name, texts in (("monday", []), ("tuesday", [None, " ", "..."])):
        for _ in range(2):
            go(rows, texts, name, tmp_path / "i")
    assert len(list((tmp_path / "i").rglob("version-*"))) == 2
    _, found = go(rows, ["a b c", None], "wednesday", tmp_path / "i", 100)
    assert (found.stats["removed"], found.stats["against"]["rows"]) == (0, 0)


def test_only_rows_without_a_vector_are_encoded_again(rows, tmp_path, monkeypatch) -> None:
    """Vectors are those of the stage's input, more rows or fewer than the run kept at its end."""
    source = night(rows, ["a b c", "d e f", "g h i", None, "j k l"], "monday")
    made, asked = encoded(source), []
    made.table = made.table.take([4, 2, 3, 1])
    source.table = source.table.slice(0, 4)
    find_vectors = embeddings.vectors
    monkeypatch.setattr(
        embeddings,
        "vectors",
        lambda table, **knobs: asked.extend(table["id"].to_pylist()) or find_vectors(table, **knobs),
    )
    embeddings.remember(source, run="monday", state="x", against=str(tmp_path / "i"), encoded=made, **KNOBS)
    assert asked == ["000000"]
    _, found = go(rows, ["c b a", "f e d", "i h g", "l k j"], "tuesday", tmp_path / "i", 100)
    assert pairs(found) == {"000100": "000000", "000101": "000001", "000102": "000002"}


def test_an_index_of_another_encoder_is_refused(rows, tmp_path) -> None:
    go(rows, ["a b c"], "monday", tmp_path / "i")
    with pytest.raises(UserError, match=r"other settings:\n  dedup.embedding.dtype: auto -> float16"):
        go(rows, ["a b c"], "tuesday", tmp_path / "i", 100, dtype="float16")
    with pytest.raises(UserError, match="dedup.embedding.encoder: simulated -> other/encoder"):
        embeddings.find(
            night(rows, ["a"], "tuesday"),
            text_column="text",
            encoder="other/encoder",
            against=str(tmp_path / "i"),
        )
    index = Index(str(tmp_path / "i"), "embedding", embeddings.agreed("simulated", "auto"), "tuesday")
    with pytest.raises(UserError, match="holds vectors of 384 numbers, and dedup.embedding.encoder gives 2"):
        known.known(np.ones((1, 2), np.float32), index.located(), 0.9)


@pytest.mark.parametrize("file", ["vectors.bin", "ranks.bin", "cells.bin", "ids.bin", "rows.bin", "head.json"])
def test_a_damaged_file_is_named(rows, tmp_path, file, flipped) -> None:
    go(rows, ["a b c"], "monday", tmp_path / "i")
    [path] = (tmp_path / "i").rglob(file)
    content = path.read_bytes()
    for harm in (lambda: path.write_bytes(flipped(content)), lambda: path.write_bytes(content[:-2]), path.unlink):
        harm()
        with pytest.raises(Damaged, match=f"{path.parent.name}/(ids|rows|{path.stem})\\."):
            embeddings.find(night(rows, ["a b c"], "tuesday"), against=str(tmp_path / "i"), **KNOBS)


def test_an_update_that_breaks_off_leaves_the_index_as_it_was(rows, tmp_path, monkeypatch) -> None:
    index = tmp_path / "i"
    go(rows, ["a b c"], "monday", index)
    write = folder(str(tmp_path)).replace.__func__

    def full(self, name, content):
        if name == "head.json":
            raise OSError(28, "No space left on device")
        write(self, name, content)

    with monkeypatch.context() as patch:
        patch.setattr("pipelines.store.files.LocalFolder.replace", full)
        with pytest.raises(OSError, match="No space left"):
            go(rows, ["d e f"], "tuesday", index, 100)
    _, found = go(rows, ["a b c", "d e f"], "wednesday", index, 200)
    assert pairs(found) == {"000200": "000000"}
    assert len(list(index.glob("embedding/segment-*"))) == 2


def crowd(count: int, seed: int) -> np.ndarray:
    """Vectors of length 1 in loose groups."""
    rng = np.random.default_rng(seed)
    vectors = np.random.default_rng(1).normal(size=(60, 32))[rng.integers(0, 60, count)]
    vectors = vectors + 0.8 * rng.normal(size=(count, 32))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def large(monkeypatch, tmp_path):
    """An index of two nights at sizes that take the way of millions, and tonight's vectors: a fifth of them known."""
    for module, name, value in (
        (cells, "CELL_ROWS", 100),
        (vector_segment, "EXACT_ROWS", 500),
        (vector_segment, "PART_BYTES", 2000 * 32 * 4),
        (known, "EXACT_ROWS", 500),
        (known, "SAMPLED", 300),
        (known, "AGAINST", 64),
        (search, "BLOCK", 100),
    ):
        monkeypatch.setattr(module, name, value)
    before = crowd(6000, 2)
    index = Index(str(tmp_path), "embedding", {}, "")
    for number, half in enumerate((before[:3000], before[3000:])):
        ids = pa.array([f"{number}{i:05d}" for i in range(3000)])
        index.add(
            f"n{number}",
            "x",
            lambda place, ids=ids, half=half: vector_segment.write(place, [(ids, np.arange(3000), half)]),
        )
        index = Index(str(tmp_path), "embedding", {}, "")
    rng = np.random.default_rng(3)
    tonight = crowd(2500, 4)
    copies = rng.choice(2500, 500, replace=False)
    noisy = before[rng.choice(6000, 500)] + 0.05 * rng.normal(size=(500, 32))
    tonight[copies] = noisy / np.linalg.norm(noisy, axis=1, keepdims=True)
    return before, tonight, index


def first_of(before, tonight, threshold):
    close = tonight.astype(np.float64) @ before.astype(np.float64).T > threshold
    return {row: int(close[row].argmax()) for row in np.flatnonzero(close.any(axis=1)).tolist()}


def number(ids):
    return [3000 * int(id_[0]) + int(id_[1:]) for id_ in ids]


def test_of_a_large_index_the_nearest_cells_are_looked_into_and_what_was_missed_is_said(large) -> None:
    before, tonight, index = large
    found = known.known(tonight, index.located(), 0.9)
    truth = first_of(before, tonight, 0.9)
    ours = dict(zip(found.rows.tolist(), number(found.ids.take(pa.array(found.keepers)).to_pylist()), strict=True))
    assert len(truth) > 500
    assert not ours.keys() - truth.keys()
    assert len(ours) >= 0.985 * len(truth)
    assert found.stats["search"].startswith("k-means, up to ")
    assert found.stats["recall_rows"] > 50
    assert found.stats["recall"] >= 0.95
    assert (found.cosines > 0.9).all()


def test_with_every_cell_looked_into_a_large_index_is_searched_exactly(large, monkeypatch) -> None:
    before, tonight, index = large
    for name, value in (("WANTED", 2.0), ("MOST_CELLS", 1000)):
        monkeypatch.setattr(known, name, value)
    truth = first_of(before, tonight, 0.85)
    found = known.known(tonight, index.located(), 0.85)
    ours = dict(zip(found.rows.tolist(), number(found.ids.take(pa.array(found.keepers)).to_pylist()), strict=True))
    assert ours == truth
    assert found.stats["recall"] == 1.0


def test_a_part_of_the_index_is_in_memory_at_a_time(large) -> None:
    _, _, index = large
    assert len(index.counted) == 4 and sum(part.rows for part in index.counted) == 6000
    sizes = [part.stat().st_size for part in Path(index.place.url).rglob("vectors.bin")]
    assert max(sizes) <= vector_segment.PART_BYTES


def test_parts_without_a_cell_that_is_near_are_read_for_the_sample_alone(large) -> None:
    before, _, index = large
    rng = np.random.default_rng(5)
    near = before[0] + 0.05 * rng.normal(size=(1000, 32))
    found = known.known((near / np.linalg.norm(near, axis=1, keepdims=True)).astype(np.float32), index.located(), 0.9)
    size = sum(path.stat().st_size for path in Path(index.place.url).rglob("vectors.bin"))
    assert size < found.stats["bytes_read"] < 1.8 * size
    assert found.stats["recall"] >= 0.99 and len(found.rows) > 900


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(1, 60), min_size=2, max_size=6), most=st.integers(1, 80))
def test_every_row_comes_to_one_part_with_the_cell_that_it_is_nearest_to(sizes, most) -> None:
    vectors = crowd(sum(sizes), 6)
    ends = np.cumsum(sizes)
    pieces = [
        (
            pa.array([f"é{i}" for i in range(end - size, end)], pa.large_string()),
            np.arange(end - size, end),
            vectors[end - size : end],
        )
        for size, end in zip(sizes, ends.tolist(), strict=True)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cells, "CELL_ROWS", 10)
        made = list(parted(iter(pieces), most))
    ranks = np.concatenate([kept[1] for kept, _, _ in made])
    assert sorted(ranks.tolist()) == list(range(len(vectors)))
    middles = np.concatenate([some for _, some, _ in made])
    first = 0
    for (ids, mine, values), some, cell in made:
        assert ids.to_pylist() == [f"é{i}" for i in mine.tolist()]
        assert np.array_equal(values, vectors[mine])
        assert (first + cell).tolist() == cells.nearest(values, middles, 1)[:, 0].tolist()
        assert len(mine) <= most or len(set(cell.tolist())) == 1
        first += len(some)


def test_an_index_can_be_asked_by_several_threads_at_once(large) -> None:
    _, tonight, index = large
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: known.known(tonight[:900], index.located(), 0.9), range(4)))
    assert len(answers[0].rows) > 100
    for answer in answers:
        assert answer.rows.tolist() == answers[0].rows.tolist()
        assert answer.stats == answers[0].stats
