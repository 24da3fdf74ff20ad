"""Rows of a segment on their way to its parts: they wait in files until all are there, then each goes to its cell's.

Cells that all parts share let a search go to the few parts that hold what is near, however many there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.buffers import bytes_of
from pipelines.dedup.vectors.cells import middles_of, nearest, trained_on

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
#: Ids of some rows, how many rows of the run come before each by id, and their vectors.
Kept = tuple[pa.Array, Ints, Floats]

#: What a row is on its way, file by file; all but the ids have a fixed width.
_FILES = {"vectors": "<f4", "ranks": "<i8", "cells": "<i4", "sizes": "<i8", "ids": "u1"}
_NO_CELLS = np.zeros(0, np.int32)


def parted(pieces: Iterable[Kept], most: int) -> Iterator[tuple[Kept, Floats, NDArray[np.int32]]]:
    """Rows by cell, in parts of whole cells and about ``most`` rows: each with the middles of its cells, and its rows'.

    The files (in ``TMPDIR``) take what the vectors take, and are gone at the end, however that comes.
    """
    with TemporaryDirectory(prefix="nightmill-") as scratch:
        waiting: list[Path] = []
        for piece in pieces:
            waiting.append(Path(scratch, f"piece-{len(waiting)}"))
            _append(waiting[-1], piece, _NO_CELLS)
        middles = _middles(waiting)
        cells = [nearest(_vectors(path), middles, 1)[:, 0] for path in waiting]
        bounds = _bounds(np.bincount(np.concatenate(cells), minlength=len(middles)), most)
        for path, cell in zip(waiting, cells, strict=True):
            _bring(_kept(path), cell, bounds, Path(scratch))
            _clear(path)
        for number, (begin, end) in enumerate(pairwise(bounds)):
            path = Path(scratch, f"part-{number}")
            if path.exists():
                yield _kept(path), middles[begin:end], np.fromfile(path / "cells", "<i4") - np.int32(begin)
                _clear(path)


def _middles(waiting: Sequence[Path]) -> Floats:
    """The middles of cells of all rows."""
    starts = np.cumsum([0, *((path / "ranks").stat().st_size // 8 for path in waiting)])
    wanted = trained_on(int(starts[-1]))
    sample = [
        _vectors(path)[wanted[(wanted >= start) & (wanted < end)] - start]
        for path, (start, end) in zip(waiting, pairwise(starts), strict=True)
    ]
    return middles_of(np.concatenate(sample), int(starts[-1]))


def _bounds(rows_of: Ints, most: int) -> list[int]:
    """Where parts begin and end, in cells, given the rows of each cell."""
    bounds, held = [0], 0
    for cell, rows in enumerate(rows_of.tolist()):
        if held and held + rows > most:
            bounds.append(cell)
            held = 0
        held += rows
    return [*bounds, len(rows_of)]


def _bring(kept: Kept, cells: NDArray[np.int32], bounds: Sequence[int], scratch: Path) -> None:
    """Add rows to the files of the parts that their cells are in."""
    ids, ranks, vectors = kept
    order = np.argsort(cells, kind="stable")
    ends = np.searchsorted(cells[order], bounds)
    for number, (begin, end) in enumerate(pairwise(ends.tolist())):
        if rows := order[begin:end].tolist():
            some = (ids.take(pa.array(rows)), ranks[rows], vectors[rows])
            _append(scratch / f"part-{number}", some, cells[rows])


def _append(place: Path, kept: Kept, cells: NDArray[np.int32]) -> None:
    ids, ranks, vectors = kept
    data, bounds = bytes_of(ids)
    columns: tuple[NDArray[Any], ...] = (vectors, ranks, cells, np.diff(bounds), data[bounds[0] : bounds[-1]])
    place.mkdir(exist_ok=True)
    for (name, kind), column in zip(_FILES.items(), columns, strict=True):
        with (place / name).open("ab") as file:
            file.write(np.ascontiguousarray(column.astype(kind, copy=False)).data)


def _vectors(place: Path) -> Floats:
    rows = (place / "ranks").stat().st_size // 8
    return np.fromfile(place / "vectors", "<f4").reshape(rows, -1)


def _kept(place: Path) -> Kept:
    bounds = np.cumsum(np.append(0, np.fromfile(place / "sizes", "<i8")))
    buffers = [None, pa.py_buffer(bounds.tobytes()), pa.py_buffer((place / "ids").read_bytes())]
    ids = pa.Array.from_buffers(pa.large_string(), len(bounds) - 1, buffers)
    return ids, np.fromfile(place / "ranks", "<i8"), _vectors(place)


def _clear(place: Path) -> None:
    for name in _FILES:
        (place / name).unlink()
    place.rmdir()
