"""A segment of the standing index for embeddings: the vectors of the rows that one run kept, cut into parts.

Their order is by cell (k-means, of more than EXACT_ROWS rows) and, within a cell, by id. The parts of one run share its
cells, each has some whole ones. A part of n rows:

- ``vectors.bin``: n x dimensions x 4 bytes, float32. Read whole, a part at a time.
- ``ranks.bin``: for each row how many rows of the run come before it by id (n x 4 bytes). ``cells.bin``: the cells'
  middles.
- ``rows.bin``, ``ids.bin``: where each row's id lies, how long it is, and its hash; the ids. Only those of rows that
  tonight's repeat are read.
- ``head.json``: how many, the rows of each cell, and the checksums of the first three files. Its own is the seal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.dedup.vectors.cells import EXACT_ROWS, nearest, trained
from pipelines.dedup.vectors.matrix import with_direction
from pipelines.dedup.vectors.parts import Kept, parted
from pipelines.errors import Damaged
from pipelines.store.commit import checksum
from pipelines.store.dataset import named
from pipelines.store.files import Folder
from pipelines.store.record import parsed, record

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

#: Bytes of the vectors of a part, about: what is held at once of an index of any size, twice.
PART_BYTES = 128 << 20
#: Where a row's id lies (bytes), how long it is, and its hash.
ROW = np.dtype([("id", "<u8"), ("id_size", "<u4"), ("print", "<u8")])


@dataclass(frozen=True)
class Part:
    """A part as it was read: cell c has the rows ``ends[c - 1]`` to ``ends[c]``, those of a lower rank first.

    ``number`` is its caller's, ``size`` the bytes that were read.
    """

    number: int
    vectors: Floats
    ranks: Ints
    middles: Floats
    ends: tuple[int, ...]
    size: int


def write(place: Folder, kept: Iterable[Kept]) -> list[tuple[str, int, str]]:
    """Write a segment; the name, rows and seal of each part. One part without rows where there are none."""
    pieces = _cut(kept)
    first = next(pieces, (pa.array([], pa.large_string()), *_NOTHING))
    if (second := next(pieces, None)) is None:
        every = iter([(first, *_one_part(first[2]))])
    else:
        every = parted(chain((first, second), pieces), len(first[0]))
    parts: list[tuple[str, int, str]] = []
    for (ids, ranks, vectors), middles, cells in every:
        name = f"part-{len(parts):04d}"
        parts.append((name, len(ids), _write(place.sub(name), ids, ranks, vectors, middles, cells)))
    return parts


def read(number: int, inside: Folder, seal: str) -> Part:
    """All of a part but its ids.

    Raises:
        Damaged: a file of it is missing, or not as it was written.
    """
    raw = _read(inside, "head.json", seal)
    head = parsed(f"{inside.url}/head.json", raw)
    files = {name: _read(inside, name, head["checksums"][name]) for name in head["checksums"]}
    width = head["dimensions"]
    return Part(
        number,
        np.frombuffer(files["vectors.bin"], "<f4").reshape(head["rows"], width),
        np.frombuffer(files["ranks.bin"], "<u4").astype(np.int64),
        np.frombuffer(files["cells.bin"], "<f4").reshape(-1, width) if width else np.zeros((0, 0), np.float32),
        tuple(np.cumsum(head["cells"]).tolist()),
        len(raw) + sum(map(len, files.values())),
    )


def read_cells(inside: Folder, seal: str) -> tuple[Floats, int]:
    """The middles of a part's cells, and how many bytes were read for them.

    Raises:
        Damaged: a file of it is missing, or not as it was written.
    """
    raw = _read(inside, "head.json", seal)
    head = parsed(f"{inside.url}/head.json", raw)
    content = _read(inside, "cells.bin", head["checksums"]["cells.bin"])
    width = head["dimensions"]
    middles = np.frombuffer(content, "<f4").reshape(-1, width) if width else np.zeros((0, 0), np.float32)
    return middles, len(raw) + len(content)


def ids_of(inside: Folder, rows: Ints) -> tuple[list[str], int]:
    """Ids of some rows of a part, and how many bytes were read for them.

    Raises:
        Damaged: a file is missing, or an id is not as it was written.
    """
    from pipelines.kernels import text_hashes

    size = ROW.itemsize
    with named(f"{inside.url}/rows.bin"):
        raw = b"".join(inside.pieces("rows.bin", (rows * size).tolist(), [size] * len(rows)))
    if len(raw) != len(rows) * size:
        raise Damaged(f"{inside.url}/rows.bin is damaged: it is too short; put a sound copy back")
    table = np.frombuffer(raw, ROW)
    with named(f"{inside.url}/ids.bin"):
        ids = inside.pieces("ids.bin", table["id"].tolist(), table["id_size"].tolist())
    sizes = np.array([len(id_) for id_ in ids], np.int64)
    bounds = np.cumsum(np.append(0, sizes))
    prints = text_hashes(np.frombuffer(b"".join(ids) + b"\0", np.uint8), bounds)
    if not (np.array_equal(sizes, table["id_size"]) and np.array_equal(prints, table["print"])):
        raise Damaged(f"{inside.url}/ids.bin: an id has not the hash that rows.bin names; put a sound copy back")
    return [id_.decode() for id_ in ids], len(raw) + int(bounds[-1])


_NOTHING: tuple[Ints, Floats] = (np.zeros(0, np.int64), np.zeros((0, 0), np.float32))


def _read(place: Folder, name: str, seal: str) -> bytes:
    with named(f"{place.url}/{name}"):
        raw = place.read(name)
    if checksum(raw) != seal:
        raise Damaged(
            f"{place.url}/{name} is damaged: it has not the checksum it was written with; put a sound copy back"
        )
    return raw


def _cut(kept: Iterable[Kept]) -> Iterator[Kept]:
    """Rows with a direction, as many at once as make a part."""
    held: list[Kept] = []
    count = 0
    for ids, ranks, vectors in kept:
        usable = np.flatnonzero(with_direction(vectors))
        while len(usable):
            most = max(1, PART_BYTES // (4 * vectors.shape[1]))
            now, usable = usable[: most - count], usable[most - count :]
            held.append((ids.take(pa.array(now)), ranks[now], vectors[now]))
            count += len(now)
            if count == most:
                yield _joined(held)
                held, count = [], 0
    if held:
        yield _joined(held)


def _joined(held: Sequence[Kept]) -> Kept:
    ids, ranks, vectors = zip(*held, strict=True)
    return pa.concat_arrays(ids), np.concatenate(ranks), np.concatenate(vectors)


def _one_part(vectors: Floats) -> tuple[Floats, NDArray[np.int32]]:
    """The middles of the cells of rows that are one part, and the cell of each."""
    middles = trained(vectors) if len(vectors) > EXACT_ROWS else vectors[:1]
    return middles, nearest(vectors, middles, 1)[:, 0] if len(vectors) else np.zeros(0, np.int32)


def _write(
    place: Folder, ids: pa.Array, ranks: Ints, vectors: Floats, middles: Floats, cells: NDArray[np.int32]
) -> str:
    """The files of a part; whole before any version names it. Returns the seal."""
    from pipelines.kernels import text_hashes

    order = np.lexsort((ranks, cells))
    texts = [id_.encode() for id_ in ids.take(pa.array(order)).to_pylist()]
    sizes = np.array([len(text) for text in texts], np.int64)
    rows = np.zeros(len(texts), ROW)
    rows["id"], rows["id_size"] = np.cumsum(sizes) - sizes, sizes
    joined = b"".join(texts)
    rows["print"] = text_hashes(np.frombuffer(joined + b"\0", np.uint8), np.cumsum(np.append(0, sizes)))
    place.replace("ids.bin", joined)
    place.replace("rows.bin", rows.tobytes())
    files = {
        "vectors.bin": vectors[order].astype("<f4", copy=False).tobytes(),
        "ranks.bin": ranks[order].astype("<u4").tobytes(),
        "cells.bin": middles.astype("<f4", copy=False).tobytes(),
    }
    for name, content in files.items():
        place.replace(name, content)
    head: dict[str, Any] = {
        "rows": len(texts),
        "dimensions": vectors.shape[1],
        "cells": np.bincount(cells, minlength=len(middles)).tolist(),
        "checksums": {name: checksum(content) for name, content in files.items()},
    }
    raw = record("head.json", head)
    place.replace("head.json", raw)
    return checksum(raw)
