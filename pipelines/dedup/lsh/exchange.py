"""Whole numbers handed from some tasks to others through files: each task writes one file, a section for each reader.

A file is the number of sections, where each begins and the last ends (8 bytes each), and the sections. It lies where
the run does, so any node can read it, a task that is done again replaces it, and nothing waits in anybody's memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from pipelines.store.dataset import named
from pipelines.store.files import Folder

Ints = NDArray[np.int64]


def put(place: Folder, name: str, sections: Sequence[Ints]) -> None:
    """Write a file of sections."""
    bounds = np.cumsum([0, *map(len, sections)])
    place.replace(name, np.concatenate([[len(sections)], bounds, *sections]).astype("<i8").tobytes())


def get(place: Folder, names: Iterable[str], section: int) -> list[Ints]:
    """One section of each of some files."""
    found: list[Ints] = []
    for name in names:
        with named(f"{place.url}/{name}"):
            [raw] = place.pieces(name, [0], [8])
            count = int.from_bytes(raw, "little")
            [raw] = place.pieces(name, [8 + 8 * section], [16])
            begin, end = np.frombuffer(raw, "<i8").tolist()
            base = 8 * (count + 2)
            [raw] = place.pieces(name, [base + 8 * begin], [8 * (end - begin)]) if end > begin else [b""]
        found.append(np.frombuffer(raw, "<i8"))
    return found


def mixed(rows: Ints) -> NDArray[np.uint64]:
    """A hash of each row's number (splitmix64's finaliser), so that shares are even whatever rows there are."""
    h = rows.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    h ^= h >> np.uint64(32)
    h *= np.uint64(0xD6E8FEB86659FD93)
    return h ^ (h >> np.uint64(32))


def parted(values: Ints, owner: Ints, parts: int) -> list[Ints]:
    """Rows of ``values`` by owner (below ``parts``), in their order, each flattened."""
    order = np.argsort(owner, kind="stable")
    ends = np.searchsorted(owner[order], np.arange(parts + 1))
    ordered = values[order]
    return [ordered[x:y].ravel() for x, y in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)]
