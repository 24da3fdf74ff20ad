"""Which rows of a run its diversity is measured on."""

import numpy as np
import pyarrow as pa

from pipelines.report.sample import diversity_of
from pipelines.store.commit import to_parquet
from pipelines.store.dataset import part_name
from pipelines.store.files import folder

TEXTS = ["A baker of rye", "A nurse on nights", "A diver who sings"]


def stored(place, table):
    folder(str(place)).create(part_name(0), to_parquet(pa.table(table)))
    return str(place)


def vectors(place, ids):
    made = np.eye(4, dtype=np.float32)[: len(ids)]
    values = pa.FixedSizeListArray.from_arrays(pa.array(made.ravel()), 4)
    return stored(place, {"id": ids, "vector": values})


def test_rows_that_are_kept_are_looked_at_by_the_vectors_that_were_made_of_them(tmp_path):
    kept = stored(tmp_path / "kept", {"id": ["a", "b", "c"], "text": TEXTS})
    found = diversity_of([(kept, {0: 3})], "text", [vectors(tmp_path / "made", ["a", "gone", "c"])])
    assert (found["texts"], found["vendi"]) == (2, 2.0)


def test_rows_that_a_later_flow_made_have_their_words_looked_at(tmp_path):
    kept = stored(tmp_path / "kept", {"id": ["x", "y", "z"], "text": TEXTS})
    found = diversity_of([(kept, {0: 3})], "text", [vectors(tmp_path / "made", ["a", "b", "c"])])
    assert found["texts"] == 3 and found["distinct_1"] > 0.5 and "vendi" not in found
    assert diversity_of([], "text", [])["texts"] == 0
