"""Of the judged queries each has one use: trained on, held out to choose a weight by, or measured."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.retrieval.collection import locate
from pipelines.retrieval.splits import also_measured, held_out, tuning_queries


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    """Twenty queries of the training split, three of which are measured too."""
    place = tmp_path_factory.mktemp("collection")
    names = [f"q{number}" for number in range(20)]
    pq.write_table(pa.table({"doc_id": ["d"], "text": ["A lute."]}), place / "corpus.parquet")
    pq.write_table(pa.table({"query_id": names, "text": ["lute"] * 20}), place / "queries.parquet")
    rows = {"query_id": [*names, *names[:3]], "doc_id": ["d"] * 23, "score": [1] * 23}
    pq.write_table(pa.table(rows | {"split": ["train"] * 20 + ["test"] * 3}), place / "qrels.parquet")
    return locate(str(place))


@given(most=st.integers(0, 30), seed=st.integers(0, 5))
def test_no_query_has_two_uses(collection, most, seed):
    how = {"collection": collection, "split": "train", "measured": "test", "most": most, "seed": seed}
    tuned = {row["query_id"] for row in tuning_queries(**how)}
    pairs = pa.table({"query_id": [f"q{number}" for number in range(20)] + [""]})
    out = held_out(pairs, **how).to_pylist()
    measured = also_measured(pairs, collection=collection, measured="test").to_pylist()
    assert {id_ for id_, gone in zip(pairs["query_id"].to_pylist(), out, strict=True) if gone} == tuned
    assert measured == [True] * 3 + [False] * 18
    assert not any(one and other for one, other in zip(out, measured, strict=True))
    # 17 are left to train on, and a fifth of these is what may be held out.
    assert len(tuned) == min(most, 3)


def test_another_seed_holds_out_others(collection):
    how = {"collection": collection, "split": "train", "measured": "test", "most": 3}
    assert len({tuple(row["query_id"] for row in tuning_queries(**how, seed=seed)) for seed in range(10)}) > 5
