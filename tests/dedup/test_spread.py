"""Where memory does not hold the rows, the same rows go: through files, in any number of tasks."""

import random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pipelines.dedup import minhash
from pipelines.dedup.found import ROW_REMOVED
from pipelines.dedup.lsh.components import components, found_labels, labelled
from pipelines.dedup.lsh.exchange import put
from pipelines.dedup.workers import Threads
from pipelines.errors import Damaged
from pipelines.store.files import folder

#: Bytes that hold a few rows at a time: every step is many tasks.
LITTLE = 60_000
KNOBS = {"text_column": "text", "threshold": 0.6, "num_permutations": 32, "bands": 16}


WORDS = [f"word{number}" for number in range(2000)]


def some(rng: random.Random, count: int) -> list[str]:
    return [" ".join(rng.choices("abcdefghijklmnop", k=rng.randint(0, 9))) for _ in range(count)]


#: An example takes a second: what hypothesis finds is not made smaller.
QUICK = [Phase.explicit, Phase.reuse, Phase.generate]


@settings(deadline=None, max_examples=12, phases=QUICK, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 10**6),
    clusters=st.sampled_from(["chains", "star"]),
    verify=st.sampled_from(["exact", "estimate"]),
    keep=st.sampled_from(["first", "longest", "highest"]),
)
def test_files_and_memory_decide_alike(rows, seed, clusters, verify, keep) -> None:
    rng = random.Random(seed)
    ids = rng.sample([f"{i:06d}" for i in range(300)], 300)  # they do not rise with the rows
    source = rows(some(rng, 300), ids)
    scores = [rng.choice([None, float("nan"), 1.0, 2.0, 3.0]) for _ in range(300)]
    source.table = source.table.append_column("score", pa.array(scores, pa.float64()))
    how = {**KNOBS, "clusters": clusters, "verify": verify, "keep": keep, "score_column": "score"}
    memory = minhash.find(source, **how)
    files = minhash.find(source, **how, workers=Threads(LITTLE, 2))
    assert files.removed.equals(memory.removed)
    assert (memory.stats.pop("in_memory"), files.stats.pop("in_memory")) == (True, False)
    for found in (memory, files):
        del found.stats["estimated_gib"]
    if clusters == "star":  # candidates of several components are not compared in files
        del memory.stats["pairs_compared"], files.stats["pairs_compared"]
    assert files.stats == memory.stats


@pytest.mark.parametrize("clusters", ["chains", "star"])
def test_files_and_memory_are_held_against_an_index_alike(rows, tmp_path, clusters) -> None:
    rng = random.Random(7)
    knobs = {**KNOBS, "clusters": clusters, "against": str(tmp_path / "index")}
    for night in range(3):
        source = rows(some(rng, 200), [f"{night}-{i:04d}" for i in range(200)])
        source.origin = f"night {night}"
        memory = minhash.find(source, **knobs)
        files = minhash.find(source, **knobs, workers=Threads(LITTLE, 2))
        assert files.removed.equals(memory.removed)
        assert files.stats["in_memory"] is False
        for found in (memory, files):  # the same rows of the index are read again for another group
            found.stats["against"].pop("bytes_read")
        assert files.stats["against"] == memory.stats["against"]
        assert night == 0 or memory.stats["against"]["removed"] > 0
        gone = set(memory.removed["id"].to_pylist())
        kept = source.table.filter(pa.array([id_ not in gone for id_ in source.table["id"].to_pylist()]))
        minhash.remember(type(source)(kept), run=source.origin, state="end", **knobs)


def test_decisions_come_in_blocks_of_rows_in_order(rows, tmp_path) -> None:
    rng = random.Random(3)
    source = rows(some(rng, 300), rng.sample([f"{i:06d}" for i in range(300)], 300))
    found = minhash.find(source, **KNOBS, workers=Threads(LITTLE / 4, 2), spill=str(tmp_path))
    assert (tmp_path / "small-1-0").exists()  # no process was let hold all edges
    blocks = list(found.blocks)
    assert len(blocks) > 3
    assert all(block.schema == ROW_REMOVED for block in blocks)
    named = [row for block in blocks for row in sorted(block["row"].to_pylist())]
    assert named == sorted(named)
    ids = source.table["id"].to_pylist()
    for block in blocks:
        assert [ids[row] for row in block["row"].to_pylist()] == block["id"].to_pylist()
    assert found.removed.equals(minhash.find(source, **KNOBS).removed)


def test_segments_that_are_whole_are_not_made_again(rows, tmp_path) -> None:
    source = rows(some(random.Random(3), 300))
    first = minhash.find(source, **KNOBS, workers=Threads(LITTLE, 2), spill=str(tmp_path))
    made = {path: path.stat().st_mtime_ns for path in tmp_path.glob("segment-*/*")}
    second = sorted(tmp_path.glob("segment-*"))[1]
    (second / "done.bin").unlink()
    again = minhash.find(source, **KNOBS, workers=Threads(LITTLE, 2), spill=str(tmp_path))
    assert again.removed.equals(first.removed)
    changed = {path.parent.name for path, when in made.items() if path.stat().st_mtime_ns != when}
    assert changed == {second.name}


def test_segments_of_another_cut_are_not_taken_for_these(rows, tmp_path) -> None:
    source = rows(some(random.Random(3), 300))
    for memory in (LITTLE, LITTLE / 3, LITTLE * 2):
        found = minhash.find(source, **KNOBS, workers=Threads(memory, 2), spill=str(tmp_path))
        assert found.removed.equals(minhash.find(source, **KNOBS).removed)


def test_rows_that_grow_longer_go_through_files_when_memory_is_full(rows) -> None:
    rng = random.Random(5)
    texts = [*some(rng, 180), *(" ".join(rng.choices(WORDS, k=300)) for _ in range(120))]
    found = minhash.find(rows(texts), **KNOBS, memory_gib=0.0004)
    assert found.stats["in_memory"] is False
    assert found.removed.equals(minhash.find(rows(texts), **KNOBS).removed)


def test_a_damaged_segment_is_named(rows, tmp_path) -> None:
    source = rows(some(random.Random(3), 300))
    minhash.find(source, **KNOBS, workers=Threads(LITTLE, 2), spill=str(tmp_path))
    band = min(tmp_path.glob("segment-*")) / "band-03.bin"
    band.write_bytes(b"\x01" + band.read_bytes()[1:])
    with pytest.raises(Damaged, match=r"segment-000000000000-\d+/band-03.bin is damaged"):
        minhash.find(source, **KNOBS, workers=Threads(LITTLE, 2), spill=str(tmp_path))


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    edges=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=80),
    parts=st.integers(1, 5),
)
def test_components_in_turns_are_those_found_at_once(tmp_path_factory, edges, parts) -> None:
    _same_components(tmp_path_factory, [edge for edge in edges if edge[0] != edge[1]], parts)


def test_a_long_chain_is_one_component(tmp_path_factory) -> None:
    numbers = list(range(500))
    random.Random(1).shuffle(numbers)
    _same_components(tmp_path_factory, list(zip(numbers, numbers[1:], strict=False)), 4)


def _same_components(tmp_path_factory, edges, parts) -> None:
    place = folder(str(tmp_path_factory.mktemp("edges")))
    every = np.array(edges, np.int64).reshape(-1, 2)
    for number in range(3):
        put(place, f"edges-in-{number}", [every[number::3].ravel()])
    files, _ = labelled(place, [f"edges-in-{number}" for number in range(3)], parts, Threads(1e9, 1))
    found: dict[int, int] = {}
    for part in range(parts):
        nodes, lowest = found_labels(place, files, part)
        found.update(zip(nodes.tolist(), lowest.tolist(), strict=True))
    nodes, _, places = components(every)
    lowest = nodes[places]
    assert found == {n: low for n, low in zip(nodes.tolist(), lowest.tolist(), strict=True) if n != low}
