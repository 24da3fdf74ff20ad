"""Seeds to look at before anything runs: the first ones, or some from all over the input; and what filters say of them.

Ids, columns and order are those of a run. Nothing is written, and no more of the input is read than the sample needs.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from pipelines.bound import bind
from pipelines.errors import UserError
from pipelines.prompts import PromptSet
from pipelines.report.sample import evenly
from pipelines.rows import python_rows
from pipelines.stages.account import bare_rows
from pipelines.stages.sift import filtered, given
from pipelines.stages.stage import Stage
from pipelines.store.dataset import Shard
from pipelines.store.freeze import freeze, settings_of
from pipelines.store.manifest import Manifest
from pipelines.store.seeds import SeedShard, seed_tables

#: Files that a spread sample is taken from, and rows that are read of them all together.
_FILES, _ROWS_READ = 8, 16_384

#: Words of a text that is made up: a persona has about as many, with what little else.
MADE_UP_WORDS = 20


def manifest_of(config: Mapping[str, Any]) -> Manifest:
    """The input of a composed configuration as a run would freeze it now."""
    return freeze(config["input"], **settings_of(config))


def first_flow(stages: Sequence[Stage]) -> Stage | None:
    """The first flow that asks a model about the input's rows; None for a recipe without one."""
    return next((one for one in stages if one.asks and way_to(stages, one)), None)


def way_to(stages: Sequence[Stage], stage: Stage) -> list[Stage]:
    """The stages from the seeds to before ``stage``; [] where its rows are not the input's."""
    way = [stages[stage.source]]
    while way[0].kind not in ("seeds", "rows"):
        way.insert(0, stages[way[0].source])
    return way if way[0].kind == "seeds" else []


def rows_used(stages: Sequence[Stage], flow: Stage) -> dict[str, tuple[pa.Table, Stage | None]]:
    """For each argument of a flow that other rows are given in: the rows, and the flow that they go through before."""
    used: dict[str, tuple[pa.Table, Stage | None]] = {}
    for argument, number in flow.uses:
        stage = stages[number]
        first = stage if stage.kind == "rows" else stages[stage.source]
        if first.kind == "rows":
            used[argument] = (given(first, Shard(0, (), 0)).kept, stage if stage.kind == "flow" else None)
    return used


def made_up(stages: Sequence[Stage], flow: Stage) -> pa.Table | None:
    """Rows such as the flow before ``flow`` gives, with texts of MADE_UP_WORDS words; None where there is none."""
    between: list[Stage] = []
    stage = stages[flow.source]
    while stage.kind not in ("flow", "rows", "seeds"):
        between.insert(0, stage)
        stage = stages[stage.source]
    if stage.kind == "seeds":
        return None
    values = {"string": " ".join(["people"] * MADE_UP_WORDS), "int": 0, "float": 0.0, "bool": False}
    row = {name: values.get(kind) for name, kind in stage.node["columns"].items()}
    ids = [f"made up {number}" for number in range(8)]
    table = bare_rows(ids, [row] * len(ids), stage.node["columns"])
    for stage in between:
        if stage.kind == "map":
            table = bind(stage.node["map"])(table)
    return table


def first_seeds(manifest: Manifest, rows: int, stages: Sequence[Stage]) -> tuple[pa.Table, Counter[str]]:
    """The first ``rows`` seeds that pass ``stages``, maps and filters; fewer where the input has fewer.

    And how many of the rows looked at did not pass, by reason.

    Raises:
        UserError: none does.
    """
    found, reasons = list[pa.Table](), Counter[str]()
    for passed in _passing(seed_tables(manifest, rows_per_shard=rows), stages, reasons):
        found.append(passed)
        if sum(table.num_rows for table in found) >= rows:
            break
    return _some(pa.concat_tables(found), manifest, reasons).slice(0, rows), reasons


def spread_seeds(manifest: Manifest, rows: int, stages: Sequence[Stage]) -> pa.Table:
    """About ``rows`` seeds that pass ``stages``, maps and filters, evenly from the beginnings of several files.

    Raises:
        UserError: there is none.
    """
    files = list(_files_within(manifest))
    chosen = [files[place] for place in evenly(len(files), _FILES).tolist()]
    reasons = Counter[str]()
    looked_at = (next(seed_tables(one, rows_per_shard=_ROWS_READ // len(chosen))) for one in chosen)
    each = max(1, rows // len(chosen))
    found = [passed.take(pa.array(evenly(passed.num_rows, each))) for passed in _passing(looked_at, stages, reasons)]
    return _some(pa.concat_tables(found), manifest, reasons)


def _passing(shards: Iterable[SeedShard], stages: Sequence[Stage], reasons: Counter[str]) -> Iterator[pa.Table]:
    """Of each shard the seeds that pass ``stages``; its other rows are counted in ``reasons``."""
    for shard in shards:
        passed, rejected = judged(shard.table, stages)
        reasons.update(shard.rejected["reason"].to_pylist())
        reasons.update(reason for _, reason in rejected.values())
        yield passed


def judged(table: pa.Table, stages: Sequence[Stage]) -> tuple[pa.Table, dict[str, tuple[str, str]]]:
    """What stages without a model make of a table, and who rejects its other rows: id -> (stage, reason)."""
    rejected: dict[str, tuple[str, str]] = {}
    for stage in stages:
        if stage.kind == "map":
            table = bind(stage.node["map"])(table)
        if stage.kind == "flow" and not stage.asks:
            table, refused = _unasked(stage, table)
            rejected |= {id_: (stage.name, reason) for id_, reason in refused.items()}
        if stage.kind != "filter":
            continue
        rules = {reason: bind(node) for reason, node in stage.node["filters"].items()}
        whole = Shard(0, ((0, 0, table.num_rows),), table.num_rows)
        outcome = filtered(stage.name, stage.fingerprint, whole, table, rules)
        for row in outcome.sides["rejected"].select(["id", "reason"]).to_pylist():
            rejected[row["id"]] = (stage.name, row["reason"])
        table = outcome.kept
    return table, rejected


def _unasked(stage: Stage, table: pa.Table) -> tuple[pa.Table, dict[str, str]]:
    """What a flow that asks no model makes of rows, with their ids, numbered; and why nothing of the others."""
    flow = bind(stage.node["flow"])

    async def every() -> list[Any]:
        return list(await asyncio.gather(*(flow(row, _NoModel(), PromptSet("none", {})) for row in python_rows(table))))

    made = asyncio.run(every())
    kept = [
        (f"{id_}-{number}", item.columns)
        for id_, items in zip(table["id"].to_pylist(), made, strict=True)
        for number, item in enumerate(items)
        if item.reason is None
    ]
    refused = {
        id_: items[0].reason
        for id_, items in zip(table["id"].to_pylist(), made, strict=True)
        if items and all(item.reason is not None for item in items)
    }
    return bare_rows([id_ for id_, _ in kept], [columns for _, columns in kept], stage.node["columns"]), refused


class _NoModel:
    """What a flow is given that asks no model."""

    draw = 0


def _some(seeds: pa.Table, manifest: Manifest, reasons: Counter[str]) -> pa.Table:
    if not seeds.num_rows:
        why = ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common()) or "there are none"
        raise UserError(
            f"text_column={manifest.text_column}: none of the rows looked at can be a seed ({why}); choose another "
            "column, or another input"
        )
    return seeds


def _files_within(manifest: Manifest) -> Iterator[Manifest]:
    """A manifest for each file of which rows are read, ``limit`` applied.

    Where the limit counts by labels, one for all files: which rows of a file are taken hangs on those before it.
    """
    if manifest.limit_by is not None:
        yield manifest
        return
    left = manifest.rows
    for file in manifest.files:
        rows = left if file.rows is None else min(file.rows, left)
        if rows:
            yield replace(manifest, files=(file,), rows=rows)
        left -= rows
