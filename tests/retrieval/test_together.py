"""Several processes train one model; what ends one of them is told as if there had been one."""

import pytest

from pipelines.errors import RunStopped
from pipelines.retrieval.together import _work, together


def rank_of(made):
    from sentence_transformers.util import get_rank, get_world_size

    return [float(get_rank()), float(get_world_size())]


def astray(made):
    raise RunStopped("training: the loss was no number")


def broken(made):
    raise ZeroDivisionError("nothing to divide by")


def test_the_first_of_them_tells_what_came_of_it(ray_here, tmp_path):
    assert together(rank_of, str(tmp_path), 1, "cpu") == [0.0, 1.0]
    assert together(rank_of, str(tmp_path), 2, "cpu") == [0.0, 2.0]
    assert not list(tmp_path.iterdir())


def test_an_end_for_a_reason_is_told_as_it_is(ray_here, tmp_path):
    with pytest.raises(RunStopped, match="^training: the loss was no number$"):
        together(astray, str(tmp_path), 2, "cpu")


def test_any_other_end_is_told_with_what_to_do(ray_here, tmp_path):
    with pytest.raises(RunStopped, match="training in 2 processes: .*nothing to divide by.*run the same command again"):
        together(broken, str(tmp_path), 2, "cpu")


def test_a_machine_that_does_not_see_the_folder_is_named(tmp_path):
    with pytest.raises(RunStopped, match=f"does not see {tmp_path}, where a model is trained together"):
        _work({"fit": rank_of, "made": str(tmp_path)})
