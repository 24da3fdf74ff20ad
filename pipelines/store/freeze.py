"""Freeze an input into a manifest when a run first starts, and compare it by name at every later start.

What is wrong with an input is said here, before any model is loaded.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from difflib import get_close_matches
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.errors import UserError
from pipelines.rows import RESERVED
from pipelines.store.inputs.find import Listing, find
from pipelines.store.inputs.formats import FORMATS
from pipelines.store.inputs.source import Described, InputFile, content_digest, reading
from pipelines.store.manifest import Manifest
from pipelines.store.taken import taken

Input = str | os.PathLike[str] | Sequence[str]

#: Files looked at once: digests and footers wait for a disk or a network.
_THREADS = 16
#: Differences that one message lists.
_LISTED = 10


def settings_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """What ``freeze`` and ``check`` take beside the input, from a composed configuration."""
    keys = ("text_column", "id_column", "id_columns", "limit")
    return {key: config[key] for key in keys} | {"limit_by": (config["recipe"] or {}).get("limit_by")}


def freeze(
    input: Input,
    *,
    text_column: str,
    id_column: str | None = None,
    limit: int | None = None,
    id_columns: Sequence[str] | None = None,
    limit_by: Mapping[str, Any] | None = None,
) -> Manifest:
    """Find the input's files and describe them; JSON lines and CSV are read through once, up to ``limit`` rows.

    Where ``limit`` counts by something (``limit_by``), rows are read until it is reached, to know how many there are.

    Raises:
        UserError: no files, no rows, a damaged file, columns that are absent, of a wrong type or at odds between files.
    """
    if limit is not None and limit < 1:
        raise UserError(f"limit={limit}: at least one row is needed; null takes all rows")
    if id_column is not None and id_columns:
        raise UserError(
            f"id_column={id_column}, id_columns={list(id_columns)}: ids are given or hashed; set one of them"
        )
    if text_column in RESERVED:
        raise UserError(f"text_column={text_column}: every row of a run has a column of that name; rename yours")
    listing = find(input)
    with ThreadPoolExecutor(_THREADS) as pool:
        files = list(pool.map(_digested, listing.files))
        if listing.format == "parquet":
            described = list(pool.map(lambda file: FORMATS["parquet"].describe(file, None), files))
        else:
            described = list(_read_through(listing, limit if limit_by is None else None))
    rows = sum(_rows(found, limit) for found in described)
    if rows == 0:
        raise UserError(f"input={input}: the dataset is empty; {len(files)} file(s) hold 0 rows, first {files[0].path}")
    keys = {"id_columns": list(id_columns or ())} if id_column is None else {"id_column": [id_column]}
    for file, found in zip(files, described, strict=False):
        for setting, columns in {"text_column": [text_column], **keys}.items():
            _require_columns(setting, columns, file, found)
        _require_text(text_column, file, found)
    # As it is read back from the manifest: some types' own names for their parts do not outlast that.
    schema = pa.ipc.read_schema(pa.py_buffer(_one_schema(files, described, text_column).serialize()))
    for setting, columns in keys.items():
        _require_id_types(setting, columns, schema)
    looked_at = (replace(f, rows=d.rows, row_groups=d.row_groups) for f, d in zip(files, described, strict=False))
    manifest = Manifest(
        files=(*looked_at, *files[len(described) :]),
        format=listing.format,
        schema=schema,
        rows=rows if limit is None or limit_by is not None else min(rows, limit),
        text_column=text_column,
        id_column=id_column,
        limit=limit,
        id_columns=tuple(id_columns) if id_columns else None,
        ignored=listing.ignored,
        limit_by=None if limit is None else limit_by,
    )
    return replace(manifest, rows=sum(chunk.rows for chunk in taken(manifest))) if manifest.limit_by else manifest


def check(
    old: Manifest,
    input: Input,
    *,
    text_column: str,
    id_column: str | None = None,
    limit: int | None = None,
    id_columns: Sequence[str] | None = None,
    limit_by: Mapping[str, Any] | None = None,
) -> None:
    """Compare the input and its settings with those the run first started with; no row is read.

    Raises:
        UserError: they differ; every difference is named, up to ten.
    """
    hashed = tuple(id_columns) if id_columns else None
    new: dict[str, Any] = {"text_column": text_column, "id_column": id_column, "limit": limit, "id_columns": hashed}
    was = {key: getattr(old, key) for key in new} | _counted(old.limit_by)
    new |= _counted(None if limit is None else limit_by)
    keys = dict.fromkeys([*was, *new])
    found = [f"{key}: {_shown(was.get(key))} -> {_shown(new.get(key))}" for key in keys if was.get(key) != new.get(key)]
    listing = find(input)
    before = {file.path: file for file in old.files}
    now = {file.path: file for file in listing.files}
    found += [f"{path}: missing" for path in before.keys() - now.keys()]
    found += [f"{path}: extra" for path in now.keys() - before.keys()]
    if before.keys() == now.keys() and list(before) != list(now):
        found.append("the files come in another order")
    same = [path for path in before if path in now]
    with ThreadPoolExecutor(_THREADS) as pool:
        found += [change for change in pool.map(lambda path: _change(before[path], now[path]), same) if change]
    if found:
        more = f"\n  and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
        raise UserError(
            "the input is not the one this run first started with:\n  "
            + "\n  ".join(sorted(found)[:_LISTED])
            + f"{more}\nPut it back as it was, or start another run with another output="
        )


def _counted(limit_by: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a limit counts by, each part by its key."""
    return {f"recipe.limit_by.{key}": value for key, value in (limit_by or {}).items()}


def _shown(setting: object) -> str:
    return "null" if setting is None else str(setting)


def _change(old: InputFile, new: InputFile) -> str:
    """What changed in a file, or nothing."""
    if old.size != new.size:
        return f"{old.path}: size {old.size:,} -> {new.size:,} bytes"
    seen = _digested(new).digest
    if seen == old.digest:
        return ""
    kind, content = old.digest.split(":")[:2]
    if kind == "sampled" and seen.startswith(f"sampled:{content}:"):
        seconds, nanoseconds = divmod(int(old.digest.rpartition(":")[2]), 10**9)
        return (
            f"{old.path}: time of change (a file of this size is known by its ends and that time; "
            f"if it was only touched: touch -d @{seconds}.{nanoseconds:09} FILE)"
        )
    return f"{old.path}: content ({kind} {content} -> {seen.split(':')[1]})"


def _digested(file: InputFile) -> InputFile:
    if file.digest:
        return file
    with reading(file):
        return replace(file, digest=content_digest(file.path, file.size))


def _read_through(listing: Listing, limit: int | None) -> Iterator[Described]:
    """Descriptions of the files up to the one in which ``limit`` is reached."""
    left = limit
    for file in listing.files:
        found = FORMATS[listing.format].describe(file, left)
        yield found
        if left is not None:
            left -= _rows(found, left)
            if left <= 0:
                return


def _rows(found: Described, limit: int | None) -> int:
    """Rows of a file that are looked at: all, or ``limit`` when there are more."""
    return found.rows if found.rows is not None else limit or 0


def _require_columns(setting: str, columns: list[str], file: InputFile, found: Described) -> None:
    present = found.schema.names
    for column in columns:
        if column not in present and found.rows != 0:
            by_lower = {name.lower(): name for name in present}
            near = get_close_matches(column.lower(), by_lower, 1)
            hint = f"; did you mean {by_lower[near[0]]}?" if near else ""
            raise UserError(
                f"{setting}={column}: {file.path} has no such column; it has {', '.join(present) or 'none'}{hint}"
            )


def _require_text(column: str, file: InputFile, found: Described) -> None:
    kind = found.schema.field(column).type if column in found.schema.names else pa.string()
    if not any(is_(kind) for is_ in (pa.types.is_string, pa.types.is_binary, pa.types.is_null)):
        raise UserError(
            f"text_column={column}: the column is of type {kind} in {file.path}, and text is needed; "
            "choose another column, or write this one as strings"
        )


def _require_id_types(setting: str, columns: list[str], schema: pa.Schema) -> None:
    for column in columns:
        kind = schema.field(column).type
        # A time zone that is not known shows itself only in a value.
        probe = pa.array([0], pa.int64()).cast(kind) if pa.types.is_timestamp(kind) else pa.nulls(0, kind)
        try:
            pc.cast(probe, pa.string())
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
            raise UserError(f"{setting}={column}: type {kind} makes no ids; choose strings or numbers") from error


def _one_schema(files: Sequence[InputFile], described: Sequence[Described], text_column: str) -> pa.Schema:
    """The columns of all files, in the order first seen; numbers widen, anything else must agree."""
    kinds: dict[str, tuple[pa.DataType, InputFile]] = {}
    for file, found in zip(files, described, strict=False):
        for field in found.schema:
            kind, first = kinds.setdefault(field.name, (field.type, file))
            if field.name == text_column:
                kinds[field.name] = (pa.string(), first)
            elif kind != field.type:
                kinds[field.name] = (_widened(field.name, kind, first, field.type, file), first)
    return pa.schema([(name, kind) for name, (kind, _) in kinds.items()])


def _widened(name: str, one: pa.DataType, first: InputFile, other: pa.DataType, file: InputFile) -> pa.DataType:
    pair = [pa.schema([(name, kind)]) for kind in (one, other)]
    try:
        return cast(pa.DataType, pa.unify_schemas(pair, promote_options="permissive").field(0).type)
    except (pa.ArrowTypeError, pa.ArrowInvalid) as error:
        raise UserError(
            f"input: column {name!r} is {one} in {first.path} and {other} in {file.path}; give it one type everywhere"
        ) from error
