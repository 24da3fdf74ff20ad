"""Each figure of diversity moves the right way when texts collapse onto a few."""

import numpy as np
import pytest

from pipelines.report.diversity import diversity, vendi

ROLES = ("baker", "nurse", "pilot", "tailor", "potter", "weaver", "sailor", "teacher")
THINGS = ("lamps", "maps", "boats", "songs", "roots", "stars", "bones", "coins", "birds", "locks")


def sample(share, seed=0):
    """400 texts and vectors, of which ``share`` are one of three that are repeated almost as they are."""
    rng = np.random.default_rng(seed)
    texts, vectors = [], rng.normal(size=(400, 64))
    for row in range(400):
        if rng.random() < share:
            which = int(rng.integers(3))
            texts.append(f"A {ROLES[which]} who has a deep interest in old {THINGS[which]} and number {row}")
            vectors[row] = np.eye(64)[which] * 10 + rng.normal(size=64) * 0.3
        else:
            picked = [ROLES[rng.integers(8)], *(THINGS[i] for i in rng.integers(0, 10, 5))]
            texts.append(" ".join(f"{word}{rng.integers(40)}" for word in picked))
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return texts, (vectors / lengths).astype(np.float32)


@pytest.mark.parametrize(
    ("figure", "falls"),
    [
        ("distinct_1", True),
        ("distinct_2", True),
        ("distinct_3", True),
        ("self_overlap", False),
        ("vendi", True),
        ("cluster_entropy", True),
    ],
)
def test_a_collapse_moves_every_figure_the_right_way(figure, falls):
    none, half, most = (diversity(*sample(share))[figure] for share in (0.0, 0.5, 0.9))
    assert (none > half > most) if falls else (none < half < most)


def test_vendi_counts_what_is_different():
    assert vendi(np.eye(16, dtype=np.float32)) == pytest.approx(16)
    assert vendi(np.tile(np.eye(16, dtype=np.float32)[0], (9, 1))) == pytest.approx(1)
    assert vendi(np.repeat(np.eye(4, dtype=np.float32), 50, axis=0)) == pytest.approx(4)


def test_texts_alone_have_no_figures_of_meaning_and_no_texts_have_none():
    assert set(diversity(["a b c", "d"], None)) == {"texts", "distinct_1", "distinct_2", "distinct_3", "self_overlap"}
    assert diversity([], None) == {"texts": 0}
