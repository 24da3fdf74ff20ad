"""What is shown while a run goes on: plain lines where stderr is no terminal, a rate from the recent window."""

import io

import pytest
from rich.console import Console

from pipelines import progress
from pipelines.progress import Progress
from pipelines.store.ledger import Entry


def entry(rows: int, kept: int, failed: int = 0) -> Entry:
    return Entry("personas", "f" * 32, 0, "a", rows, kept, rows - kept - failed, failed, rows, kept)


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def shown(console: Console) -> list[str]:
    return console.file.getvalue().splitlines()


def test_plain_lines_come_seldom_and_say_what_is_committed_kept_and_left(clock):
    console = Console(file=io.StringIO(), width=200)
    with Progress(console) as seen:
        seen.begin("personas", 1000, [entry(100, 90)])
        seen.waiting("loading the model (1 s)")
        clock.now += 20
        seen.waiting("loading the model (21 s)")
        seen.show({"rows": 0, "tokens": 0, "running": 64})
        clock.now += 10
        seen.show({"rows": 100, "tokens": 4000, "running": 64})
        seen.add(entry(100, 80, failed=5))
        clock.now += 10
        seen.show({"rows": 200, "tokens": 8000, "running": 64})
    assert shown(console) == [
        "personas: 1,000 rows, 100 committed before",
        "loading the model (21 s)",
        "personas: 200/1,000 rows committed · 170 kept · 5 failed · 100 more answered · 64 answers under way "
        "· 400 tokens/s · about 80 s left",
    ]


def test_the_rate_forgets_a_slow_start(clock):
    console = Console(file=io.StringIO(), width=200)
    seen = Progress(console)
    seen.begin("personas", 10_000, [])
    for _ in range(30):  # five minutes of one row a second, then two of ten
        clock.now += 10
        seen.show({"rows": int(clock.now - 1000)})
    for second in range(10, 130, 10):
        clock.now += 10
        seen.show({"rows": 300 + 10 * second})
    assert shown(console)[-1].endswith("about 17 min left")  # 10,000 rows at 10 a second


def test_a_terminal_gets_one_live_line():
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with Progress(console) as seen:
        seen.begin("personas", 10, [])
        seen.show({"rows": 3})
        assert "0/10 rows committed" in str(seen._status.status)
