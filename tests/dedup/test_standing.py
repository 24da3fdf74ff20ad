"""The standing index: tonight's rows against every earlier night's, exactly, and whatever happens to its files."""

import random
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.dedup import minhash
from pipelines.dedup.index import Index
from pipelines.errors import Damaged, UserError
from pipelines.store.files import folder

KNOBS = {"text_column": "text", "threshold": 0.7, "bands": 64}


def night(rows, texts, origin, first=0):
    """Rows of one night, with ids that rise from night to night."""
    source = rows(texts, [f"{first + i:06d}" for i in range(len(texts))])
    source.origin = origin
    return source


def kept(source, found):
    gone = set(found.removed["id"].to_pylist())
    table = source.table.filter(pa.array([id_ not in gone for id_ in source.table["id"].to_pylist()]))
    return type(source)(table, source.origin)


def some(rng, count):
    return [" ".join(rng.choices("abcdefghijk", k=rng.randint(0, 8))) for _ in range(count)]


def pairs(found):
    return dict(zip(found.removed["id"].to_pylist(), found.removed["keeper_id"].to_pylist(), strict=True))


def go(rows, texts, origin, index, first=0, **more):
    """A night: decide against the index, then add what stays."""
    source = night(rows, texts, origin, first)
    found = minhash.find(source, against=str(index), **KNOBS, **more)
    minhash.remember(
        kept(source, found),
        run=origin,
        state=repr(found.removed["id"].to_pylist()),
        against=str(index),
        **KNOBS,
        **more,
    )
    return source, found


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 10**6),
    clusters=st.sampled_from(["chains", "star"]),
    verify=st.sampled_from(["exact", "estimate"]),
)
def test_a_night_is_as_if_the_earlier_ones_had_come_before_it(tmp_path_factory, rows, seed, clusters, verify) -> None:
    index, rng = tmp_path_factory.mktemp("index"), random.Random(seed)
    how = {"clusters": clusters, "verify": verify}
    before = []
    for number in range(3):
        texts = some(rng, 40)
        rng.shuffle(texts)
        alone = night(rows, texts, f"run{number}", 1000 * number)
        order = rng.sample(range(len(texts)), len(texts))  # ids do not rise with the rows
        alone.table = alone.table.take(order)
        together = pa.concat_tables([*before, alone.table])
        whole = minhash.find(type(alone)(together), **KNOBS, **how)
        source, found = go(rows, texts, f"run{number}", index, 1000 * number, **how)
        ours = set(source.table["id"].to_pylist())
        assert pairs(found) == {id_: keeper for id_, keeper in pairs(whole).items() if id_ in ours}
        assert found.stats["against"]["rows"] == sum(len(table) for table in before)
        before.append(kept(source, found).table)


def test_removed_rows_name_the_row_of_the_earlier_night(rows, tmp_path) -> None:
    text = "a retired lighthouse keeper who restores brass barometers"
    go(rows, [text, "a nurse who collects maps"], "monday", tmp_path / "i")
    _, found = go(rows, [f"{text} daily", "a diver"], "tuesday", tmp_path / "i", 100)
    assert found.removed.select(["id", "keeper_id", "via_id", "similarity"]).to_pylist() == [
        {"id": "000100", "keeper_id": "000000", "via_id": "000000", "similarity": 8 / 9}
    ]
    told = found.stats["against"]
    assert (told["rows"], told["removed"]) == (2, 1)
    band_keys = sum(file.stat().st_size for file in (tmp_path / "i").rglob("band-*"))
    assert told["bytes_read"] < band_keys  # of Monday's half, once, and one candidate


def test_a_run_is_not_checked_against_itself_and_replaces_its_own_segment(rows, tmp_path) -> None:
    index = tmp_path / "i"
    go(rows, ["a b c", "d e f"], "monday", index)
    _, again = go(rows, ["a b c", "d e f"], "monday", index)
    assert again.stats["removed"] == 0
    _, found = go(rows, ["a b c"], "tuesday", index, 100)
    assert found.stats["against"]["rows"] == 2


def test_a_run_that_has_not_changed_is_not_added_again(rows, tmp_path) -> None:
    for _ in range(2):
        minhash.remember(night(rows, ["a b"], "monday"), run="monday", state="x", against=str(tmp_path / "i"), **KNOBS)
    assert [path.name for path in (tmp_path / "i").rglob("version-*")] == ["version-00001.json"]


def test_an_index_made_with_other_settings_is_refused(rows, tmp_path) -> None:
    go(rows, ["a b c"], "monday", tmp_path / "i")
    with pytest.raises(UserError, match=r"other settings:\n  dedup.minhash.ngram: 1 -> 2"):
        minhash.find(night(rows, ["a b c"], "tuesday"), against=str(tmp_path / "i"), ngram=2, **KNOBS)
    grouped = {**KNOBS, "against": str(tmp_path / "grouped"), "within": "text"}
    minhash.remember(night(rows, ["a b c"], "monday"), run="monday", state="1", **grouped)
    with pytest.raises(UserError, match=r"other settings:\n  dedup.minhash.within: text -> None"):
        minhash.find(night(rows, ["a b c"], "tuesday"), **{**grouped, "within": None})
    # One column in a list is that column.
    found = minhash.find(night(rows, ["a b c"], "tuesday"), **{**grouped, "within": ["text"]})
    assert found.stats["removed"] == 1


def test_a_folder_of_other_things_is_no_index(rows, tmp_path) -> None:
    (tmp_path / "diary.txt").write_text("mine")
    with pytest.raises(UserError, match=r"holds diary.txt, which is no index"):
        minhash.find(night(rows, ["a b c"], "monday"), against=str(tmp_path), **KNOBS)


@pytest.mark.parametrize("file", ["head.bin", "band-00.bin", "sets.bin", "ids.bin", "rows.bin", "version-00001.json"])
def test_a_damaged_file_is_named(rows, tmp_path, file, flipped) -> None:
    go(rows, ["a b c"], "monday", tmp_path / "i")
    [path] = (tmp_path / "i").rglob(file)
    path.write_bytes(flipped(path.read_bytes()))
    with pytest.raises(Damaged, match=path.parent.name if file != "version-00001.json" else path.name):
        minhash.find(night(rows, ["a b c"], "tuesday"), against=str(tmp_path / "i"), **KNOBS)


def test_an_update_that_breaks_off_leaves_the_index_as_it_was(rows, tmp_path, monkeypatch) -> None:
    index = tmp_path / "i"
    go(rows, ["a b c"], "monday", index)
    written = []

    def full(self, name, content):
        if len(written) == 5:
            raise OSError(28, "No space left on device")
        written.append(name)
        (Path(self.url)).mkdir(parents=True, exist_ok=True)
        (Path(self.url) / name).write_bytes(content)

    with monkeypatch.context() as patch:
        patch.setattr("pipelines.store.files.LocalFolder.replace", full)
        with pytest.raises(OSError, match="No space left"):
            go(rows, ["d e f"], "tuesday", index, 100)
    _, found = go(rows, ["a b c", "d e f"], "wednesday", index, 200)
    assert pairs(found) == {"000200": "000000"}


def test_of_two_writers_one_is_refused(rows, tmp_path) -> None:
    first, second = (Index(str(tmp_path / "i"), "minhash", {"bands": 64}, run) for run in ("monday", "tuesday"))
    first.add("monday", "x", lambda place: [("00000", 1, "seal")])
    with pytest.raises(UserError, match="another run changed the index meanwhile"):
        second.add("tuesday", "x", lambda place: [("00000", 1, "seal")])


def test_an_index_that_lost_its_newest_version_is_refused(rows, tmp_path) -> None:
    go(rows, ["a b c"], "monday", tmp_path / "i")
    go(rows, ["d e f"], "tuesday", tmp_path / "i", 100)
    (tmp_path / "i" / "minhash" / "version-00002.json").unlink()
    with pytest.raises(Damaged, match=r"version-00002.json is missing"):
        minhash.find(night(rows, ["a b c"], "wednesday", 200), against=str(tmp_path / "i"), **KNOBS)
    assert len(list((tmp_path / "i" / "minhash").glob("segment-*"))) == 2


def test_what_no_version_names_any_more_is_deleted(rows, tmp_path) -> None:
    index = tmp_path / "i" / "minhash"
    go(rows, ["a b c", "d e f"], "monday", tmp_path / "i")
    [first] = index.glob("segment-*")
    (index / "segment-broken-off").mkdir()
    minhash.remember(
        night(rows, ["a b c"], "monday"), run="monday", state="another", against=str(tmp_path / "i"), **KNOBS
    )
    [second] = index.glob("segment-*")
    assert second.name != first.name


def test_a_large_night_is_several_segments(rows, tmp_path, monkeypatch) -> None:
    texts = some(random.Random(5), 60)
    monkeypatch.setattr(minhash, "SEGMENT_ROWS", 25)
    source = night(rows, texts, "monday")
    minhash.remember(source, run="monday", state="x", against=str(tmp_path / "i"), **KNOBS)
    assert len(list((tmp_path / "i").rglob("head.bin"))) == 3
    copies = [text for text in texts if text]
    found = minhash.find(night(rows, copies, "tuesday", 1000), against=str(tmp_path / "i"), **KNOBS)
    assert found.stats["against"]["removed"] == len(copies)


def test_every_night_before_is_looked_through_with_the_default_bands(rows, tmp_path) -> None:
    """Segments are sorted each by itself; what one has is found whatever the others have."""
    rng, index = random.Random(11), tmp_path / "i"
    words = [f"word{i}" for i in range(5000)]
    nights = [[" ".join(rng.sample(words, 12)) for _ in range(800)] for _ in range(4)]
    for number, texts in enumerate(nights):
        source = night(rows, texts, f"run{number}", 10_000 * number)
        minhash.remember(source, run=f"run{number}", state="x", text_column="text", against=str(index))
    copies = [texts[place] for texts in nights for place in (0, 399, 799)]
    # Beside rows that share a word or two with many, so that every night has keys of its own.
    near = [" ".join([*texts[place].split()[:11], "other"]) for texts in nights for place in range(100, 300)]
    found = minhash.find(night(rows, [*copies, *near], "tonight", 90_000), text_column="text", against=str(index))
    gone = set(found.removed["id"].to_pylist())
    assert {f"{90_000 + i:06d}" for i in range(len(copies))} <= gone
    assert found.stats["against"]["rows"] == 3200


def test_what_a_first_update_left_that_broke_off_is_no_strangers_folder(rows, tmp_path, monkeypatch) -> None:
    index = tmp_path / "i"
    with monkeypatch.context() as patch:
        patch.setattr("pipelines.store.files.LocalFolder.create", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
        with pytest.raises(OSError, match="full"):
            go(rows, ["a b c"], "monday", index)
    assert list(index.rglob("segment-*"))
    go(rows, ["a b c"], "monday", index)
    _, found = go(rows, ["c b a"], "tuesday", index, 100)
    assert pairs(found) == {"000100": "000000"}


def test_a_night_that_keeps_nothing_is_a_segment_without_rows(rows, tmp_path) -> None:
    index = tmp_path / "i"
    minhash.remember(night(rows, [], "monday"), run="monday", state="x", against=str(index), **KNOBS)
    _, found = go(rows, ["a b c"], "tuesday", index, 100)
    assert (found.stats["removed"], found.stats["against"]["rows"]) == (0, 0)


def test_a_run_that_decides_again_is_held_against_what_came_before_it(rows, tmp_path) -> None:
    """Not against later nights, whose rows may be there only because of its own."""
    index = tmp_path / "i"
    go(rows, ["a b c d"], "monday", index)
    go(rows, ["e f g h"], "tuesday", index, 100)
    _, again = go(rows, ["a b c d", "e f g h"], "monday", index)
    assert again.stats["removed"] == 0
    _, later = go(rows, ["h g f e", "x y z"], "wednesday", index, 200)
    assert len(later.removed) == 1


@pytest.mark.parametrize("file", ["head.bin", "band-00.bin", "sets.bin", "rows.bin"])
def test_a_file_that_is_lost_or_cut_is_named(rows, tmp_path, file) -> None:
    go(rows, ["a b c"], "monday", tmp_path / "i")
    [path] = (tmp_path / "i").rglob(file)
    content = path.read_bytes()
    for harm in (lambda: path.write_bytes(content[:-5]), path.unlink):
        harm()
        with pytest.raises(Damaged, match=path.parent.name):
            minhash.find(night(rows, ["a b c"], "tuesday"), against=str(tmp_path / "i"), **KNOBS)


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6))
def test_rows_are_held_against_what_a_run_kept_before_as_against_an_index(tmp_path_factory, rows, seed) -> None:
    rng = random.Random(seed)
    first, second = night(rows, some(rng, 40), "r"), night(rows, some(rng, 40), "r", first=100)
    stays = kept(first, minhash.find(first, **KNOBS))
    place = folder(str(tmp_path_factory.mktemp("before")))
    before = [(place.sub(name).url, count, seal) for name, count, seal in minhash.segment(stays, place, **KNOBS)]
    found = minhash.find(second, before=before, **KNOBS)
    index = tmp_path_factory.mktemp("index")
    minhash.remember(stays, run="earlier", state="s", against=str(index), **KNOBS)
    assert pairs(found) == pairs(minhash.find(second, against=str(index), **KNOBS))
    assert found.stats["before"]["rows"] == len(stays.table)
