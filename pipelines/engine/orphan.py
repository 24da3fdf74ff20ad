"""Ends vLLM's processes when the process that owns them dies without a word.

vLLM 0.32 leaves its engine core and workers running, with the device's memory, when their owner is killed by SIGKILL.
So vLLM's workers, and nothing else, import this module (engine/vllm.py names it as ``worker_extension_cls``): it waits
for the owner's death in a thread. Only on the owner's machine; Ray ends workers on others.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
from contextlib import suppress


class WorkerExtension:
    """Adds nothing to vLLM's worker: making vLLM import this module is the point."""


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
    host, _, owner = os.environ.get("NIGHTMILL_ENGINE_OWNER", "").rpartition(" ")
    if host == socket.gethostname() and hasattr(os, "pidfd_open"):
        threading.Thread(target=_wait_and_end, args=(int(owner),), name="nightmill-orphan", daemon=True).start()


_watch()
