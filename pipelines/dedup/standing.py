"""The standing index of MinHash: what earlier runs kept, so that tonight's rows are checked against every night before.

A folder on a disk or an object store holds segments, one a run, that never change, and ``version-00001.json ...``:
which segments count, and the settings they were made with. A new version is created if and only if nobody else created
it, so an update that breaks off leaves the old one valid. A segment of n rows:

- ``band-00.bin ...``: the keys of one band, sorted (n x 8 bytes), and their rows (n x 4 bytes). Read whole, once.
- ``rows.bin``: for each row where its set and its id lie and how long they are, and a checksum over both (32 bytes).
- ``sets.bin``, ``ids.bin``: shingle hashes and ids. Only those of candidates are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.dedup.comparison import Comparison, Keys
from pipelines.dedup.scan import Scanned
from pipelines.dedup.shingles import ShingleSets
from pipelines.errors import Damaged, UserError
from pipelines.rows import digest
from pipelines.store.commit import checksum
from pipelines.store.dataset import named
from pipelines.store.files import Folder, folder
from pipelines.store.record import parsed, record

_VERSION = re.compile(r"^version-(\d{5,})\.json$")
#: Where a row's set and id lie (bytes), how long they are, and the hash of both.
ROW = np.dtype([("set", "<u8"), ("set_size", "<u4"), ("id", "<u8"), ("id_size", "<u4"), ("print", "<u8")])


@dataclass(frozen=True)
class Segment:
    """The rows that one run kept, as its version names them: ``checksums`` of the band files, in order."""

    name: str
    run: str
    rows: int
    checksums: tuple[str, ...]


class Standing:
    """An index as it is now. ``bytes_read`` counts what was read of its segments."""

    def __init__(self, place: Folder, comparison: Comparison, leave_out: str) -> None:
        """Read the newest version; the segment of the run ``leave_out``, and those after it, do not count.

        Raises:
            UserError: the index was made with other settings, or the folder holds something else.
        """
        self.place, self.number = place, _newest(place)
        self.bytes_read = 0
        self._settings = settings_of(comparison)
        self._every: list[Segment] = []
        if self.number:
            name = _version(self.number)
            content = parsed(f"{place.url}/{name}", place.read(name))
            _refuse_others(place, content["settings"], self._settings)
            self._every = [Segment(**{**one, "checksums": tuple(one["checksums"])}) for one in content["segments"]]
        else:
            # A segment without a version is what an update left that broke off.
            known = ("lease", "segment-")
            strangers = [name for name in (*place.names(), *place.folders()) if not name.startswith(known)]
            if strangers:
                raise UserError(f"dedup.against={place.url}: the folder holds {strangers[0]}, which is no index's")
        # A run that is in the index already, and decides again, is held against what came before it, as it was then.
        runs = [one.run for one in self._every]
        self._segments = self._every[: runs.index(leave_out)] if leave_out in runs else self._every

    @property
    def rows(self) -> int:
        """Rows of the segments that count."""
        return sum(one.rows for one in self._segments)

    def matches(self, band: int, keys: Keys) -> tuple[Keys, NDArray[np.int64]]:
        """Keys of one band that rows of the index have, too, and those rows, numbered over all segments.

        ``keys`` are sorted, without 0 and repeats.
        """
        from pipelines.dedup.bands import places_of

        found_keys: list[Keys] = [np.zeros(0, np.uint64)]
        found_rows: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
        first = 0
        for segment in self._segments:
            if not segment.rows:
                continue
            name = f"band-{band:02d}.bin"
            with named(f"{self.place.url}/{segment.name}/{name}"):
                raw = self.place.sub(segment.name).read(name)
            self.bytes_read += len(raw)
            if checksum(raw) != segment.checksums[band]:
                raise Damaged(
                    f"{self.place.url}/{segment.name}/{name} is damaged: it has not the checksum that "
                    f"{_version(self.number)} names; put a sound copy back"
                )
            count = len(raw) // 12
            theirs = np.frombuffer(raw, "<u8", count)
            at = places_of(theirs, keys)
            found_keys.append(theirs[at])
            found_rows.append(first + np.frombuffer(raw, "<u4", count, count * 8)[at].astype(np.int64))
            first += segment.rows
        return np.concatenate(found_keys), np.concatenate(found_rows)

    def fetched(self, rows: NDArray[np.int64]) -> tuple[pa.Array, ShingleSets]:
        """Ids and sets of some rows (ascending, numbered over all segments); nothing else of the segments is read."""
        ids: list[bytes] = []
        hashes: list[Keys] = [np.zeros(0, np.uint64)]
        sizes: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
        first = 0
        for segment in self._segments:
            inside = rows[np.searchsorted(rows, first) : np.searchsorted(rows, first + segment.rows)] - first
            first += segment.rows
            if len(inside):
                some_ids, some_hashes, some_sizes = self._of_segment(segment, inside)
                ids += some_ids
                hashes.append(some_hashes)
                sizes.append(some_sizes)
        each = np.concatenate(sizes)
        sets = ShingleSets(np.concatenate(hashes), np.cumsum(each) - each, each)
        return pa.array([id_.decode() for id_ in ids], pa.string()), sets

    def _of_segment(self, segment: Segment, rows: NDArray[np.int64]) -> tuple[list[bytes], Keys, NDArray[np.int64]]:
        from pipelines.dedup.pieces import text_hashes

        place = self.place.sub(segment.name)
        size = ROW.itemsize
        with named(f"{place.url}/rows.bin"):
            raw = b"".join(place.pieces("rows.bin", (rows * size).tolist(), [size] * len(rows)))
            if len(raw) != len(rows) * size:
                raise Damaged(f"{place.url}/rows.bin is damaged: it is too short; put a sound copy back")
        table = np.frombuffer(raw, ROW)
        with named(f"{place.url}/sets.bin"):
            sets = place.pieces("sets.bin", table["set"].tolist(), table["set_size"].tolist())
        with named(f"{place.url}/ids.bin"):
            ids = place.pieces("ids.bin", table["id"].tolist(), table["id_size"].tolist())
        both = b"".join(piece for pair in zip(sets, ids, strict=True) for piece in pair)
        bounds = np.cumsum(np.append(0, table["set_size"].astype(np.int64) + table["id_size"]))
        self.bytes_read += len(both) + len(rows) * size
        intact = bounds[-1] == len(both) and (
            text_hashes(np.frombuffer(both + b"\0", np.uint8), bounds) == table["print"]
        )
        if not np.all(intact):
            raise Damaged(f"{place.url}: a row has not the checksum that rows.bin names; put a sound copy back")
        return ids, np.frombuffer(b"".join(sets), "<u8"), table["set_size"].astype(np.int64) // 8

    def has(self, run: str, state: str) -> bool:
        """Whether the rows of a run, as they were in ``state``, are a segment."""
        return any(one.name == _name(run, state) for one in self._every)

    def add(self, run: str, state: str, scanned: Scanned) -> None:
        """Make the rows that a run kept a segment, in place of an earlier one of the same run.

        ``state`` is a word for what the run had kept; a run that has not changed is not added again.

        Raises:
            UserError: another run changed the index meanwhile.
        """
        name = _name(run, state)
        segment = _written(self.place.sub(name), name, run, scanned)
        runs = [one.run for one in self._every]
        place = runs.index(run) if run in runs else len(runs)
        content = {
            "settings": self._settings,
            "segments": [
                {"name": one.name, "run": one.run, "rows": one.rows, "checksums": list(one.checksums)}
                for one in (*self._every[:place], segment, *self._every[place + 1 :])
            ],
        }
        if not self.place.create(_version(self.number + 1), record("version.json", content)):
            raise UserError(
                f"dedup.against={self.place.url}: another run changed the index meanwhile; run the same command again"
            )


def home(against: str) -> Folder:
    """Where the index named ``against`` is: a folder of its own, or ``index/`` in the directory of an earlier run."""
    place = folder(against)
    return place.sub("index") if "manifest.json" in place.names() else place


def _name(run: str, state: str) -> str:
    return f"segment-{digest(run, state)[:24]}"


def settings_of(comparison: Comparison) -> dict[str, Any]:
    """What rows of one index must agree in, by the keys that set it."""
    shingling = comparison.shingling
    return {
        "ngram": shingling.ngram,
        "unit": shingling.unit,
        "normalise": sorted(shingling.normalise),
        "hash": shingling.hash,
        "scheme": comparison.scheme,
        "num_permutations": comparison.num_permutations,
        "bands": comparison.bands,
    }


def _refuse_others(place: Folder, theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    other = [f"dedup.minhash.{key}: {theirs[key]} -> {ours[key]}" for key in ours if theirs.get(key) != ours[key]]
    if other:
        raise UserError(
            f"dedup.against={place.url}: the index was made with other settings:\n  "
            + "\n  ".join(other)
            + "\nSet them as they were, or start another index"
        )


def _version(number: int) -> str:
    return f"version-{number:05d}.json"


def _newest(place: Folder) -> int:
    return max((int(found[1]) for found in map(_VERSION.match, place.names()) if found), default=0)


def _written(place: Folder, name: str, run: str, scanned: Scanned) -> Segment:
    """The files of a segment; whole before any version names it."""
    from pipelines.dedup.pieces import text_hashes

    ids = [id_.encode() for chunk in scanned.ids for id_ in chunk.to_pylist()]
    rows = np.zeros(len(ids), ROW)
    set_bytes = np.concatenate([chunk.sizes for chunk in scanned.sets] or [np.zeros(0, np.int64)]) * 8
    id_bytes = np.array([len(id_) for id_ in ids], np.int64)
    rows["set_size"], rows["set"] = set_bytes, np.cumsum(set_bytes) - set_bytes
    rows["id_size"], rows["id"] = id_bytes, np.cumsum(id_bytes) - id_bytes
    sets = b"".join(chunk.hashes.astype("<u8").tobytes() for chunk in scanned.sets)
    both = b"".join(
        piece
        for start, size, id_ in zip(rows["set"].tolist(), set_bytes.tolist(), ids, strict=True)
        for piece in (sets[start : start + size], id_)
    )
    bounds = np.cumsum(np.append(0, set_bytes + id_bytes))
    rows["print"] = text_hashes(np.frombuffer(both + b"\0", np.uint8), bounds)
    for file, content in (("sets.bin", sets), ("ids.bin", b"".join(ids)), ("rows.bin", rows.tobytes())):
        place.replace(file, content)
    bands = len(scanned.keys[0]) if scanned.keys else 0
    with ThreadPoolExecutor(4) as pool:
        checksums = tuple(pool.map(lambda band: _write_band(place, band, scanned.keys), range(bands)))
    return Segment(name, run, len(ids), checksums)


def _write_band(place: Folder, band: int, chunks: Sequence[Keys]) -> str:
    keys = np.concatenate([chunk[band] for chunk in chunks])
    order = np.argsort(keys, kind="stable")
    order = order[np.searchsorted(keys[order], 1) :]  # rows without a shingle have key 0
    content = keys[order].astype("<u8").tobytes() + order.astype("<u4").tobytes()
    place.replace(f"band-{band:02d}.bin", content)
    return checksum(content)


def distinct(chunks: Iterable[Keys]) -> Keys:
    """The keys of one band, sorted, without 0 and repeats."""
    found = np.unique(np.concatenate([*chunks, np.zeros(0, np.uint64)]))
    return found[found > 0]
