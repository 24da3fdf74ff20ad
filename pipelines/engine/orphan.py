"""Ends vLLM's processes when the process that owns them dies without a word.

vLLM 0.32 leaves its engine core and workers running, with the GPU's memory, when their owner is killed by SIGKILL. A
worker imports this module through vLLM's ``worker_extension_cls`` and waits for the owner's death in a thread. Only
for workers on the owner's machine; Ray ends those on others.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
from contextlib import suppress

#: Host name and process id of the owner, for the workers that inherit it.
VARIABLE = "NIGHTMILL_ENGINE_OWNER"


def own() -> None:
    """Make this process the owner of the engine it starts next."""
    os.environ[VARIABLE] = f"{socket.gethostname()} {os.getpid()}"


def _wait_and_end(owner: int) -> None:
    with suppress(ProcessLookupError):
        process = os.pidfd_open(owner)
        poller = select.poll()
        poller.register(process, select.POLLIN)
        while not poller.poll():
            pass
    # The engine core, where it is another process, ends when it loses a worker.
    os.kill(os.getpid(), signal.SIGKILL)


def _watch() -> None:
    host, _, owner = os.environ.get(VARIABLE, "").rpartition(" ")
    if host == socket.gethostname() and int(owner) != os.getpid() and hasattr(os, "pidfd_open"):
        threading.Thread(target=_wait_and_end, args=(int(owner),), name="nightmill-orphan", daemon=True).start()


class WorkerExtension:
    """Adds nothing to vLLM's worker: making vLLM import this module is the point."""


_watch()
