"""A population instead of what a model likes best: as many rows as fit a table of weights, the others turned away.

A table looks like ``{region: {Africa: 18, Asia: 59, ...}, age: {child: 25, ...}}``. Of all subsets of the rows in which
each value has its share, within ``tolerance``, one of the largest is kept: an integer programme over the rows' joint
values says how many of each. What earlier rounds kept counts, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.dedup.found import Found, Source
from pipelines.errors import RunStopped
from pipelines.filters.text import strings
from pipelines.selection.lots import by_lot, ids_in, turned_away

#: Seconds that the integer programme may take, and what its solver says when they are over.
_SECONDS, _TIME_LIMIT = 60.0, 1
#: Values that a row has of each attribute, by their place in the table; -1 for none.
Values = NDArray[np.int64]


def within(
    dataset: Source,
    *,
    quotas: Mapping[str, Mapping[str, float]] | None,
    tolerance: float,
    reason: str,
    kept: Sequence[Source] = (),
) -> Found:
    """Let the largest set of rows stay whose shares are those of ``quotas``, and turn the others away for ``reason``.

    Rows without a value of an attribute (those that were given) stay and do not count. Which of several rows with the
    same values stay is drawn by lot from their ids. Where no set of rows fits, and none was kept before, none stays,
    and ``stats["unmet"]`` says which values are short, and by how much.

    Args:
        dataset: rows with ``id`` and a column for each attribute.
        quotas: attribute -> value -> weight.
        tolerance: how far a value's share among the kept rows may be from its weight's.
        reason: what the others are turned away for.
        kept: what the run has kept before.

    Raises:
        RunStopped: the integer programme took too long.
    """
    quotas = quotas or {}
    names = list(quotas)
    shares = [np.array(list(table.values()), float) / sum(table.values()) for table in quotas.values()]
    ids, values = _read(dataset, quotas)
    before = np.concatenate([values[:0], *(_read(one, quotas)[1] for one in kept)])
    earlier = before[(before >= 0).all(axis=1)]
    counted = np.flatnonzero((values >= 0).all(axis=1))
    cells, cell_of, sizes = np.unique(values[counted], axis=0, return_inverse=True, return_counts=True)
    room = _room(cells, sizes, earlier, shares, tolerance)
    # Where earlier rows have the shares already, a hop or round of which none fits adds none.
    lacking = len(counted) and not room.sum() and not len(earlier)
    unmet = {"unmet": _short(quotas, shares, values[counted], tolerance)} if lacking else {}
    order = by_lot(ids)
    place = np.full(len(ids), -1)
    place[counted] = cell_of.ravel()
    stays = np.ones(len(ids), bool)
    for cell, most in enumerate(room.tolist()):
        mine = order[place[order] == cell]
        stays[mine[most:]] = False
    final = np.concatenate([earlier, values[counted][stays[counted]]])
    shown = (
        {
            name: {value: round(float((final[:, at] == n).mean()), 4) for n, value in enumerate(quotas[name])}
            for at, name in enumerate(names)
        }
        if len(final)
        else {}
    )
    return turned_away(ids, np.flatnonzero(~stays), reason, shares=shown, **unmet)


def _room(
    cells: Values, sizes: NDArray[np.int64], earlier: Values, shares: Sequence[NDArray[np.float64]], tolerance: float
) -> NDArray[np.int64]:
    """How many rows of each cell may stay, as many as possible together; all 0 where no number fits."""
    from scipy.optimize import Bounds, LinearConstraint, milp

    if not len(cells):
        return np.zeros(0, np.int64)
    rows, limits = [], []
    tolerance *= 1 - 1e-3  # a solver keeps a limit up to a rounding
    # A share of very few rows is coarse: one row more or less is allowed.
    slack = 1.0 if (len(earlier) + int(sizes.sum())) * tolerance < 1 else 0.0
    for at, wanted in enumerate(shares):
        for value, share in enumerate(wanted):
            has = (cells[:, at] == value).astype(float)
            had = float((earlier[:, at] == value).sum())
            rows += [has - share - tolerance, share - tolerance - has]
            limits += [len(earlier) * (share + tolerance) - had, had - len(earlier) * (share - tolerance)]
    found = milp(
        -np.ones(len(cells)),
        integrality=np.ones(len(cells)),
        bounds=Bounds(0, sizes),
        constraints=LinearConstraint(np.array(rows), ub=np.array(limits) + slack),
        options={"time_limit": _SECONDS, "mip_rel_gap": 1e-3},
    )
    if found.x is None and found.status == _TIME_LIMIT:
        raise RunStopped(
            f"recipe.quotas: no answer in {_SECONDS:.0f} s how many of each of {len(cells):,} joint values may stay; "
            "give fewer attributes or values"
        )
    return np.zeros(len(cells), np.int64) if found.x is None else np.round(found.x).astype(np.int64)


def _short(
    quotas: Mapping[str, Mapping[str, float]],
    shares: Sequence[NDArray[np.float64]],
    values: Values,
    tolerance: float,
) -> str:
    lines = []
    for at, (name, table) in enumerate(quotas.items()):
        for number, (value, share) in enumerate(zip(table, shares[at], strict=True)):
            rows = int((values[:, at] == number).sum())
            has = rows / len(values)
            if has < share - tolerance:
                lines.append(f"{name}={value} wants {share:.1%} and has {rows:,} of {len(values):,} rows, {has:.1%}")
    return (
        "recipe.quotas: no set of the rows fits the weights: "
        + ("; ".join(lines) or "the values of several attributes do not go together")
        + "; lower those weights, give more input, or raise recipe.quota_tolerance"
    )


def _read(dataset: Source, quotas: Mapping[str, Mapping[str, Any]]) -> tuple[pa.Array, Values]:
    """Ids, and the values of each row by their places in the table."""
    ids: list[pa.Array] = [pa.array([], pa.large_string())]
    found: list[Values] = [np.zeros((0, len(quotas)), np.int64)]
    for table in dataset.batches(["id", *quotas]):
        ids.append(ids_in(table))
        columns = []
        for name, values in quotas.items():
            texts = strings(table, name)
            places = pc.fill_null(pc.index_in(texts, value_set=pa.array(list(values), texts.type)), -1)
            columns.append(places.to_numpy(zero_copy_only=False))
        found.append(np.array(columns, np.int64).T.reshape(-1, len(quotas)))
    return pa.concat_arrays(ids), np.concatenate(found)
