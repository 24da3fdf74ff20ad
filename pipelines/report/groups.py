"""What became of a run's rows by the values of some columns: kept, rejected by reason, failed by error.

Counted from what every stage rejected and failed and from what the last one kept, so that each item is counted where it
ended. Rows without such a column (a seed that was turned away before it had one) are a group of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.errors import UserError
from pipelines.store.commit import read_side
from pipelines.store.dataset import Dataset, read_part
from pipelines.store.ledger import counts_of
from pipelines.store.survey import StageNow, outputs

#: A group's values as text, None where its rows have no such column or no value.
Values = tuple[str | None, ...]
#: Sides of a shard that hold rows which went no further, and the column that says why.
_ENDED = (("rejected", "reason"), ("failed", "error"))


def groups(stages: Sequence[StageNow], columns: Sequence[str]) -> list[dict[str, Any]]:
    """The groups in order of their values, each with ``values``, ``kept``, ``rejected`` and ``failed`` by name.

    Costs as much as there are rows: reads those columns of what was kept, and all of what was rejected and failed (a
    checksum is of a whole file). Failed rows that a retry settled do not count.

    Raises:
        UserError: no stage has rows with one of the columns, or its values are lists.
    """
    kept: Counter[Values] = Counter()
    ended: dict[str, dict[Values, Counter[str]]] = {side: {} for side, _ in _ENDED}
    _refuse(columns, _known(stages))
    for table in _kept(stages, columns):
        kept.update(dict(_counted(table, columns)))
    for side, why in _ENDED:
        for table in _side(stages, side):
            for (*values, reason), count in _counted(table, [*columns, why]):
                ended[side].setdefault(tuple(values), Counter())[str(reason)] += count
    everyone = {*kept, *ended["rejected"], *ended["failed"]}
    return [
        {
            "values": list(values),
            "kept": kept[values],
            **{side: dict(found.get(values, Counter()).most_common()) for side, found in ended.items()},
        }
        for values in sorted(everyone, key=lambda values: [(value is None, value or "") for value in values])
    ]


def _known(stages: Sequence[StageNow]) -> dict[str, pa.DataType]:
    """The columns there are, by the first part of each kind: all parts of a stage have the same."""
    known: dict[str, pa.DataType] = {}
    for stage in stages:
        for side, _ in _ENDED:
            entry = next((one for one in stage.entries.values() if side in one.files), None)
            if entry is not None and (table := read_side(stage.record.folder, entry, side)) is not None:
                known.update(zip(table.schema.names, table.schema.types, strict=True))
    for stage in outputs(stages):
        if stage.entries:
            schema = _schema(stage)
            known.update(zip(schema.names, schema.types, strict=True))
    return known


def _schema(stage: StageNow) -> pa.Schema:
    return Dataset.of(stage.record.folder, counts_of(stage.entries)).schema


def _kept(stages: Sequence[StageNow], columns: Sequence[str]) -> Iterator[pa.Table]:
    for stage in outputs(stages):
        if not stage.entries:
            continue
        names = _schema(stage).names
        for part in sorted(stage.entries):
            # The id is read too: a table without columns has no rows.
            yield read_part(stage.record.folder, part, ["id", *(name for name in columns if name in names)])


def _side(stages: Iterable[StageNow], side: str) -> Iterator[pa.Table]:
    for stage in stages:
        settled: dict[str, list[str]] = {}
        for entry in stage.entries.values():
            for home, rows in entry.settles.items():
                settled.setdefault(home, []).extend(rows)
        for index, entry in stage.entries.items():
            table = read_side(stage.record.folder, entry, side)
            if table is None:
                continue
            if side == "failed" and (again := settled.get(str(index))):
                table = table.filter(pc.invert(pc.is_in(table["row_id"], value_set=pa.array(again, pa.string()))))
            yield table


def _counted(table: pa.Table, columns: Sequence[str]) -> Iterator[tuple[Values, int]]:
    """How many rows have each combination of values."""
    places = [f"{place}" for place in range(len(columns))]
    plain = [
        pc.cast(table[name], pa.string())
        if name in table.column_names and not pa.types.is_nested(table[name].type)
        else pa.nulls(table.num_rows, pa.string())
        for name in columns
    ]
    counted = pa.table(plain, names=places).group_by(places).aggregate([([], "count_all")])
    for row in counted.to_pylist():
        yield tuple(row[place] for place in places), row["count_all"]


def _refuse(columns: Sequence[str], known: dict[str, pa.DataType]) -> None:
    plain = sorted(name for name, kind in known.items() if not pa.types.is_nested(kind))
    if not known:
        raise UserError(f"--by {','.join(columns)}: nothing is committed in this run yet; ask again later")
    for name in columns:
        if name not in known:
            raise UserError(f"--by {name}: no row of this run has that column; they have {', '.join(plain)}")
        if pa.types.is_nested(known[name]):
            raise UserError(
                f"--by {name}: its values are lists or structs ({known[name]}); use one of {', '.join(plain)}"
            )
