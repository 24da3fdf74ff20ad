"""MinHash where one process's memory does not hold all rows, or several nodes share the work.

The same steps as in memory (``minhash.py``), and the same rows go; each step is tasks over a share of what the step
before wrote, in files that every node reads:

1. rows to segments (shingle sets, keys of bands in order), each from some parts of the dataset;
2. a band and some slices of its keys to buckets;
3. buckets, each to whom its lowest row belongs, to verified edges;
4. edges to the component of each row (in one process while it can hold them), and parted by it;
5. components to decisions, in order of row.

A segment that is whole is not made again after a kill.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipelines.dedup.found import ROW_REMOVED, Source
from pipelines.dedup.lsh.buckets import Buckets, proposed_buckets
from pipelines.dedup.lsh.compared import Compared
from pipelines.dedup.lsh.comparison import Comparison
from pipelines.dedup.lsh.components import components, found_labels, labelled
from pipelines.dedup.lsh.exchange import get, mixed, parted, put
from pipelines.dedup.lsh.ranked import Ranked
from pipelines.dedup.lsh.scan import scan
from pipelines.dedup.lsh.segment import write_segment
from pipelines.dedup.lsh.segments import Segments
from pipelines.dedup.lsh.tonight import SLICES
from pipelines.dedup.workers import Workers
from pipelines.store.commit import checksum, to_parquet
from pipelines.store.dataset import named
from pipelines.store.files import Folder, folder

Ints = NDArray[np.int64]

#: Bytes that a key takes while its slices are looked through, an edge while it is parted, and a row that goes.
_KEY_BYTES, _EDGE_BYTES, _GONE_BYTES = 64, 64, 512
#: Of the memory of a task, the share that its input may take.
_INPUT = 0.4
#: Shares that a step is cut into at most, however little memory is allowed.
_MOST = 4096


@dataclass(frozen=True)
class Work:
    """What every task knows.

    Attributes:
        spill: the folder of the exchange.
        known, tonight: segments as (url, rows, seal).
        slices: slices of keys that a task looks through; groups: shares of buckets, and of components.
        blocks: shares of tonight's rows, in order, that decisions come in.
    """

    comparison: Comparison
    spill: str
    known: tuple[tuple[str, int, str], ...]
    tonight: tuple[tuple[str, int, str], ...] = ()
    slices: int = SLICES
    groups: int = 1
    blocks: int = 1

    @property
    def place(self) -> Folder:
        return folder(self.spill)

    def opened(self) -> tuple[Segments, Segments | None]:
        """Tonight's rows, and the index's."""
        tonight = Segments(self.tonight, "delete its folder, and the same command makes it again")
        return tonight, Segments(self.known) if self.known else None

    @property
    def known_rows(self) -> int:
        return sum(rows for _, rows, _ in self.known)

    @property
    def rows(self) -> int:
        return sum(rows for _, rows, _ in self.tonight)

    def bands(self) -> list[tuple[int, int]]:
        """Band and first slice of each task that makes buckets."""
        return [(band, first) for band in range(self.comparison.bands) for first in range(0, SLICES, self.slices)]


class Blocks:
    """Decisions in shares of rows, in order; read when they are asked for."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def __iter__(self) -> Iterator[pa.Table]:
        work = self._work
        bounds = [work.rows * block // work.blocks for block in range(work.blocks + 1)]
        for low, high in pairwise(bounds):
            tables = [ROW_REMOVED.empty_table()]
            for group in range(work.groups):
                name = f"removed-{group}"
                with named(f"{work.place.url}/{name}"), work.place.open(name) as file:
                    rows = [("row", ">=", low), ("row", "<", high)]
                    table = pq.read_table(file, filters=rows, page_checksum_verification=True)
                tables.append(table.replace_schema_metadata(None))
            yield pa.concat_tables(tables)


def decide_spread(
    dataset: Source,
    text_column: str,
    score_column: str | None,
    work: Work,
    workers: Workers,
    row_bytes: float,
) -> tuple[Blocks, dict[str, Any]]:
    """Decisions over a dataset, in blocks, and what was counted; ``row_bytes`` is what a row takes in memory."""
    task = workers.memory * _INPUT / workers.per_node
    parts = dataset.cut(max(1, min(1 << 20, int(task / row_bytes))))
    starts = np.cumsum([0, *(part.rows for part in parts)]).tolist()
    tasks = [(work, start, part, text_column, score_column) for start, part in zip(starts, parts, strict=False)]
    sketched = sorted(workers.each(_sketched, tasks))
    work = replace(work, tonight=tuple((url, rows, seal) for _, url, rows, seal, _ in sketched))
    shares = max(workers.nodes * workers.per_node, int(work.rows * row_bytes / task) + 1)
    work = replace(
        work,
        slices=max(1, min(SLICES, int(SLICES * task / max(1, _KEY_BYTES * (work.rows + work.known_rows))))),
        groups=1 if work.rows < shares else min(_MOST, shares),
        blocks=max(1, min(_MOST, int(_GONE_BYTES * work.rows / (workers.memory * _INPUT)))),
    )
    read = sum(workers.each(_proposed, [(work, *one) for one in work.bands()]))
    joined = list(workers.each(_joined, [(work, group) for group in range(work.groups)]))
    edges = sum(count for count, _, _, _ in joined)
    files = [f"edges-{group}" for group in range(work.groups)]
    if edges * _EDGE_BYTES <= workers.memory * _INPUT:
        _label_at_once(work, files)
    else:
        labels, both = labelled(work.place, files, work.groups, workers)
        list(workers.each(_label, [(work, labels, both, part) for part in range(work.groups)]))
    settled = list(workers.each(_settled, [(work, group) for group in range(work.groups)]))
    return Blocks(work), {
        "removed": sum(removed for removed, _, _, _, _ in settled),
        "clusters": sum(clusters for _, clusters, _, _, _ in settled),
        "without_shingles": sum(without for *_, without in sketched),
        "buckets": sum(buckets for _, buckets, _, _ in joined),
        "pairs_compared": sum(one[2] for one in (*joined, *settled)),
        "against_removed": sum(theirs for _, _, _, theirs, _ in settled),
        "bytes_read": read + sum(one[3] for one in joined) + sum(one[4] for one in settled),
    }


def _sketched(
    work: Work, start: int, part: Source, text_column: str, score_column: str | None
) -> tuple[int, str, int, str, int]:
    """(1) Some parts of the dataset as a segment: its first row, url, rows, seal, and rows without shingles."""
    # An earlier start may have cut the rows otherwise, with other memory.
    place = work.place.sub(f"segment-{start:012d}-{part.rows}")
    names = place.names()
    if "done.bin" in names:
        rows, without = np.frombuffer(place.read("done.bin"), "<i8").tolist()
        return start, place.url, rows, checksum(place.read("head.bin")), without
    with ThreadPoolExecutor(1) as pool:
        scanned = scan(part, text_column, score_column, work.comparison, pool)
        seal = write_segment(place, scanned, pool)
    place.replace("done.bin", np.array([scanned.rows, scanned.without_shingles], "<i8").tobytes())
    return start, place.url, scanned.rows, seal, scanned.without_shingles


def _proposed(work: Work, band: int, first: int) -> int:
    """(2) Buckets of some keys, parted by a hash of their lowest row; bytes read of the index."""
    tonight, known = work.opened()
    buckets = proposed_buckets(tonight, known, band, first, min(SLICES, first + work.slices)).distinct()
    lowest = buckets.members[buckets.bounds[:-1]]
    # Of any row as of any other: rows of the index, and tonight's first ones, are the lowest of many.
    owner = (mixed(lowest) % np.uint64(work.groups)).astype(np.int64)
    # Complemented where a bucket begins.
    marked = buckets.members.copy()
    marked[buckets.bounds[:-1]] = ~lowest
    put(work.place, f"buckets-{band}-{first}", parted(marked, np.repeat(owner, np.diff(buckets.bounds)), work.groups))
    return known.bytes_read if known is not None else 0


def _joined(work: Work, group: int) -> tuple[int, int, int, int]:
    """(3) Verified edges of some buckets; how many edges, buckets, pairs compared, bytes of the index."""
    names = [f"buckets-{band}-{first}" for band, first in work.bands()]
    flat = np.concatenate([np.zeros(0, np.int64), *get(work.place, names, group)])
    begins = np.flatnonzero(flat < 0)
    members = np.where(flat < 0, ~flat, flat)
    buckets = Buckets(members, np.append(begins, len(flat))).distinct()
    tonight, known = work.opened()
    with ThreadPoolExecutor(1) as pool:
        rows = Compared.of(buckets.rows(work.known_rows + work.rows), tonight, known, work.comparison, pool)
        edges, compared = rows.edges(buckets, work.comparison, pool)
    put(work.place, f"edges-{group}", [edges.ravel()])
    return len(edges), len(buckets.bounds) - 1, compared, known.bytes_read if known is not None else 0


def _label_at_once(work: Work, files: list[str]) -> None:
    """(4) All edges, parted by component, while one process can hold them."""
    edges = np.concatenate([np.zeros(0, np.int64), *get(work.place, files, 0)]).reshape(-1, 2)
    nodes, ends, lowest = components(edges)
    owner = nodes[lowest[ends[:, 0]]] % work.groups
    put(work.place, "labelled-0", parted(edges, owner, work.groups))
    for part in range(1, work.groups):
        put(work.place, f"labelled-{part}", [np.zeros(0, np.int64)] * work.groups)


def _label(work: Work, labels: list[str], both: list[str], part: int) -> None:
    """(4) The edges whose lower row belongs to a part, parted by component."""
    edges = np.concatenate([np.zeros(0, np.int64), *get(work.place, both, part)]).reshape(-1, 2)
    edges = edges[edges[:, 0] < edges[:, 1]]
    nodes, lowest = found_labels(work.place, labels, part)
    place = np.minimum(np.searchsorted(nodes, edges[:, 0]), max(0, len(nodes) - 1))
    known = nodes[place] == edges[:, 0] if len(nodes) else np.zeros(len(edges), bool)
    label = np.where(known, lowest[place] if len(nodes) else 0, edges[:, 0])
    put(work.place, f"labelled-{part}", parted(edges, label % work.groups, work.groups))


def _settled(work: Work, group: int) -> tuple[int, int, int, int, int]:
    """(5) Decisions of some components, by row; rows that go, clusters, pairs compared, because of the index, bytes."""
    names = [f"labelled-{part}" for part in range(work.groups)]
    edges = np.concatenate([np.zeros(0, np.int64), *get(work.place, names, group)]).reshape(-1, 2)
    tonight, known = work.opened()
    ranked = Ranked.of(np.unique(edges), tonight, known, work.comparison)
    decided = ranked.decided(np.unique(np.sort(edges, axis=1), axis=0), work.comparison)
    numbers = ranked.numbers[decided.gone] - work.known_rows
    table = ranked.removed(decided, numbers)
    work.place.replace(f"removed-{group}", to_parquet(table))
    clusters = len(np.unique(decided.keeper))
    theirs = int((decided.keeper < ranked.given).sum())
    return len(numbers), clusters, decided.compared, theirs, known.bytes_read if known is not None else 0
