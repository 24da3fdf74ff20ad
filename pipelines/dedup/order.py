"""Keeper order: which of two duplicates stays, by a rule that does not know the order of the input.

``first`` keeps the lowest id, ``longest`` the longest text, ``highest`` the highest value of a score column; equal ones
are told apart by id.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.buffers import bytes_of
from pipelines.errors import UserError

KEEP = ("first", "longest", "highest")


def id_order(ids: pa.Array) -> NDArray[np.int64]:
    """Positions of the ids in ascending order (of their UTF-8 bytes).

    Most ids differ in eight bytes after what all have in common, and those sort as numbers.

    Raises:
        UserError: an id is missing or occurs twice, so that decisions could not name their row.
    """
    if ids.null_count:
        raise UserError(f"{ids.null_count} rows have no id; give every row one, or leave id_column unset")
    if len(ids) < 2:
        return np.arange(len(ids))
    ids = ids.cast(pa.large_string())
    heads = _eight_bytes(ids, _common(ids))
    order = np.argsort(heads)
    ordered = heads[order]
    tied = np.zeros(len(ids), bool)
    tied[1:] = ordered[1:] == ordered[:-1]
    tied[:-1] |= tied[1:]
    places = np.flatnonzero(tied)
    if len(places):
        rest = pa.table({"head": ordered[places], "id": ids.take(pa.array(order[places]))})
        within = pc.sort_indices(rest, [("head", "ascending"), ("id", "ascending")]).to_numpy()
        order[places] = order[places][within]
        again = rest["id"].take(pa.array(within)).combine_chunks()
        twice = pc.equal(again.slice(1), again.slice(0, len(again) - 1))
        if pc.any(twice).as_py():
            name = again[pc.index(twice, True).as_py()].as_py()
            raise UserError(
                f"id {name!r} occurs more than once; ids must be unique, so leave id_column unset or mend them"
            )
    return order


def refuse_repeats(chunks: Sequence[pa.Array], prints: Sequence[NDArray[np.uint64]]) -> None:
    """UserError for an id that is missing or occurs twice, over many more ids than are worth sorting.

    ``prints`` are hashes of the ids of each chunk: only where two agree are the ids themselves looked at.
    """
    if missing := sum(chunk.null_count for chunk in chunks):
        raise UserError(f"{missing} rows have no id; give every row one, or leave id_column unset")
    every = np.concatenate([*prints, np.zeros(0, np.uint64)])
    ordered = np.sort(every)
    twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    if len(twice):
        places = np.flatnonzero(np.isin(every, twice))
        id_order(pa.chunked_array(chunks).take(pa.array(places)).combine_chunks())


def keeper_order(ids: pa.Array, rule: str, scores: NDArray[np.float64] | None = None) -> NDArray[np.int64]:
    """Positions of the rows in keeper order: the first of a cluster stays.

    ``scores`` are what ``longest`` and ``highest`` go by (bytes of text, the score column); a row without one comes
    after those that have one.
    """
    by_id = id_order(ids)
    if rule == "first" or scores is None:
        return by_id
    return by_id[np.argsort(-np.nan_to_num(scores[by_id], nan=-np.inf, posinf=np.inf, neginf=-np.inf), kind="stable")]


def columns_read(text_column: str, keep: str, score_column: str | None, *within: str) -> list[str]:
    """The columns that a dedup needs of its input, each once.

    Raises:
        UserError: the rule is none of KEEP, or wants a column of scores that is not named.
    """
    if keep not in KEEP:
        raise UserError(f"dedup.keep={keep}: must be one of {', '.join(KEEP)}")
    if keep == "highest" and score_column is None:
        raise UserError("dedup.keep=highest: name the column of numbers that decides, dedup.score_column=...")
    asked = (text_column, score_column if keep == "highest" else None, *within)
    return list(dict.fromkeys(["id", *(name for name in asked if name is not None)]))


def scores_of(table: pa.Table, text_column: str, keep: str, score_column: str | None) -> NDArray[np.float64]:
    """What the rule goes by, for ``keeper_order``: one number a row, or none for ``first``.

    Raises:
        UserError: the column of scores is absent or holds no numbers.
    """
    if keep == "first":
        return np.zeros(0)
    if keep == "longest":
        lengths: NDArray[np.float64] = pc.cast(pc.binary_length(table[text_column]), pa.float64()).to_numpy()
        return lengths
    if score_column not in table.column_names:
        raise UserError(f"dedup.score_column={score_column}: no such column")
    try:
        values: NDArray[np.float64] = table[score_column].cast(pa.float64(), safe=False).to_numpy()
    except pa.ArrowInvalid as error:
        raise UserError(f"dedup.score_column={score_column}: {error}; numbers are needed") from error
    return values


def _common(ids: pa.Array) -> int:
    """Bytes that all ids begin with."""
    ends = pc.min_max(ids)
    low, high = ends["min"].as_py().encode(), ends["max"].as_py().encode()
    return next((i for i, (x, y) in enumerate(zip(low, high, strict=False)) if x != y), min(len(low), len(high)))


def _eight_bytes(ids: pa.Array, skip: int) -> NDArray[np.uint64]:
    """The eight bytes after the first ``skip``, as big-endian numbers; what an id lacks counts as zeros."""
    text, bounds = bytes_of(ids)
    text = text if len(text) else np.zeros(1, np.uint8)
    begins, ends = bounds[:-1] + skip, bounds[1:]
    heads = np.zeros(len(ids), np.uint64)
    for byte in range(8):
        at = begins + byte
        value = text[np.minimum(at, len(text) - 1)].astype(np.uint64)
        heads = (heads << np.uint64(8)) | np.where(at < ends, value, np.uint64(0))
    return heads
