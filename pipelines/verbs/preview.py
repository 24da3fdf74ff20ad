"""A few rows through a recipe's first flow, to look at before a run: prompts as sent, raw answers, what becomes of them.

The engine runs in this process and is stopped again; nothing is written, and ``output`` is not needed. Rows, ids, seeds
and prompts are those that ``run`` would have. The stages after the first flow are not run, but for the filters that
follow it at once: their verdict is shown.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from rich.console import Group
from rich.rule import Rule
from rich.text import Text

from pipelines.engine.kinds import open_engine
from pipelines.engine.llm import Engine
from pipelines.errors import EngineDead, RunStopped, UserError
from pipelines.recipe import stages_of
from pipelines.rows import RESERVED
from pipelines.stages.flow import flow_work
from pipelines.stages.sift import filtered
from pipelines.stages.stage import Stage, bind
from pipelines.store.commit import Outcome
from pipelines.store.dataset import Shard
from pipelines.store.manifest import Manifest, freeze
from pipelines.store.seeds import seed_tables
from pipelines.summary import SIMULATED
from pipelines.verbs.calls import body, call_lines, call_of, heading, json_ready

log = logging.getLogger(__name__)

#: Rows shown when ``rows`` is not set.
ROWS = 3


def preview(config: Mapping[str, Any]) -> dict[str, Any]:
    """Run the first ``rows`` seeds of the input through the recipe's first flow.

    Returns:
        ``recipe``, ``model``, ``engine``, ``stage`` (the flow's), ``filters`` (stages whose verdict is shown);
        ``rows``: for each seed its id and columns, the calls (prompt, raw answers, finish reasons, tokens), the items
        (columns; ``reason`` is None for one that would be kept, ``stage`` says who rejects it) and the error, if its
        flow broke; ``seconds`` of the rows alone, and ``seconds_to_load`` the engine.

    Raises:
        UserError: a mistake in the settings or the input, or a recipe without a flow.
        RunStopped: the engine could not start, or died.
    """
    manifest = freeze(config["input"], **{key: config[key] for key in ("text_column", "id_column", "limit")})
    stages = stages_of(config, manifest.fingerprint)
    first = next((stage for stage in stages if stage.kind == "flow"), None)
    if first is None or first.number != 1:
        raise UserError(
            f"recipe={config['recipe']['name']}: preview shows seeds in a flow, and the first stage after the seeds is "
            f"{stages[1].name} ({stages[1].kind}); run it with limit=100 to look at its outcome"
        )
    filters = _filters_after(stages, first)
    seeds = first_seeds(manifest, config["rows"] or ROWS)
    outcome, seconds_to_load, seconds = asyncio.run(_through(config, first, seeds))
    return {
        "ok": True,
        "recipe": config["recipe"]["name"],
        "model": config["model"]["name"],
        "engine": config["engine"]["kind"],
        "stage": first.name,
        "filters": [stage.name for stage in filters],
        "rows": _told(seeds, outcome, filters),
        "seconds": round(seconds, 3),
        "seconds_to_load": round(seconds_to_load, 3),
    }


def first_seeds(manifest: Manifest, rows: int) -> pa.Table:
    """The first ``rows`` seeds of an input, with the ids that a run gives them; fewer where the input has fewer.

    Raises:
        UserError: no row of the input can be a seed.
    """
    tables: list[pa.Table] = []
    for shard in seed_tables(manifest, rows_per_shard=rows):
        tables.append(shard.table)
        if sum(table.num_rows for table in tables) >= rows:
            break
    seeds = pa.concat_tables(tables).slice(0, rows)
    if not seeds.num_rows:
        raise UserError(
            f"text_column={manifest.text_column}: every row of the input is empty there; choose another column"
        )
    return seeds


def _filters_after(stages: list[Stage], flow: Stage) -> list[Stage]:
    """The filter stages that follow a flow at once."""
    found: list[Stage] = []
    for stage in stages[flow.number + 1 :]:
        if stage.kind != "filter":
            break
        found.append(stage)
    return found


async def _through(config: Mapping[str, Any], stage: Stage, seeds: pa.Table) -> tuple[Outcome, float, float]:
    """What becomes of seeds in a flow; seconds to load the engine, and seconds for the rows."""
    settings = {**config, "io": {**config["io"], "keep_calls": True}}
    engine = open_engine(config["model"], config["engine"], config["seed"])
    begun = time.monotonic()
    try:
        await _start(engine, config["engine"]["start_timeout_s"])
        ready = time.monotonic()
        work = flow_work(settings, stage, engine, asyncio.Semaphore(seeds.num_rows))
        outcome = await work.run(Shard(0, ((0, 0, seeds.num_rows),), seeds.num_rows), seeds)
        return outcome, ready - begun, time.monotonic() - ready
    except* EngineDead as group:
        raise RunStopped(f"the engine died: {group.exceptions[0]}") from group
    finally:
        await engine.stop()


async def _start(engine: Engine, limit_s: float) -> None:
    log.info("loading the model")
    try:
        await asyncio.wait_for(engine.start(), limit_s)
    except TimeoutError:
        raise RunStopped(f"engine.start_timeout_s={limit_s}: the engine was not ready in that time; raise it") from None


def _told(seeds: pa.Table, outcome: Outcome, filters: list[Stage]) -> list[dict[str, Any]]:
    """The seeds in order, each with its calls, its items and its error."""
    verdicts = _verdicts(outcome.kept, filters)
    made = outcome.entry.stage
    rows: dict[str, dict[str, Any]] = {}
    for seed in json_ready(seeds.to_pylist()):
        rows[seed["id"]] = {
            "id": seed["id"],
            "columns": {name: value for name, value in seed.items() if name not in RESERVED},
            "calls": [],
            "items": [],
            "error": None,
        }
    for call in outcome.sides["calls"].to_pylist():
        rows[call["row_id"]]["calls"].append(call_of(call))
    for item in outcome.kept.to_pylist():
        stage, reason = verdicts.get(item["id"], (made, None))
        rows[item["parent_ids"][0]]["items"].append(_item(item, stage, reason, ""))
    for item in outcome.sides["rejected"].to_pylist():
        rows[item["row_id"]]["items"].append(_item(item, made, item["reason"], item["detail"]))
    for failed in outcome.sides["failed"].to_pylist():
        rows[failed["row_id"]]["error"] = f"{failed['error']}: {failed['message']}"
    return list(rows.values())


def _verdicts(kept: pa.Table, filters: list[Stage]) -> dict[str, tuple[str, str]]:
    """Ids of items that a filter would reject -> the stage and the reason."""
    found: dict[str, tuple[str, str]] = {}
    for stage in filters:
        rules = {reason: bind(node) for reason, node in stage.node["filters"].items()}
        shard = Shard(0, ((0, 0, kept.num_rows),), kept.num_rows)
        outcome = filtered(stage.name, stage.fingerprint, shard, kept, rules)
        for item in outcome.sides["rejected"].select(["id", "reason"]).to_pylist():
            found[item["id"]] = (stage.name, item["reason"])
        kept = outcome.kept
    return found


def _item(item: Mapping[str, Any], stage: str, reason: str | None, detail: str) -> dict[str, Any]:
    columns = {name: value for name, value in item.items() if name not in (*RESERVED, "row_id", "reason", "detail")}
    trimmed = bool((item["provenance"] or {}).get("trimmed"))
    return {
        "id": item["id"],
        "columns": json_ready(columns),
        "stage": stage,
        "reason": reason,
        "detail": detail,
        "trimmed": trimmed,
    }


def render(result: Mapping[str, Any]) -> Group:
    """The rows for a terminal: for each its prompts and answers, then its items and what is said of them."""
    parts: list[Any] = []
    for number, row in enumerate(result["rows"], 1):
        parts.append(Rule(Text(f"row {number} of {len(result['rows'])}, seed {row['id']}")))
        for count, call in enumerate(row["calls"], 1):
            parts += call_lines(call, count)
        for item in row["items"]:
            parts.append(heading(f"item {item['id']}: {_said(item)}"))
            parts += (body(f"{name}: {value}") for name, value in item["columns"].items() if value is not None)
        if row["error"]:
            parts += (heading("failed; the row would wait in quarantine"), body(row["error"]))
    kept = sum(item["reason"] is None for row in result["rows"] for item in row["items"])
    tokens = sum(call["completion_tokens"] for row in result["rows"] for call in row["calls"])
    beyond = f" and {', '.join(result['filters'])}" if result["filters"] else ""
    parts.append(Rule())
    parts.append(
        Text(
            f"{len(result['rows'])} rows, {kept} items that {result['stage']}{beyond} would keep; {tokens:,} tokens out in "
            f"{result['seconds']:.1f} s, {result['seconds_to_load']:.0f} s to load {result['model']} ({result['engine']})"
        )
    )
    if result["engine"] == "simulated":
        parts.append(Text(SIMULATED))
    return Group(*parts)


def _said(item: Mapping[str, Any]) -> str:
    """What would become of an item."""
    trimmed = "; its prompt was too long and was trimmed" if item["trimmed"] else ""
    if item["reason"] is None:
        return f"kept{trimmed}"
    detail = f" ({item['detail']})" if item["detail"] else ""
    return f"{item['stage']} rejects it, {item['reason']}{detail}{trimmed}"
