"""Near-duplicates by meaning: encode, then keep a row only if no kept row before it is too close.

``find(dataset, text_column="persona", encoder="packaged:all-minilm-l6-v2")`` decides; it removes nothing. The search
(``vectors/search.py``) confirms every decision in float64 and measures what it missed: ``stats["recall"]``. A run makes
the vectors first, shard by shard, as a dataset of their own (``vectors``); the search holds them all, 1.5 kB a row of
384 dimensions, in memory or in a file (``vectors/matrix.py``). Rows without text stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.dedup.earlier import earlier
from pipelines.dedup.found import Footprint, Found, Segment, Source, removed_table
from pipelines.dedup.index import Index
from pipelines.dedup.order import columns_read, keeper_order, scores_of
from pipelines.dedup.vectors import cells
from pipelines.dedup.vectors.encoded import Encoded, matrix, numbers, places, refuse_strangers
from pipelines.dedup.vectors.encoder import load, refuse_missing, unload
from pipelines.dedup.vectors.known import known
from pipelines.dedup.vectors.matrix import BESIDE, only, with_direction
from pipelines.dedup.vectors.parts import Kept
from pipelines.dedup.vectors.search import greedy
from pipelines.dedup.vectors.segment import ROW, write
from pipelines.errors import UserError
from pipelines.filters.text import strings
from pipelines.store.files import Folder

#: Rows that are encoded at once.
ENCODED_ROWS = 4096


def find(
    dataset: Source,
    *,
    text_column: str,
    threshold: float = 0.9,
    encoder: str,
    batch_size: int = 64,
    device: str | None = None,
    dtype: str = "auto",
    backend: str = "torch",
    keep: str = "first",
    score_column: str | None = None,
    against: str | None = None,
    encoded: Encoded | None = None,
    before: Sequence[Segment] = (),
) -> Found:
    """Rows whose cosine with an earlier kept row is above ``threshold``, in keeper order (papers.md 1.4).

    The keeper is the first kept row that is too close; ``via`` is the keeper. The same rows go in any order of the
    input, but for cosines within a rounding of the threshold: an encoder's last bits depend on its batches. A lower
    threshold almost always keeps fewer rows, but greedy keep-first does not promise it: a row that goes no longer
    pushes out others.

    Args:
        dataset: rows with ``id`` and ``text_column``.
        text_column: what is compared.
        threshold: cosine, at least -1 and below 1.
        encoder: hub id, path, ``packaged:NAME``, or ``simulated`` (load tests only).
        batch_size: texts encoded at once.
        device: see ``vectors.encoder.load``.
        dtype: see ``vectors.encoder.load``.
        backend: see ``vectors.encoder.load``.
        keep: which row of two comes first: ``first`` (lowest id), ``longest`` (text) or ``highest`` (score_column).
        score_column: a column of numbers, for ``highest``.
        against: a standing index (``index.py``): rows too close to one that an earlier run kept go, too.
        encoded: what ``vectors`` gave for the rows, in any order; None encodes them here.
        before: segments (``segment``) of rows that come before all of these, and stay: rows close to one of them go.

    Raises:
        UserError: a setting out of range, a column that is absent or holds no text, ids that are not unique, an index
            that was made with another encoder.
        Damaged: what is ``encoded`` are not these rows, or a file of the index is not as it was written.
    """
    if not -1 <= threshold < 1:
        raise UserError(f"dedup.embedding.threshold={threshold}: a cosine to stay above lies in [-1, 1)")
    how: dict[str, Any] = {
        "encoder": encoder,
        "batch_size": batch_size,
        "device": device,
        "dtype": dtype,
        "backend": backend,
    }
    index = None if against is None else _index(against, dataset.origin, text_column, how)
    ids, rank = _ordered(dataset, text_column, keep, score_column)
    tables: Iterator[pa.Table]
    if encoded is None:
        made: Callable[[pa.Table], pa.Table] = partial(vectors, text_column=text_column, **how)
        tables, placed = map(made, dataset.batches(["id", text_column])), rank
    else:
        tables, placed = encoded.batches(["vector"]), places(encoded, ids)
        refuse_strangers(encoded, placed, ids)
    every, worded = matrix(tables, placed, len(ids))
    usable = worded & with_direction(every)
    place = np.flatnonzero(usable)
    every = only(every, place)
    stats: dict[str, Any] = {
        "rows": len(ids),
        "without_text": int((~worded).sum()),
        "without_direction": int((worded & ~usable).sum()),
        "encoder": encoder,
    }
    gone, keepers = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    cosines, named = [np.zeros(0)], ids
    if index is not None or before:
        # Their rows come before all of tonight's, and none of them goes.
        theirs = known(every, (*(index.located() if index is not None else ()), *before), threshold)
        gone, keepers, cosines = [place[theirs.rows]], [len(ids) + theirs.keepers], [theirs.cosines]
        named = pa.concat_arrays([ids, theirs.ids.cast(pa.large_string())])
        if before:
            stats["before"] = theirs.stats
        if index is not None:
            segments = [part.name for part in index.counted]
            stats["against"] = {"kind": "embedding", **theirs.stats, "segments": segments}
        stays = np.delete(np.arange(len(place)), theirs.rows)
        every, place = only(every, stays), place[stays]
    found = greedy(every, threshold)
    rows = np.concatenate([*gone, place[found.rows]])
    kept = np.concatenate([*keepers, place[found.keepers]])
    cosine = np.concatenate([*cosines, found.cosines])
    removed = removed_table(_rows(rank)[rows], named, rows, kept, "embedding", cosine, kept, cosine)
    stats |= {"removed": len(rows), "clusters": len(np.unique(kept)), **found.stats}
    return Found([removed], stats)


def refuse(rows: int, *, encoder: str, dtype: str = "auto", against: str | None = None, **_: object) -> None:
    """Refuse what ``find`` would refuse after the rows are made, hours later; ``rows`` are those of the run's input.

    Raises:
        UserError: the encoder, or a package that it or so many rows need, is not here; an index of another encoder.
    """
    refuse_missing(encoder)
    cells.refuse_missing(rows)
    if against is not None:
        Index(against, "embedding", agreed(encoder, dtype), "")


def remember(
    dataset: Source,
    *,
    run: str,
    state: str,
    text_column: str,
    against: str,
    encoder: str,
    dtype: str = "auto",
    encoded: Encoded | None = None,
    **knobs: Any,
) -> None:
    """Add the rows that a run kept to the index ``against``; ``knobs`` are those of ``find``.

    ``state`` is a word for what the run kept: a run that has not changed is not added again. ``encoded`` are vectors
    that the run has made, of these rows and others: only rows that are not among them are encoded here.
    """
    index = Index(against, "embedding", agreed(encoder, dtype), run)
    if not index.has(run, state):
        made = partial(vectors, text_column=text_column, encoder=encoder, dtype=dtype, **knobs)
        index.add(run, state, lambda place: write(place, _kept(dataset, text_column, made, encoded)))


def segment(
    dataset: Source, place: Folder, *, text_column: str, encoded: Encoded | None = None, **knobs: Any
) -> list[Segment]:
    """Write rows as ``find`` takes them in ``before``: the name in ``place``, rows and seal of each part."""
    return write(place, _kept(dataset, text_column, partial(vectors, text_column=text_column, **knobs), encoded))


def footprint(dataset: Source, *, text_column: str, encoded: Encoded | None = None, **knobs: Any) -> Footprint:
    """What a row such as those of ``dataset`` takes; one is encoded where nothing is ``encoded`` yet."""
    table = next(dataset.batches(["id", text_column])).slice(0, 1000)
    if encoded is None:
        made = vectors(table.slice(0, 1), text_column=text_column, **knobs)
    else:
        made = next(encoded.batches(["vector"]))
    vector = 4 * made["vector"].type.list_size
    ids = strings(table, "id").nbytes / max(1, table.num_rows)
    return Footprint(BESIDE * vector, vector + 4 + ROW.itemsize + ids)


def vectors(
    table: pa.Table,
    *,
    text_column: str,
    encoder: str,
    batch_size: int = 64,
    device: str | None = None,
    dtype: str = "auto",
    backend: str = "torch",
    threads: int | None = None,
    **_: object,
) -> pa.Table:
    """``id`` and ``vector`` (float32, of length 1) of every row, in order; the vector is null where there is no text.

    The first, row-wise part of ``find``, whose knobs it takes: what it gives is a dataset of its own.
    """
    texts = strings(table, text_column)
    filled = pc.greater(pc.utf8_length(pc.fill_null(pc.utf8_trim_whitespace(texts), "")), 0)
    worded = np.flatnonzero(filled.to_numpy(zero_copy_only=False))
    # Where all are blank, for the sake of the dimensions: the parts of a dataset have one type.
    wanted = texts.take(pa.array(worded)).to_pylist() or [""]
    made = load(encoder, batch_size, device, dtype, backend, threads)(wanted)
    width = made.shape[1]
    every = np.zeros((len(texts), width), np.float32)
    every[worded] = made[: len(worded)]
    column = pa.FixedSizeListArray.from_arrays(pa.array(every.ravel()), width, mask=pc.invert(filled))
    return pa.table({"id": strings(table, "id").cast(pa.string()), "vector": column})


def release(**_: object) -> None:
    """Let go of the encoders that ``vectors`` has loaded in this process."""
    unload()


def agreed(encoder: str, dtype: str) -> dict[str, str]:
    """What rows of one index must agree in, by the keys that set it."""
    return {"dedup.embedding.encoder": encoder, "dedup.embedding.dtype": dtype}


def _index(against: str, run: str, text_column: str, how: Mapping[str, Any]) -> Index:
    """The index as ``run`` is held against it; that of an earlier run has what is in its ``data/`` now."""
    if (before := earlier(against, run)) is not None:
        names = ("encoder", "dtype", "backend")
        theirs = before.text_column(text_column)
        made = before.vectors({"text_column": theirs, **{name: how[name] for name in names}})
        remember(
            before.kept,
            run=before.run,
            state=before.state,
            text_column=theirs,
            against=against,
            encoded=made,
            **how,
        )
    return Index(against, "embedding", agreed(how["encoder"], how["dtype"]), run)


def _kept(
    dataset: Source, text_column: str, made: Callable[[pa.Table], pa.Table], encoded: Encoded | None
) -> Iterator[Kept]:
    """Rows with their ranks by id and their vectors: those that are encoded already, then the others."""
    ids, rank = _ordered(dataset, text_column, "first", None)
    there = np.zeros(len(ids), bool)
    if encoded is not None:
        for table, place in zip(encoded.batches(["vector"]), places(encoded, ids), strict=True):
            there[place[place >= 0]] = True
            rows, values = numbers(table)
            mine = np.flatnonzero(place[rows] >= 0)
            at = place[rows[mine]]
            yield ids.take(pa.array(at)), at, values[mine]
    for table, place in zip(dataset.batches(["id", text_column]), rank, strict=True):
        missing = np.flatnonzero(~there[place])
        for start in range(0, len(missing), ENCODED_ROWS):
            some = missing[start : start + ENCODED_ROWS]
            rows, values = numbers(made(table.take(pa.array(some))))
            at = place[some[rows]]
            yield ids.take(pa.array(at)), at, values


def _rows(rank: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """The row of the dataset at each place in keeper order."""
    every = np.concatenate([np.zeros(0, np.int64), *rank])
    rows = np.empty(len(every), np.int64)
    rows[every] = np.arange(len(every))
    return rows


def _ordered(
    dataset: Source, text_column: str, keep: str, score_column: str | None
) -> tuple[pa.Array, list[NDArray[np.int64]]]:
    """Ids in keeper order, and for each table the places that its rows have there."""
    ids: list[pa.Array] = []
    scores: list[NDArray[np.float64]] = [np.zeros(0)]
    for table in dataset.batches(columns_read(text_column, keep, score_column)):
        ids.append(strings(table, "id").cast(pa.large_string()))
        strings(table, text_column)
        scores.append(scores_of(table, text_column, keep, score_column))
    named = pa.concat_arrays([pa.array([], pa.large_string()), *ids])
    order = keeper_order(named, keep, np.concatenate(scores))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    ends = np.cumsum([0, *map(len, ids)])
    return named.take(pa.array(order)), [rank[start:end] for start, end in pairwise(ends.tolist())]
