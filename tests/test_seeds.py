"""The sample seeds: enough of them, of many kinds, all different, each of a length that says something."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

SEEDS = pq.read_table(Path(__file__).resolve().parents[1] / "scripts" / "sample_seeds.parquet")


def test_there_are_about_64_of_many_domains() -> None:
    assert SEEDS.column_names == ["seed_id", "domain", "title", "text"]
    assert 64 <= SEEDS.num_rows <= 80
    assert len(set(SEEDS["domain"].to_pylist())) >= 16


@pytest.mark.parametrize("column", ["seed_id", "title", "text"])
def test_no_two_are_the_same(column: str) -> None:
    values = SEEDS[column].to_pylist()
    assert all(values)
    assert len(set(values)) == SEEDS.num_rows


def test_the_first_twenty_are_of_twenty_domains() -> None:
    """A first look with ``limit=20`` sees twenty different people."""
    assert len(set(SEEDS["domain"].to_pylist()[:20])) == 20


def test_each_is_a_passage_of_80_to_200_words() -> None:
    lengths = [len(text.split()) for text in SEEDS["text"].to_pylist()]
    assert 80 <= min(lengths)
    assert max(lengths) <= 200
