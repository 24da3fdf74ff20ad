"""Which columns the rows of each stage will have, as far as that is known before any row is made.

So a dedup that is to compare ``persna`` is refused when the run starts, not when a night of rows has been made for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import pyarrow as pa

from pipelines.bound import bind
from pipelines.errors import UserError
from pipelines.rows import PROVENANCE
from pipelines.stages.account import COLUMN_TYPES
from pipelines.stages.stage import Stage
from pipelines.store.manifest import Manifest
from pipelines.store.seeds import renamed


def columns_of(stages: Sequence[Stage], manifest: Manifest) -> dict[int, pa.Schema | None]:
    """The columns of what each stage gives, by its number; None where only its rows would tell.

    A map is asked with a table of no rows.

    Raises:
        UserError: by a map, which lacks a column.
    """
    found: dict[int, pa.Schema | None] = {}
    for stage in stages:
        source = found.get(stage.source)
        if stage.kind == "seeds":
            found[stage.number] = _of_seeds(manifest)
        elif stage.kind in ("flow", "rows"):
            found[stage.number] = _schema([(name, COLUMN_TYPES[kind]) for name, kind in stage.node["columns"].items()])
        elif stage.kind == "map":
            found[stage.number] = None if source is None else _mapped(bind(stage.node["map"]), source)
        else:
            found[stage.number] = source
    return found


def refuse_absent(stages: Sequence[Stage], manifest: Manifest) -> None:
    """UserError for a column that a dedup stage is to read and its rows will not have, or not as it needs them."""
    found = columns_of(stages, manifest)
    for stage in (one for one in stages if one.kind == "dedup"):
        schema = found[stage.source]
        for setting, column, numbers in _read(stage) if schema is not None else ():
            _refuse(f"{setting}={column}", stage, column, schema, numbers)


def _of_seeds(manifest: Manifest) -> pa.Schema:
    return _schema([(name, manifest.schema.field(column).type) for column, name in renamed(manifest).items()])


def _schema(own: Sequence[tuple[str, pa.DataType]]) -> pa.Schema:
    return pa.schema([("id", pa.string()), ("parent_ids", pa.list_(pa.string())), *own, ("provenance", PROVENANCE)])


def _mapped(change: Callable[[pa.Table], pa.Table], source: pa.Schema) -> pa.Schema | None:
    try:
        return change(source.empty_table()).schema
    except UserError:
        raise
    except Exception:  # a function of anybody's, which may ask for rows
        return None


def _read(stage: Stage) -> Iterator[tuple[str, str, bool]]:
    """Columns that a dedup stage reads: the setting that names each, its name, and whether it is of numbers."""
    node: Mapping[str, Any] = stage.node["dedup"]
    yield f"recipe.stages.{stage.called.own}.dedup.text_column", node["text_column"], False
    within = node.get("within") or ()
    for column in (within,) if isinstance(within, str) else within:
        yield "dedup.minhash.within", column, False
    if node.get("keep") == "highest":
        yield "dedup.score_column", node["score_column"], True


def _refuse(said: str, stage: Stage, column: str, schema: pa.Schema, numbers: bool) -> None:
    if column not in schema.names:
        near = get_close_matches(column, schema.names, 1)
        raise UserError(
            f"{said}: the rows that stage {stage.name} compares have no such column; they have "
            f"{', '.join(schema.names)}" + (f"; did you mean {near[0]}?" if near else "")
        )
    kind = schema.field(column).type
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)
    if not numbers and not text:
        raise UserError(f"{said}: the column holds {kind}, and stage {stage.name} compares text; name a column of text")
    if numbers and (pa.types.is_nested(kind) or pa.types.is_temporal(kind)):
        raise UserError(f"{said}: the column holds {kind}; name a column of numbers")
