"""Runs that own their process: started as a user would, killed as a cluster would."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]


class Command:
    """A ``nightmill`` command in a process group of its own; its log goes to a file."""

    def __init__(self, log: Path, *arguments: str, env: dict[str, str] | None = None) -> None:
        self.log = log
        with open(log, "ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pipelines.cli", *arguments],
                stdout=out,
                stderr=out,
                cwd=ROOT,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )

    def wait_until(self, seen, limit_s: float = 240.0) -> None:
        """Wait for ``seen()``, a bounded time; fails with the log when the command ends before."""
        until = time.monotonic() + limit_s
        while not seen():
            assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.log.read_text()[-3000:]}"
            assert time.monotonic() < until, f"not seen within {limit_s} s:\n{self.log.read_text()[-3000:]}"
            time.sleep(0.05)  # polling a file system, not waiting for luck

    def kill_group(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def finish(self, limit_s: float = 400.0) -> int:
        return self.process.wait(limit_s)

    def family(self) -> list[psutil.Process]:
        """Every process that this command started, directly or not."""
        return psutil.Process(self.process.pid).children(recursive=True)

    @staticmethod
    def left(family: list[psutil.Process], limit_s: float = 30.0) -> list[psutil.Process]:
        """Those of a family that are still alive after at most ``limit_s`` seconds."""
        return psutil.wait_procs(family, timeout=limit_s)[1]


@pytest.fixture
def nightmill(tmp_path):
    """Start a command; whatever still runs at the end of the test is ended."""
    commands = []

    def start(*arguments: str, env: dict[str, str] | None = None) -> Command:
        commands.append(Command(tmp_path / "log.txt", *arguments, env=env))
        return commands[-1]

    yield start
    for command in commands:
        if command.process.poll() is None:
            command.kill_group()
