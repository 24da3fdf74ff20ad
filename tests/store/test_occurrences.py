"""Counting earlier equals: the compact count equals the plain one."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipelines.store.occurrences import Occurrences

few = st.integers(0, 5)
extremes = st.sampled_from([0, 1, 2**63 - 1, 2**63, 2**64 - 1])


@given(st.lists(st.lists(few | extremes, max_size=12), max_size=20))
def test_numbers_are_those_of_a_dict(batches):
    seen, plain = Occurrences(), Counter()
    for batch in batches:
        expected = []
        for key in batch:
            expected.append(plain[key])
            plain[key] += 1
        assert seen.number(np.array(batch, np.uint64)).tolist() == expected


def test_few_runs_are_kept_and_8_bytes_a_key():
    seen = Occurrences()
    rng = np.random.default_rng(0)
    for _ in range(300):
        seen.number(rng.integers(0, 2**64, 100, np.uint64))
    sizes = [run.size for run in seen._runs]
    assert sum(sizes) == 30_000
    assert len(sizes) <= 10
    assert all(run.dtype == np.uint64 for run in seen._runs)
