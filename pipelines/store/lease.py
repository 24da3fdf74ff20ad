"""One driver per run directory: a numbered lease with an owner and a heartbeat.

``lease/00003.json`` is the third lease of a run; its number is the fencing number. Taking a lease is creating the
next file, which only one driver can do (``Folder.create``), on disk and on object stores alike. A lease is free when
its owner let it go, when its owner is a dead process of this machine (pid, start time and boot id tell), or when a
remote owner's heartbeat is older than ``EXPIRES_S``.
"""

from __future__ import annotations

import json
import os
import re
import socket
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import psutil

from pipelines.errors import Damaged, RunStopped, UserError
from pipelines.store.files import Folder

#: Seconds after which a remote owner that shows no heartbeat is taken for dead.
EXPIRES_S = 120.0
#: Seconds between heartbeats: four may be lost before a lease expires.
HEARTBEAT_S = 24.0

_LEASE = re.compile(r"^(\d{5,})\.json$")


@dataclass(frozen=True, slots=True)
class Owner:
    """A process, named so that another process can tell whether it still lives."""

    host: str
    machine: str
    pid: int
    started: float
    boot: str

    @staticmethod
    def me() -> Owner:
        return Owner(socket.gethostname(), _machine(), os.getpid(), psutil.Process().create_time(), _boot_id())

    def dead(self) -> bool | None:
        """True or False for a process of this machine; None when it belongs to another one."""
        if (self.host, self.machine) != (socket.gethostname(), _machine()):
            return None
        if self.boot != _boot_id():
            return True
        try:
            process = psutil.Process(self.pid)
            # 2 s: create_time is derived from the boot time, which moves when the clock is set.
            another = abs(process.create_time() - self.started) > 2.0
            # A zombie is dead; its parent may never ask after it.
            return bool(another or process.status() == psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return True


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """The content of a lease file; ``ended`` is the error that a released one ended with, None where there was none."""

    number: int
    owner: Owner
    heartbeat: float
    released: bool = False
    ended: str | None = None

    @staticmethod
    def parse(content: bytes) -> LeaseRecord:
        plain = json.loads(content)
        return LeaseRecord(**plain | {"owner": Owner(**plain["owner"])})

    def content(self) -> bytes:
        return json.dumps(asdict(self)).encode()


class Lease:
    """A held lease. Use as a context manager: the heartbeat runs until the block ends, which lets the lease go."""

    def __init__(self, run: Folder, record: LeaseRecord, took_over: str | None) -> None:
        self.took_over = took_over
        self._folder = run.sub("lease")
        self._record = record
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease-heartbeat", daemon=True)

    @property
    def number(self) -> int:
        """The fencing number."""
        return self._record.number

    def __enter__(self) -> Lease:
        self._thread.start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._done.set()
        self._thread.join()
        if error is not None:
            at_once = "a second signal ended it at once" if isinstance(error, KeyboardInterrupt) else ""
            self._record = replace(self._record, ended=at_once or str(error) or type(error).__name__)
        # A full disk must not hide the error that ends the run; a dead owner's lease is free anyway.
        with suppress(OSError):
            self._write(released=True)

    def check(self) -> None:
        """Raise RunStopped when another driver has taken the run over; call before voiding and all-row decisions."""
        newest = _newest(self._folder)
        if newest is not None and newest.number > self.number:
            raise RunStopped(
                f"lease {self.number} on {self._folder.url} was taken over as number {newest.number} by pid "
                f"{newest.owner.pid} on {newest.owner.host}; this driver stops, what it committed stays"
            )

    def _beat(self) -> None:
        while not self._done.wait(HEARTBEAT_S):
            with suppress(OSError):
                self._write(released=False)

    def _write(self, *, released: bool) -> None:
        self._record = replace(self._record, heartbeat=time.time(), released=released)
        self._folder.replace(f"{self.number:05d}.json", self._record.content())


def acquire(run: Folder) -> Lease:
    """Take the lease of a run directory.

    Raises:
        UserError: another driver holds it; the message names its host and pid.
    """
    folder = run.sub("lease")
    last = _newest(folder)
    took_over = None
    if last is not None and not last.released:
        took_over = _free(run, last)
    record = LeaseRecord((last.number if last else 0) + 1, Owner.me(), time.time())
    if not folder.create(f"{record.number:05d}.json", record.content()):
        raise UserError(f"output={run.url}: another driver took the lease of this run just now; wait for it or stop it")
    if last is not None:
        folder.remove(f"{last.number - 1:05d}.json")
    return Lease(run, record, took_over)


def holder(run: Folder) -> LeaseRecord | None:
    """The lease of a driver that still lives (or may, on another machine), or None."""
    last = _newest(run.sub("lease"))
    if last is None or last.released or last.owner.dead():
        return None
    return last if time.time() - last.heartbeat < EXPIRES_S or last.owner.dead() is False else None


def last_end(run: Folder) -> str | None:
    """Why the last start in a run directory ended before its end; None where it did not, or is under way."""
    last = _newest(run.sub("lease"))
    if last is None:
        return None
    if not last.released and last.owner.dead():
        return f"its process (pid {last.owner.pid} on {last.owner.host}) died"
    return last.ended


def _free(run: Folder, last: LeaseRecord) -> str:
    """Why an unreleased lease may be taken over; raises UserError when it may not."""
    owner = last.owner
    dead = owner.dead()
    if dead:
        return f"the driver with pid {owner.pid} died without letting go of this run; going on from what it committed"
    age = time.time() - last.heartbeat
    if dead is None and age > EXPIRES_S:
        return (
            f"the driver on {owner.host} (pid {owner.pid}) has shown no heartbeat for {age:.0f} s; taking over its run"
        )
    wait = f"; if that machine is gone, its lease expires in {EXPIRES_S - age:.0f} s" if dead is None else ""
    raise UserError(
        f"output={run.url}: pid {owner.pid} on {owner.host} is running in this directory; "
        f"wait for it, stop it, or choose another output{wait}"
    )


def _newest(folder: Folder) -> LeaseRecord | None:
    names = [name for name in folder.names() if _LEASE.match(name)]
    if not names:
        return None
    newest = max(names, key=lambda n: int(n[:-5]))
    try:
        return LeaseRecord.parse(folder.read(newest))
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(f"{folder.url}/{newest} is damaged; if nothing runs in this directory, delete it") from error


def _machine() -> str:
    """What tells machines and containers of one host name apart: the machine's id, and whose process ids these are."""
    found = []
    with suppress(OSError):
        found.append(Path("/etc/machine-id").read_text().strip())
    with suppress(OSError):
        found.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(found)


def _boot_id() -> str:
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return str(psutil.boot_time())
