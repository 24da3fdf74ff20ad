"""The process that ``alone.py`` works with, started before the driver has imported anything or read its settings.

Until then it imports what it will need, on a CPU that would have nothing to do. A run that turns out not to need it
lets it go. Nothing but the standard library is imported here.
"""

from __future__ import annotations

import gc
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

#: What the process runs; it imports from where the driver does, and looks for garbage as often. The driver drains on
#: these signals; it ends with the driver.
_SERVE = """import gc, signal, sys
gc.set_threshold(*{gc!r})
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
sys.path[:] = {path!r}
from pipelines.stages.alone import serve
serve()"""


class Process(NamedTuple):
    """A process, and our end of the socket over which it is asked; it ends when that closes."""

    process: subprocess.Popen[bytes]
    socket: socket.socket

    def end(self) -> None:
        """Close the socket and end the process; what it has not committed is done again."""
        self.socket.close()
        self.process.kill()
        self.process.wait()


#: The one that the command has started and no run has taken yet.
_waiting: list[Process] = []


@contextmanager
def started() -> Iterator[None]:
    """Have a process start for the command inside, which may take it."""
    _waiting.append(_start())
    try:
        yield
    finally:
        let_go()


def taken() -> Process:
    """The process that waits, or a new one."""
    return _waiting.pop() if _waiting else _start()


def let_go() -> None:
    """End the process that waits."""
    while _waiting:
        _waiting.pop().end()


def _start() -> Process:
    ours, theirs = socket.socketpair()
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", _SERVE.format(path=sys.path, gc=gc.get_threshold()), str(theirs.fileno())],
        pass_fds=[theirs.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    theirs.close()
    return Process(process, ours)
