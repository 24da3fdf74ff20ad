"""The first Ctrl-C (or SIGTERM) drains: shards under way are finished and committed. The second stops at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupt:
    """Whether somebody asked the run to end."""

    def __init__(self) -> None:
        self.asked = threading.Event()

    def __bool__(self) -> bool:
        return self.asked.is_set()


@contextmanager
def interruptible(say: Callable[[str], None]) -> Iterator[Interrupt]:
    """Within the block, the first signal sets the yielded flag and the second raises KeyboardInterrupt.

    Outside the main thread (a sweep in a notebook, say) Python allows no handlers, and signals act as usual.
    """
    interrupt = Interrupt()

    def handle(number: int, frame: FrameType | None) -> None:
        if interrupt:
            raise KeyboardInterrupt
        interrupt.asked.set()
        say("finishing and committing the shards under way; Ctrl-C again stops at once")

    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupt
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
