"""Tables of what became of a shard's rows: kept and rejected items, failed rows, and the record of model calls.

Built column by column in plain lists, since a dict a row would cost more than the flow's own bookkeeping.
"""

from __future__ import annotations

import json
import reprlib
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from pipelines.engine.llm import Request, Sampling
from pipelines.engine.row import Call
from pipelines.errors import RowFailed, UserError
from pipelines.rows import PROVENANCE, RESERVED, Answer, Item, beside, storable

#: Types that a recipe may give a column, by the name that YAML uses.
COLUMN_TYPES: Mapping[str, pa.DataType] = {
    "string": pa.string(),
    "int": pa.int64(),
    "float": pa.float64(),
    "bool": pa.bool_(),
    "list[string]": pa.list_(pa.string()),
    "list[float]": pa.list_(pa.float64()),
}


def bare_rows(ids: list[str], rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> pa.Table:
    """Rows that no row was made into: without parents and provenance; ``columns`` are types by name."""
    table = {name: pa.array([row.get(name) for row in rows], COLUMN_TYPES[kind]) for name, kind in columns.items()}
    none = pa.array([[]] * len(rows), pa.list_(pa.string()))
    first = {"id": pa.array(ids, pa.string()), "parent_ids": none}
    return pa.table(first | table | {"provenance": pa.nulls(len(rows), PROVENANCE)})


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


#: Whether a value that is not null can be stored under a type.
_FITS: Mapping[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "int": _is_whole,
    "float": lambda value: _is_number(value) or value != value or value in (float("inf"), float("-inf")),
    "bool": lambda value: isinstance(value, bool),
    "list[string]": lambda value: isinstance(value, list) and all(isinstance(one, str) for one in value),
    "list[float]": lambda value: isinstance(value, list) and all(map(_is_number, value)),
}

#: Columns of quarantine: which row, in which stage, why, and the exact request that broke (JSON), if one was made.
FAILED = pa.schema([(name, pa.string()) for name in ("row_id", "stage", "error", "message", "request")])
#: Columns of ``calls/``: a row a model call, with the conversation as JSON and every raw answer.
CALLS = pa.schema(
    [
        ("row_id", pa.string()),
        ("call", pa.int32()),
        ("prompt_id", pa.string()),
        ("prompt", pa.string()),
        ("answers", pa.list_(pa.string())),
        ("finish_reasons", pa.list_(pa.string())),
        ("prompt_tokens", pa.int64()),
        ("completion_tokens", pa.int64()),
        ("seed", pa.int64()),
    ]
)


@dataclass(frozen=True, slots=True)
class RowDone:
    """One row, finished: its items, or the error that sends it to quarantine, with what is ``shown`` of the row."""

    row_id: str
    items: list[Item]
    calls: list[Call]
    error: Exception | None
    shown: Mapping[str, Any] = field(default_factory=dict)


class ItemColumns:
    """Items gathered column by column, so that tables are built without a dict a row."""

    def __init__(self, columns: Mapping[str, str]) -> None:
        self.ids: list[str] = []
        self._parents: list[list[str]] = []
        self._reasons: list[str | None] = []
        self._details: list[str] = []
        self._provenance: list[dict[str, Any]] = []
        self._types = {name: COLUMN_TYPES[kind] for name, kind in columns.items()}
        self._values: dict[str, list[Any]] = {name: [] for name in columns}

    def add(self, item: Item, id_: str, parents: Sequence[str], provenance: dict[str, Any]) -> None:
        """``parents`` begin with the row that the item was made of."""
        self.ids.append(id_)
        self._parents.append(list(parents))
        self._reasons.append(None if item.reason is None else storable(item.reason))
        self._details.append(storable(item.detail))
        self._provenance.append(provenance)
        for name, values in self._values.items():
            values.append(item.columns.get(name))

    def kept_table(self) -> pa.Table:
        ids = pa.array(self.ids, pa.string())
        return self._table({"id": ids, "parent_ids": pa.array(self._parents, pa.list_(pa.string()))})

    def rejected_table(self) -> pa.Table:
        return self._table(
            {
                "id": pa.array(self.ids, pa.string()),
                "parent_ids": pa.array(self._parents, pa.list_(pa.string())),
                "row_id": pa.array([parents[0] for parents in self._parents], pa.string()),
                "reason": pa.array(self._reasons, pa.string()),
                "detail": pa.array(self._details, pa.string()),
            }
        )

    def _table(self, first: dict[str, pa.Array]) -> pa.Table:
        own = {
            beside(first, name, self._types): pa.array(values, self._types[name])
            for name, values in self._values.items()
        }
        return pa.table(first | own | {"provenance": pa.array(self._provenance, PROVENANCE)})


def check_columns(stage: str, columns: Mapping[str, str]) -> None:
    """Raise UserError when a recipe's ``columns`` names an unknown type or a column that Nightmill owns."""
    for name, kind in columns.items():
        where = f"recipe.stages.{stage}.columns.{name}"
        if kind not in COLUMN_TYPES:
            raise UserError(f"{where}={kind}: not a type; use one of {', '.join(COLUMN_TYPES)}")
        if name in RESERVED:
            raise UserError(f"{where}: the name is Nightmill's own ({', '.join(RESERVED)}); use another")


def fits(value: Any, kind: str) -> bool:
    """Whether a value can be stored under a type of ``COLUMN_TYPES``."""
    return value is None or _FITS[kind](value)


def checked(item: Item, columns: Mapping[str, str], stage: str) -> Item:
    """The item with its texts made storable; checked here, so that one bad item fails its row and not its shard.

    Raises:
        TypeError: a column is undeclared, missing from a kept item, or of another type than declared.
    """
    undeclared = set(item.columns) - set(columns)
    missing = set(columns) - set(item.columns) if item.reason is None else ()
    if undeclared or missing:
        raise TypeError(
            f"the flow's item has undeclared columns {sorted(undeclared)} and lacks {sorted(missing)}; "
            f"recipe.stages.{stage}.columns declares {sorted(columns)}"
        )
    for name, value in item.columns.items():
        if not fits(value, columns[name]):
            raise TypeError(f"column {name} is declared {columns[name]}, the flow gave {reprlib.repr(value)}")
    return replace(item, columns={name: _stored(value) for name, value in item.columns.items()})


def _stored(value: Any) -> Any:
    if isinstance(value, str):
        return storable(value)
    return [_stored(one) for one in value] if isinstance(value, list) else value


def failure(stage: str, row: RowDone, kind: str) -> dict[str, Any]:
    """A row of quarantine."""
    # Where no call broke, the flow's own code did, after the last one.
    broken = [call for call in row.calls if call.broke] or row.calls[-1:]
    request = broken[0].request if broken else None
    message = str(row.error) or type(row.error).__name__
    if not isinstance(row.error, RowFailed) and row.error is not None:
        place = traceback.extract_tb(row.error.__traceback__)[-1]
        message = f"{message} ({place.filename.rsplit('/', 1)[-1]}:{place.lineno})"
    text = storable(request_json(request)) if request else None
    known = {"row_id": row.row_id, "stage": stage, "error": kind, "message": storable(message), "request": text}
    return {beside(known, name): value for name, value in row.shown.items()} | known


def failed_table(failed: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> pa.Table:
    """Quarantine: ``FAILED``, and the items' ``columns`` (types by name) as far as the rows have them."""
    own = [(beside(FAILED.names, name), COLUMN_TYPES[kind]) for name, kind in columns.items()]
    return pa.Table.from_pylist(failed, schema=pa.schema([*FAILED, *own]))


def request_json(request: Request) -> str:
    """A model call as JSON: the exact request that quarantine keeps."""
    return json.dumps(
        {
            "messages": [{"role": role, "content": content} for role, content in request.prompt.messages],
            "sampling": {k: getattr(request.sampling, k) for k in Sampling.__dataclass_fields__},
            "seed": request.seed,
            "n": request.n,
            "schema": request.schema,
        },
        ensure_ascii=False,
    )


def calls_table(done: Sequence[RowDone]) -> pa.Table:
    """Every model call of a shard's rows, as ``CALLS``."""
    calls = [(row.row_id, number, call) for row in done for number, call in enumerate(row.calls)]
    answers: list[list[Answer]] = [call.answers for _, _, call in calls]
    return pa.table(
        {
            "row_id": [row_id for row_id, _, _ in calls],
            "call": [number for _, number, _ in calls],
            "prompt_id": [call.request.prompt.prompt_id for _, _, call in calls],
            "prompt": [_conversation(call) for _, _, call in calls],
            "answers": [[storable(a.text) for a in given] for given in answers],
            "finish_reasons": [[a.finish_reason for a in given] for given in answers],
            "prompt_tokens": [given[0].prompt_tokens if given else 0 for given in answers],
            "completion_tokens": [sum(a.completion_tokens for a in given) for given in answers],
            "seed": [call.request.seed for _, _, call in calls],
        },
        schema=CALLS,
    )


_TURNS = json.JSONEncoder(ensure_ascii=False)


def _conversation(call: Call) -> str:
    """The turns as they were sent, as a JSON list: readable by people and machines."""
    sent = call.answers[0].sent if call.answers else None
    return storable(_TURNS.encode(call.request.prompt.messages if sent is None else sent))
