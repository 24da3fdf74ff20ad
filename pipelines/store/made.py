"""What a stage makes beside its rows, such as an index or a model: files in ``made/``, in the stage's directory.

They come to be in ``making/``, which outlives a kill, so that what takes long can go on from where it was. When all of
them are there, the folder is renamed, and the stage's decisions say with which checksums. An object store has them
after that; until then they lie in a temporary folder of whoever makes them, and a start on the same machine goes on.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from pipelines.errors import Damaged
from pipelines.rows import digest
from pipelines.store.decisions import decided_already
from pipelines.store.files import Folder, LocalFolder, folder

MADE, _MAKING = "made", "making"
#: A file in which who makes something says how far that is; it is no part of what is made.
SAID = "how_far.txt"
#: The key of what was made in the statistics of a stage that has decided.
FILES = "made"


def making(stage: Folder, make: Callable[[str], Mapping[str, Any]]) -> dict[str, Any]:
    """Have ``make`` fill a folder, publish it as the stage's, and tell what it measured and the files there are."""
    if not isinstance(stage, LocalFolder):
        place = _at_work(stage)
        told = make(str(place))
        (place / SAID).unlink(missing_ok=True)
        files = _files(place)
        for name in files:
            home, base = _home(stage, name)
            home.replace(base, (place / name).read_bytes())
        shutil.rmtree(place)
        return {**told, FILES: files}
    whole, begun = Path(stage.url) / MADE, Path(stage.url) / _MAKING
    if whole.exists():  # a kill came between the renaming and the decisions that speak of it
        if begun.exists():
            shutil.rmtree(begun)
        whole.rename(begun)
    begun.mkdir(parents=True, exist_ok=True)
    told = make(str(begun))
    (begun / SAID).unlink(missing_ok=True)
    files = _files(begun)
    begun.rename(whole)
    return {**told, FILES: files}


def _at_work(stage: Folder) -> Path:
    """The folder on this machine's disk in which what goes to an object store is made; a kill leaves it for the next.

    It is this user's alone: its name can be foretold.
    """
    own = Path(tempfile.gettempdir()) / f"nightmill-{os.getuid()}"
    own.mkdir(mode=0o700, exist_ok=True)
    if own.stat().st_uid != os.getuid() or own.is_symlink():
        raise Damaged(f"{own} is not this user's; take it away, or set TMPDIR")
    place = own / digest(stage.url)
    place.mkdir(exist_ok=True)
    return place


def how_far(stage: Folder) -> str:
    """What a stage that makes something says of how far it is, in ``SAID``."""
    try:
        if not isinstance(stage, LocalFolder):
            return (_at_work(stage) / SAID).read_text()
        return stage.sub(_MAKING).read(SAID).decode()
    except OSError:
        return "at work"


def made(stage: str) -> str:
    """The folder, on this machine, with what a stage has made; fetched once a process from an object store."""
    place = folder(stage)
    return str(Path(place.url) / MADE) if isinstance(place, LocalFolder) else _fetched(stage)


@cache
def _fetched(stage: str) -> str:
    place = folder(stage)
    here = Path(tempfile.mkdtemp(prefix="nightmill-"))
    atexit.register(shutil.rmtree, here, ignore_errors=True)
    for name in _recorded(place):
        home, base = _home(place, name)
        target = here / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(home.read(base))
    return str(here)


def defects(stage: Folder) -> Iterator[str]:
    """Files that a stage has made and that are gone, or not as they were."""
    for name, known in _recorded(stage).items():
        home, base = _home(stage, name)
        try:
            with home.open(base) as file:
                found = _digest(file)
        except FileNotFoundError:
            yield f"{MADE}/{name} is gone; delete decisions/ and run the same command again"
            continue
        if found != known:
            yield f"{MADE}/{name} is not as it was made; delete decisions/ and run the same command again"


def _home(stage: Folder, name: str) -> tuple[Folder, str]:
    """The folder of a file that a stage has made, and the file's name in it."""
    where, _, base = f"{MADE}/{name}".rpartition("/")
    return stage.sub(where), base


def _recorded(stage: Folder) -> Mapping[str, str]:
    decided = decided_already(stage)
    if decided is None:
        raise Damaged(f"{stage.url} has not made anything yet")
    files: Mapping[str, str] = decided["stats"].get(FILES, {})
    return files


def _files(place: Path) -> dict[str, str]:
    """Every file in a folder with a checksum of its content, made durable."""
    found: dict[str, str] = {}
    for path in sorted(path for path in place.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            found[path.relative_to(place).as_posix()] = _digest(file)
            os.fsync(file.fileno())
    return found


def _digest(file: BinaryIO) -> str:
    sums = hashlib.blake2b(digest_size=16)
    while piece := file.read(1 << 22):
        sums.update(piece)
    return sums.hexdigest()
