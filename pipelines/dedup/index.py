"""The standing index: which segments count, so that tonight's rows are checked against every night before.

A folder on a disk or an object store holds segments, some a run, that never change, and ``version-00001.json ...``:
which segments count, and the settings they were made with. A new version is created if and only if nobody else created
it, so an update that breaks off leaves the old one valid. What a segment holds is its kind's business (``segment.py``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pipelines.errors import Damaged, UserError
from pipelines.rows import digest
from pipelines.store.files import Folder, folder
from pipelines.store.record import parsed, record

#: What an index can be of; each has a folder in it.
KINDS = ("minhash", "embedding")
#: File in a run's folder of segments: the number of the version that named it first.
_IN = "version"
_VERSION = re.compile(r"^version-(\d{5,})\.json$")


@dataclass(frozen=True)
class Named:
    """A segment as a version names it: the run whose kept rows it has, how many, and its checksum."""

    name: str
    run: str
    rows: int
    seal: str


class Index:
    """An index as it is now; ``counted`` are the segments that a run is held against."""

    def __init__(self, against: str, kind: str, settings: Mapping[str, Any], leave_out: str) -> None:
        """Read the newest version; the segments of the run ``leave_out``, and those after it, do not count.

        Args:
            against: the folder, or the directory of an earlier run.
            kind: one of KINDS.
            settings: by the keys that set them, what rows of one index must agree in.
            leave_out: a run.

        Raises:
            UserError: the index was made with other settings, or the folder holds something else.
        """
        top = home(against)
        _refuse_strangers(top, ("lease", *KINDS))
        self.place = place = top.sub(kind)
        self._number, self._settings = _newest(place), dict(settings)
        self._every: list[Named] = []
        _refuse_lost(place, self._number)
        if self._number:
            settings_then, self._every = _read(place, self._number)
            _refuse_others(place, settings_then, self._settings)
        else:
            # A segment without a version is what an update left that broke off.
            _refuse_strangers(place, ("segment-",))
        # A run that is in the index already, and decides again, is held against what came before it, as it was then.
        runs = [one.run for one in self._every]
        self.counted = tuple(self._every[: runs.index(leave_out)] if leave_out in runs else self._every)

    def located(self) -> tuple[tuple[str, int, str], ...]:
        """Where each segment that counts is, its rows and its checksum."""
        return tuple((self.place.sub(one.name).url, one.rows, one.seal) for one in self.counted)

    def has(self, run: str, state: str) -> bool:
        """Whether the rows of a run, as they were in ``state``, are in the index."""
        return any(one.name.startswith(_name(run, state)) for one in self._every)

    def add(self, run: str, state: str, write: Callable[[Folder], Sequence[tuple[str, int, str]]]) -> None:
        """Take in what a run kept, in place of what it had kept before.

        ``state`` is a word for what the run kept; a run that has not changed is not added again. ``write`` is given the
        folder of the run's segments, and returns the name in it, rows and checksum of each. Segments that no version
        has named, of updates that broke off, and those that this one replaces, are deleted.

        Raises:
            UserError: another run changed the index meanwhile.
        """
        name = _name(run, state)
        ours = [Named(f"{name}/{part}", run, rows, seal) for part, rows, seal in write(self.place.sub(name))]
        before = next((i for i, one in enumerate(self._every) if one.run == run), len(self._every))
        others = [[one for one in some if one.run != run] for some in (self._every[:before], self._every[before:])]
        segments = [*others[0], *ours, *others[1]]
        content = {"settings": self._settings, "segments": [vars(one) for one in segments]}
        if not self.place.create(_version(self._number + 1), record("version.json", content)):
            raise UserError(
                f"dedup.against={self.place.url}: another run changed the index meanwhile; run the same command again"
            )
        self.place.sub(name).replace(_IN, str(self._number + 1).encode())
        named = {one.name.partition("/")[0] for one in segments}
        for orphan in self.place.folders():
            if orphan.startswith("segment-") and orphan not in named:
                self.place.sub(orphan).clear()


def outdated(against: str, kind: str, run: str, known: Collection[str]) -> bool:
    """Whether an index has taken in rows since ``run`` decided against the segments ``known``, and not yet that run's.

    A run that is in the index stays as it is, whatever later ones added.
    """
    place = home(against).sub(kind)
    if not (number := _newest(place)):
        return False
    _, segments = _read(place, number)
    return all(one.run != run for one in segments) and any(one.name not in known for one in segments)


def home(against: str) -> Folder:
    """Where the index ``against`` is: a folder of its own, or ``index/`` in the directory of an earlier run."""
    place = folder(against)
    return place.sub("index") if "manifest.json" in place.names() else place


def _refuse_strangers(place: Folder, known: tuple[str, ...]) -> None:
    strangers = [name for name in (*place.names(), *place.folders()) if not name.startswith(known)]
    if strangers:
        raise UserError(f"dedup.against={place.url}: the folder holds {strangers[0]}, which is no index's")


def _refuse_lost(place: Folder, newest: int) -> None:
    """Damaged where a segment was named by a version after the newest one that is there."""
    for name in place.folders():
        with suppress(FileNotFoundError):
            number = int(place.sub(name).read(_IN))
            if number > newest:
                raise Damaged(f"{place.url}/{_version(number)} is missing; put it back, or start another index")


def _name(run: str, state: str) -> str:
    return f"segment-{digest(run, state)[:24]}"


def _refuse_others(place: Folder, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    other = [f"{key}: {theirs.get(key)} -> {ours[key]}" for key in ours if theirs.get(key) != ours[key]]
    if other:
        raise UserError(
            f"dedup.against={place.url}: the index was made with other settings:\n  "
            + "\n  ".join(other)
            + "\nSet them as they were, or start another index"
        )


def _read(place: Folder, number: int) -> tuple[Mapping[str, Any], list[Named]]:
    """What a version says: the settings, and the segments that count."""
    name = _version(number)
    content = parsed(f"{place.url}/{name}", place.read(name))
    return content["settings"], [Named(**one) for one in content["segments"]]


def _version(number: int) -> str:
    return f"version-{number:05d}.json"


def _newest(place: Folder) -> int:
    return max((int(found[1]) for found in map(_VERSION.match, place.names()) if found), default=0)
