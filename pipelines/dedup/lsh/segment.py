"""Rows as MinHash compares them, in files: a segment of a standing index, or of rows too many for memory.

A segment never changes once it is whole. Of n rows it has

- ``band-00.bin ...``: the keys of one band in ascending order, in parts by their first bits: of each part its keys
  (8 bytes each), then their rows (4 bytes each). Read a part at a time, once.
- ``head.bin``: how many bands, whether there are scores, and the keys and checksum of every part of every band. Its own
  checksum is the segment's.
- ``rows.bin``: for each row where its set and its id lie, how long they are, and a checksum over both (32 bytes).
- ``sets.bin``, ``ids.bin``, ``scores.bin``: shingle hashes, ids, and what the keeper rule goes by, if anything. Only
  those of candidates are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.buffers import bytes_of
from pipelines.dedup.lsh.comparison import Keys
from pipelines.dedup.lsh.scan import Scanned
from pipelines.dedup.lsh.shingles import ShingleSets
from pipelines.dedup.lsh.tonight import SLICES, Candidates
from pipelines.errors import Damaged
from pipelines.store.commit import checksum
from pipelines.store.dataset import named
from pipelines.store.files import Folder

Ints = NDArray[np.int64]
Bytes = NDArray[np.uint8]

#: Where a row's set and id lie (bytes), how long they are, and the hash of both.
ROW = np.dtype([("set", "<u8"), ("set_size", "<u4"), ("id", "<u8"), ("id_size", "<u4"), ("print", "<u8")])
HEAD = np.dtype([("keys", "<u8"), ("print", "<u8")])
#: A band has a power of two of parts, up to SLICES, of about this many keys.
PART_KEYS = 65_536
#: Bytes between two pieces below which one read takes both, and bytes of one read.
_GAP, _READ = 16_384, 64 << 20


class Segment:
    """A segment on a disk or an object store; ``bytes_read`` is for callers to add up."""

    def __init__(self, place: Folder, rows: int, seal: str, mend: str = "put a sound copy back") -> None:
        """Read the head; ``mend`` is what to do about damage.

        Raises:
            Damaged: it is missing, or not the one whose checksum is ``seal``.
        """
        self.place, self.rows, self._mend = place, rows, mend
        with named(f"{place.url}/head.bin"):
            raw = place.read("head.bin")
        if checksum(raw) != seal:
            raise self._damaged("head.bin")
        bands, scored = np.frombuffer(raw, "<u4", 2).tolist()
        self._scored = bool(scored)
        self._head = np.frombuffer(raw, HEAD, offset=8).reshape(bands, -1) if bands else np.zeros((0, 1), HEAD)

    def keys(self, band: int, first: int, last: int) -> tuple[Keys, NDArray[np.uint32], int]:
        """Keys of one band from slice ``first`` to before ``last`` of SLICES, ascending; their rows; bytes read."""
        from pipelines.kernels import text_hashes

        head, name = self._head[band], f"band-{band:02d}.bin"
        parts = range(first * len(head) // SLICES, -(-last * len(head) // SLICES))
        starts = np.concatenate([[0], np.cumsum(head["keys"].astype(np.int64) * 12)])
        begin, end = int(starts[parts.start]), int(starts[parts.stop])
        with named(f"{self.place.url}/{name}"):
            [raw] = self.place.pieces(name, [begin], [end - begin]) if end > begin else [b""]
        bounds = starts[parts.start : parts.stop + 1] - begin
        intact = len(raw) == end - begin and (
            text_hashes(np.frombuffer(raw + b"\0", np.uint8), bounds) == head["print"][parts.start : parts.stop]
        )
        if not np.all(intact):
            raise self._damaged(name)
        keys, rows = [np.zeros(0, np.uint64)], [np.zeros(0, np.uint32)]
        for at, count in zip(bounds[:-1].tolist(), head["keys"][parts.start : parts.stop].tolist(), strict=True):
            keys.append(np.frombuffer(raw, "<u8", count, at))
            rows.append(np.frombuffer(raw, "<u4", count, at + 8 * count))
        every, owners = np.concatenate(keys), np.concatenate(rows)
        if len(head) < SLICES:  # the parts may hold more than the slices asked for
            low = np.searchsorted(every, np.uint64(first << 56))
            high = len(every) if last == SLICES else np.searchsorted(every, np.uint64(last << 56))
            every, owners = every[low:high], owners[low:high]
        return every, owners, len(raw)

    def fetched(self, rows: Ints) -> tuple[Candidates, int]:
        """Some rows (ascending), and bytes read; nothing else of the segment is looked at."""
        from pipelines.dedup.lsh.sets import set_prints
        from pipelines.kernels import text_hashes

        sizes = np.full(len(rows), ROW.itemsize, np.int64)
        table = self._gathered("rows.bin", rows * ROW.itemsize, sizes).view(ROW)
        set_sizes, id_sizes = table["set_size"].astype(np.int64), table["id_size"].astype(np.int64)
        sets = self._gathered("sets.bin", table["set"].astype(np.int64), set_sizes).view("<u8")
        ids = self._gathered("ids.bin", table["id"].astype(np.int64), id_sizes)
        bounds = np.concatenate([[0], np.cumsum(id_sizes)])
        starts = (np.cumsum(set_sizes) - set_sizes) // 8
        prints = set_prints(text_hashes(ids, bounds), sets, starts, set_sizes // 8)
        if not np.array_equal(prints, table["print"]):
            raise Damaged(f"{self.place.url}: a row has not the checksum that rows.bin names; {self._mend}")
        scores = np.zeros(0)
        if self._scored:
            scores = self._gathered("scores.bin", rows * 8, np.full(len(rows), 8, np.int64)).view("<f8")
        named_ = pa.LargeStringArray.from_buffers(len(rows), pa.py_buffer(bounds), pa.py_buffer(ids))
        read = table.nbytes + sets.nbytes + ids.nbytes + scores.nbytes
        return Candidates(named_, ShingleSets(sets, starts, set_sizes // 8), scores), read

    def _damaged(self, name: str) -> Damaged:
        return Damaged(f"{self.place.url}/{name} is damaged: it has not the checksum that was recorded; {self._mend}")

    def _gathered(self, name: str, starts: Ints, sizes: Ints) -> Bytes:
        """Pieces of a file (ascending) after one another; pieces that lie close are read together."""
        from pipelines.dedup.lsh.sets import cut

        ends = np.concatenate([[0], np.cumsum(sizes)])
        out = np.empty(int(ends[-1]) + 8, np.uint8)  # some room, so that kernels may look at an empty one
        for first, last in _runs(starts, sizes):
            begin = int(starts[first])
            size = int(starts[last - 1] + sizes[last - 1]) - begin
            with named(f"{self.place.url}/{name}"):
                [raw] = self.place.pieces(name, [begin], [size])
            if len(raw) != size:
                raise self._damaged(name)
            cut(np.frombuffer(raw + b"\0", np.uint8), starts[first:last] - begin, sizes[first:last], out[ends[first] :])
        return out[: int(ends[-1])]


def write_segment(place: Folder, scanned: Scanned, pool: ThreadPoolExecutor) -> str:
    """Write the files of a segment, the head last; returns its checksum."""
    from pipelines.dedup.lsh.sets import set_prints
    from pipelines.kernels import text_hashes

    ids = [bytes_of(chunk) for chunk in scanned.ids]
    sets = scanned.sets
    rows = np.zeros(scanned.rows, ROW)
    if len(rows):
        set_bytes = np.concatenate([chunk.sizes for chunk in sets]) * 8
        id_bytes = np.concatenate([np.diff(bounds) for _, bounds in ids])
        rows["set_size"], rows["set"] = set_bytes, np.cumsum(set_bytes) - set_bytes
        rows["id_size"], rows["id"] = id_bytes, np.cumsum(id_bytes) - id_bytes
        rows["print"] = np.concatenate(
            [set_prints(text_hashes(*id_), *chunk) for id_, chunk in zip(ids, sets, strict=True)]
        )
    files: dict[str, list[Any]] = {
        "sets.bin": [chunk.hashes.astype("<u8", copy=False) for chunk in sets],
        "ids.bin": [text[bounds[0] : bounds[-1]] for text, bounds in ids],
        "rows.bin": [rows],
    }
    scored = any(map(len, scanned.scores))
    if scored:
        files["scores.bin"] = [one.astype("<f8", copy=False) for one in scanned.scores]
    for name, arrays in files.items():
        place.replace(name, b"".join(np.ascontiguousarray(one).view(np.uint8).data for one in arrays if len(one)))
    bands = len(scanned.band_keys[0]) if scanned.band_keys else 0
    parts = min(SLICES, 1 << max(0, (scanned.rows // PART_KEYS).bit_length()))
    heads = list(pool.map(lambda band: _write_band(place, band, scanned.band_keys, parts), range(bands)))
    head = np.array([bands, scored], "<u4").tobytes() + b"".join(one.tobytes() for one in heads)
    place.replace("head.bin", head)
    return checksum(head)


def stored_bytes(scanned: Scanned) -> int:
    """Bytes that ``write_segment`` would write, the head left out."""
    each = [chunk.nbytes for chunk in scanned.scores]
    each += [8 * int(chunk.sizes.sum()) for chunk in scanned.sets]
    each += [int(bounds[-1] - bounds[0]) for _, bounds in map(bytes_of, scanned.ids)]
    keys = sum(int(np.count_nonzero(chunk)) for chunk in scanned.band_keys)
    return sum(each) + scanned.rows * ROW.itemsize + 12 * keys


def _write_band(place: Folder, band: int, chunks: Sequence[Keys], parts: int) -> NDArray[Any]:
    from pipelines.kernels import text_hashes

    keys = np.concatenate([chunk[band] for chunk in chunks])
    order = np.argsort(keys, kind="stable")
    order = order[np.searchsorted(keys[order], 1) :]  # rows without a shingle have key 0
    keys = keys[order]
    edges = np.array([(part << 64) // parts for part in range(1, parts)], np.uint64)
    ends = np.concatenate([[0], np.searchsorted(keys, edges), [len(keys)]]).astype(np.int64)
    content = b"".join(
        piece
        for begin, end in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)
        for piece in (keys[begin:end].astype("<u8").tobytes(), order[begin:end].astype("<u4").tobytes())
    )
    place.replace(f"band-{band:02d}.bin", content)
    head = np.zeros(parts, HEAD)
    head["keys"] = np.diff(ends)
    head["print"] = text_hashes(np.frombuffer(content + b"\0", np.uint8), ends * 12)
    return head


def _runs(starts: Ints, sizes: Ints) -> list[tuple[int, int]]:
    """Pieces that are read together: (first, after the last)."""
    if not len(starts):
        return []
    apart = np.flatnonzero(starts[1:] - (starts[:-1] + sizes[:-1]) > _GAP) + 1
    found: list[tuple[int, int]] = []
    for first, last in zip([0, *apart.tolist()], [*apart.tolist(), len(starts)], strict=True):
        while first < last:
            after = first + int(np.searchsorted(starts[first:last], starts[first] + _READ))
            found.append((first, max(after, first + 1)))
            first = found[-1][1]
    return found
