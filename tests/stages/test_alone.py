"""The process beside the driver that works where no model is asked."""

import os
import signal
import time

import psutil
import pytest

from pipelines.compose import compose
from pipelines.errors import RunStopped, UserError
from pipelines.stages.ahead import started
from pipelines.stages.alone import Alone
from pipelines.stages.hands import hands_of


def twice(number: int) -> tuple[int, int]:
    return 2 * number, os.getpid()


def counting(to: int):
    yield from range(to)


def mistaken() -> None:
    raise UserError("text_column=x: no such column")


def dying() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def alone():
    made = Alone()
    yield made
    made.close()


def test_work_is_done_in_a_process_of_its_own(alone) -> None:
    result, pid = alone.apart(twice, 21)
    assert (result, pid != os.getpid()) == (42, True)
    assert alone.apart(twice, 1)[1] == pid
    assert list(alone.stream(counting, 3)) == [0, 1, 2]


def test_what_it_raises_is_raised_here(alone) -> None:
    with pytest.raises(UserError, match="no such column"):
        alone.apart(mistaken)
    assert alone.apart(twice, 2)[0] == 4


def test_its_death_is_an_early_end_of_the_run(alone) -> None:
    with pytest.raises(RunStopped, match=r"ended \(-9\), of too little memory perhaps"):
        alone.apart(dying)


def test_what_is_done_meanwhile_can_end_it(alone) -> None:
    def asked() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        alone.apart(time.sleep, 60, meanwhile=asked)
    pid = alone._process.pid
    alone.close()
    assert not psutil.pid_exists(pid)


def test_signals_to_the_group_are_the_drivers(alone) -> None:
    alone.apart(twice, 1)
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(alone._process.pid, number)
    assert alone.apart(twice, 2)[0] == 4


@pytest.mark.parametrize(
    ("overrides", "kind"),
    [
        (["recipe=dedup", "dedup.embedding.enabled=false"], "Alone"),
        (["recipe=dedup"], "Together"),
        (["recipe=text_to_persona"], "Together"),
        (["recipe=dedup", "dedup.embedding.enabled=false", "cluster.address=127.0.0.1:6379"], "Together"),
    ],
)
def test_ray_is_for_models_encoders_and_clusters(overrides, kind, monkeypatch, tmp_path) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    config = compose([*overrides, f"input={tmp_path}", f"output={tmp_path}/r"])
    with hands_of(config, print) as hands:
        assert type(hands).__name__ == kind


def test_the_process_of_a_command_is_taken_by_the_run_that_needs_it() -> None:
    with started():
        waiting = waiting_pid()
        made = Alone()
        assert made.apart(twice, 21)[1] == waiting
        other = Alone()
        assert other.apart(twice, 21)[1] != waiting
        for one in (made, other):
            one.close()
    assert not psutil.pid_exists(waiting)


def test_a_command_that_needs_no_process_leaves_none(tmp_path) -> None:
    with started():
        waiting = waiting_pid()
        config = compose(["recipe=text_to_persona", "input=x", f"output={tmp_path}"])
        with hands_of(config, print):
            assert not psutil.pid_exists(waiting)
    with pytest.raises(UserError), started():
        waiting = waiting_pid()
        raise UserError("a mistake in a setting")
    assert not psutil.pid_exists(waiting)


def waiting_pid() -> int:
    """The process that waits for a run."""
    [child] = [one for one in psutil.Process().children() if "alone" in " ".join(one.cmdline())]
    return child.pid
