"""What a stage says of itself: how many rows its shards have, and how many shards go at once."""

import pytest

from pipelines.stages.stage import Stage


@pytest.mark.parametrize(
    ("calls", "draws", "rows", "shards"),
    [
        (1, 1, 16, 8),
        (4, 1, 4, 32),
        (12, 1, 1, 128),
        (80, 1, 1, 128),
        (1, 4, 4, 8),  # each of a row's samples takes a slot
        (4, 4, 1, 32),
        (3, 1, 5, 26),
    ],
)
def test_smaller_shards_have_the_same_rows_under_way(calls, draws, rows, shards):
    stage = Stage(1, "taught", "flow", {"calls": calls}, {}, "0" * 32, draws=draws)
    assert stage.shard_rows(16, 1000) == rows
    assert stage.shards_at_once(8, 16) == shards
    assert rows * shards * draws >= 8 * 16


@pytest.mark.parametrize(("node", "rows"), [({}, 1000), ({"shard_rows": 8}, 8)])
def test_a_stage_that_asks_nothing_has_large_shards_unless_it_says_otherwise(node, rows):
    assert Stage(1, "ranked", "map", node, {}, "0" * 32).shard_rows(16, 1000) == rows
