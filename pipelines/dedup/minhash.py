"""Near-duplicates by MinHash: shingle, sign, band, verify every candidate, keep one row a cluster.

``find(dataset, text_column="persona")`` decides; it removes nothing. Signatures are those of
``datasketch.MinHash(num_perm, seed=1, scheme=scheme, hashfunc=token_hash32)`` bit for bit (``signatures``).
Kernels run on every CPU that this process may use, without Python objects of rows or words. Where memory does not hold
the rows, or there are several nodes, the same steps go through files (``lsh/spread.py``).
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.dedup.earlier import earlier
from pipelines.dedup.found import Footprint, Found, Segment, Source
from pipelines.dedup.index import Index
from pipelines.dedup.lsh.buckets import Buckets, proposed_buckets
from pipelines.dedup.lsh.compared import Compared
from pipelines.dedup.lsh.comparison import Comparison, proposed, signatures
from pipelines.dedup.lsh.ranked import Ranked
from pipelines.dedup.lsh.scan import Scanned, TooLarge, scan
from pipelines.dedup.lsh.segment import stored_bytes, write_segment
from pipelines.dedup.lsh.segments import Segments
from pipelines.dedup.lsh.shingles import token_hash32, token_hash64
from pipelines.dedup.lsh.spread import Work, decide_spread
from pipelines.dedup.workers import Threads, Workers
from pipelines.store.files import Folder

__all__ = ["find", "remember", "signatures", "token_hash32", "token_hash64"]

#: Rows of a segment of an index.
SEGMENT_ROWS = 1 << 20


def find(
    dataset: Source,
    *,
    text_column: str,
    threshold: float = 0.9,
    num_permutations: int = 128,
    bands: int | None = None,
    ngram: int = 1,
    unit: str = "word",
    normalise: Sequence[str] = (),
    hash: str = "token",
    scheme: str = "affine32",
    verify: str = "exact",
    clusters: str = "chains",
    keep: str = "first",
    score_column: str | None = None,
    within: str | Sequence[str] | None = None,
    against: str | None = None,
    memory_gib: float | None = None,
    workers: Workers | None = None,
    spill: str | None = None,
    before: Sequence[Segment] = (),
) -> Found:
    """Rows whose shingle sets have a Jaccard similarity of at least ``threshold``; one of a cluster stays.

    The result is the same in any order of the input, on any number of CPUs and nodes, and whether memory holds the
    rows or not (``stats["in_memory"]``). Rows without a shingle are like nothing and stay.

    Args:
        dataset: rows with ``id`` and ``text_column``.
        text_column: what is compared.
        threshold: Jaccard similarity, in (0, 1].
        num_permutations: signature size.
        bands: bands of the index, of ``num_permutations // bands`` each; None takes the widest that propose 99.9% of
            the pairs at the threshold. ``stats["proposed_at_threshold"]`` says what share they propose.
        ngram: words or characters of a shingle.
        unit: ``word`` or ``character``.
        normalise: ``nfkc``, ``lowercase``, ``strip_punctuation``; for the comparison only.
        hash: ``token`` (ours) or ``sha1`` (datasketch's).
        scheme: datasketch's ``affine32`` or ``affine64``.
        verify: ``exact`` compares candidates by their sets, ``estimate`` by their signatures.
        clusters: ``chains`` joins whatever is connected; ``star`` goes through the rows in keeper order and removes
            one only if a row that stays is alike.
        keep: which row of a cluster stays: ``first`` (lowest id), ``longest`` (text) or ``highest`` (score_column).
        score_column: a column of numbers, for ``highest``.
        within: a column of text, or several; only rows with the same values there are compared (nulls are one value).
        against: a standing index (``index.py``): rows like one that an earlier run kept go, too.
        memory_gib: what deciding may take on a node; None takes half of what is free. More is spilled to files.
        workers: who does the work where memory does not hold it; None takes this process's CPUs.
        spill: an empty folder for those files, or that of the same call broken off, which then goes on; the caller
            clears it. None takes a temporary one.
        before: segments (``segment``) of rows that come before all of these, and stay: rows like one of them go.

    Raises:
        UserError: a setting out of range, a column that is absent or of a wrong type, ids that are not unique, an index
            that was made with other settings.
    """
    comparison = Comparison.asked(
        threshold, num_permutations, bands, ngram, unit, normalise, hash, scheme, verify, clusters, keep, within
    )
    hands: Workers = workers or Threads.here(memory_gib)
    index = _index(against, comparison, dataset.origin, text_column, memory_gib) if against else None
    known = (*(index.located() if index is not None else ()), *before)
    try:
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            most = hands.memory if hands.nodes == 1 else 0.0
            scanned = scan(dataset, text_column, score_column, comparison, pool, most)
            row_bytes = scanned.row_bytes
            blocks: Iterable[pa.Table]
            blocks, counted = _decide(scanned, Segments(known) if known else None, comparison, pool)
    except TooLarge as too_large:
        scanned, row_bytes = None, too_large.row_bytes
    if scanned is None:
        with TemporaryDirectory(prefix="nightmill-") as scratch:
            work = Work(comparison, spill or scratch, known)
            spread, counted = decide_spread(dataset, text_column, score_column, work, hands, row_bytes)
            blocks = spread if spill else list(spread)
    theirs = {name: counted.pop(name) for name in ("against_removed", "bytes_read")}
    stats: dict[str, Any] = {
        "rows": dataset.rows,
        **counted,
        "bands": comparison.bands,
        "proposed_at_threshold": round(proposed(threshold, num_permutations, comparison.bands), 6),
        "in_memory": scanned is not None,
        "estimated_gib": round(row_bytes * dataset.rows / 2**30, 3),
    }
    if before:
        stats["before"] = {"rows": sum(rows for _, rows, _ in before), "removed": theirs["against_removed"]}
    if index is not None:
        stats["against"] = {
            "kind": "minhash",
            "rows": sum(one.rows for one in index.counted),
            "removed": theirs["against_removed"],
            "bytes_read": theirs["bytes_read"],
            "segments": [one.name for one in index.counted],
        }
    return Found(blocks, stats)


def _decide(
    scanned: Scanned, known: Segments | None, comparison: Comparison, pool: ThreadPoolExecutor
) -> tuple[list[pa.Table], dict[str, Any]]:
    """Buckets, then verified edges, then who goes; and what was counted."""
    bands = range(comparison.bands)
    buckets = Buckets.joined(list(pool.map(lambda band: proposed_buckets(scanned, known, band), bands)))
    scanned.band_keys.clear()
    buckets = buckets.distinct(pool.map)
    base = known.rows if known is not None else 0
    rows = Compared.of(buckets.rows(base + scanned.rows), scanned, known, comparison, pool)
    edges, compared = rows.edges(buckets, comparison, pool)
    ranked = Ranked.of(np.unique(edges), scanned, known, comparison)
    decided = ranked.decided(edges, comparison)
    numbers = ranked.numbers[decided.gone] - base
    return [ranked.removed(decided, numbers)], {
        "removed": len(numbers),
        "clusters": len(np.unique(decided.keeper)),
        "without_shingles": scanned.without_shingles,
        "buckets": len(buckets.bounds) - 1,
        "pairs_compared": compared + decided.compared,
        "against_removed": int((decided.keeper < ranked.given).sum()),
        "bytes_read": known.bytes_read if known is not None else 0,
    }


def refuse(rows: int, *, against: str | None = None, **knobs: Any) -> None:
    """Refuse what ``find`` would refuse after the rows are made, hours later.

    Raises:
        UserError: a setting out of range, an index that was made with other settings.
    """
    comparison = _asked(knobs)
    if against is not None:
        Index(against, "minhash", comparison.index_settings(), "")


def _asked(knobs: Mapping[str, Any]) -> Comparison:
    names = inspect.signature(Comparison.asked).parameters
    return Comparison.asked(**{name: value for name, value in knobs.items() if name in names})


class _Two:
    """Two rows that are alike."""

    rows, origin = 2, ""

    def batches(self, columns: list[str] | None = None) -> Iterator[pa.Table]:
        yield pa.table({"id": ["a", "b"], "text": ["one two", "two one"], "group": ["c", "c"]})

    def cut(self, rows: int) -> Sequence[Source]:
        return [self]


def prepare() -> None:
    """Load the compiled kernels, or compile them where no run has yet, before there are rows."""
    find(_Two(), text_column="text", within="group")


def remember(dataset: Source, *, run: str, state: str, text_column: str, against: str, **knobs: Any) -> None:
    """Add the rows that a run kept to the index ``against``; ``knobs`` are those of ``find``.

    ``state`` is a word for what the run kept: a run that has not changed is not added again.
    """
    comparison = _asked(knobs)
    index = Index(against, "minhash", comparison.index_settings(), run)
    _add(index, dataset, run, state, text_column, comparison, knobs.get("memory_gib"))


def _add(
    index: Index,
    dataset: Source,
    run: str,
    state: str,
    text_column: str,
    comparison: Comparison,
    memory_gib: float | None,
) -> None:
    if not index.has(run, state):
        index.add(run, state, lambda place: _written(place, dataset, text_column, comparison, memory_gib))


def segment(dataset: Source, place: Folder, *, text_column: str, **knobs: Any) -> list[Segment]:
    """Write rows as ``find`` takes them in ``before``: the name in ``place``, rows and seal of each segment."""
    return _written(place, dataset, text_column, _asked(knobs), knobs.get("memory_gib"))


def footprint(dataset: Source, *, text_column: str, **knobs: Any) -> Footprint:
    """What a row such as those of ``dataset`` takes, by a look at all of them; ``knobs`` are those of ``find``."""
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        scanned = scan(dataset, text_column, None, replace(_asked(knobs), keep="first"), pool)
    return Footprint(scanned.row_bytes, stored_bytes(scanned) / max(1, scanned.rows))


def _written(
    place: Folder, dataset: Source, text_column: str, comparison: Comparison, memory_gib: float | None
) -> list[Segment]:
    how, made = replace(comparison, keep="first"), []
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        rows = _rows_at_once(dataset, text_column, how, pool, Threads.here(memory_gib).memory)
        for number, part in enumerate(dataset.cut(rows)):
            scanned = scan(part, text_column, None, how, pool)
            name = f"{number:05d}"
            made.append((name, scanned.rows, write_segment(place.sub(name), scanned, pool)))
    return made


def _rows_at_once(
    dataset: Source, text_column: str, comparison: Comparison, pool: ThreadPoolExecutor, memory: float
) -> int:
    """Rows of a segment, as memory allows, by a look at the first ones."""
    try:
        scan(dataset, text_column, None, comparison, pool, most=0)
    except TooLarge as found:
        return max(1, min(SEGMENT_ROWS, int(memory / found.row_bytes)))
    return SEGMENT_ROWS


def _index(against: str, comparison: Comparison, run: str, text_column: str, memory_gib: float | None) -> Index:
    """The index as ``run`` is held against it; that of an earlier run has what is in its ``data/`` now."""
    settings = comparison.index_settings()
    if (before := earlier(against, run)) is not None:
        index = Index(against, "minhash", settings, before.run)
        theirs = before.text_column(text_column)
        _add(index, before.kept, before.run, before.state, theirs, comparison, memory_gib)
    return Index(against, "minhash", settings, run)
