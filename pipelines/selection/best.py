"""The best rows of a stage by a number that each of them has."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.dedup.found import Found, Source
from pipelines.errors import UserError
from pipelines.selection.lots import by_lot, ids_in, turned_away


def best(dataset: Source, *, column: str, rows: int | None, reason: str) -> Found:
    """Let the ``rows`` rows stay that have the highest numbers in ``column`` (None: all), and turn others away.

    Rows without a number are the worst. Of equal ones a lot decides, drawn from their ids.

    Raises:
        UserError: the column holds no numbers, or all of its values are null and some rows have to go.
    """
    ids, values = [pa.array([], pa.large_string())], [pa.array([], pa.float64())]
    for table in dataset.batches(["id", column]):
        ids.append(ids_in(table))
        kind = table[column].type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind)):
            raise UserError(f"{column}: rows are to be picked by this column, and it holds {kind}; name one of numbers")
        values.append(table[column].combine_chunks().cast(pa.float64()))
    every = pa.concat_arrays(ids)
    numbers = pc.fill_null(pa.concat_arrays(values), -np.inf).to_numpy(zero_copy_only=False)
    numbers = np.where(np.isnan(numbers), -np.inf, numbers)
    lots = by_lot(every)
    order = lots[np.argsort(-numbers[lots], kind="stable")]
    gone = np.sort(order[len(order) if rows is None else rows :])
    if len(gone) and not np.isfinite(numbers).any():
        raise UserError(
            f"{column}: not one of {len(every):,} rows has a number, so none is better than another; scores of answers "
            "need an engine that gives log-probabilities"
        )
    kept = numbers[order[: len(order) - len(gone)]]
    worst = float(kept[-1]) if len(kept) and np.isfinite(kept[-1]) else None
    return turned_away(every, gone, reason, least=worst)
