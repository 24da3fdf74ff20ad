"""How much memory is free: what the machine has, or what a container may still take."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import psutil

#: Limit and use of a container, by the version of control groups; a limit that is no number is none.
_GROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def free() -> int:
    """Bytes that this process and others may still take, before something is killed."""
    found = int(psutil.virtual_memory().available)
    for limit, used in _GROUPS:
        with suppress(OSError, ValueError):
            found = min(found, max(0, int(Path(limit).read_text()) - int(Path(used).read_text())))
    return found
