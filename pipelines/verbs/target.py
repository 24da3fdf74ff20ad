"""Where an export goes: a file or a folder, on disk or at a URL that fsspec knows; every file appears in one step."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import BinaryIO, cast

from fsspec.implementations.local import LocalFileSystem

from pipelines.store.inputs.source import filesystem, is_remote


class Target:
    """Where an export goes: a file or a folder, on disk or at a URL; names are relative to it, "" is itself."""

    def __init__(self, to: str) -> None:
        self.remote = is_remote(to)
        if self.remote:
            self._fs, self._key = filesystem(to.rstrip("/"))
            self.url = to.rstrip("/")
        else:
            self._fs = LocalFileSystem()
            self.url = self._key = os.path.abspath(os.path.expanduser(to))

    def scratch(self) -> tempfile.TemporaryDirectory[str]:
        """A folder to write in before files are published, on the target's own disk where it has one."""
        if self.remote:
            return tempfile.TemporaryDirectory(prefix="nightmill-export-")
        beside = Path(self._key).parent
        beside.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix=".nightmill-export-", dir=beside)

    def publish(self, file: Path, name: str = "") -> tuple[str, int]:
        """Let a finished file appear under ``name``, in one step; its address and its size in bytes."""
        key, size = self._at(name), file.stat().st_size
        if self.remote:
            self._fs.put_file(str(file), key)
        else:
            os.makedirs(os.path.dirname(key), exist_ok=True)
            os.replace(file, key)
        return (f"{self.url}/{name}" if name else self.url), size

    def open(self, name: str = "") -> BinaryIO:
        """A file of the target, for reading."""
        return cast(BinaryIO, self._fs.open(self._at(name), "rb"))

    def remove(self, name: str) -> None:
        """Delete a file of the target, if it is there."""
        if self._fs.exists(self._at(name)):
            self._fs.rm_file(self._at(name))

    def is_file(self) -> bool:
        """Whether a file lies at the target itself."""
        return bool(self._fs.isfile(self._key))

    def names(self) -> list[str]:
        """What lies in the target, if it is a folder."""
        if not self._fs.isdir(self._key):
            return []
        return sorted(
            str(entry["name"]).rstrip("/").rpartition("/")[2] for entry in self._fs.ls(self._key, detail=True)
        )

    def _at(self, name: str) -> str:
        return f"{self._key}/{name}" if name else self._key
