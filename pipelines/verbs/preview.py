"""A few rows through a recipe's first flow, to look at before a run: prompts, raw answers, what becomes of them.

The engine runs in this process and is stopped again; nothing is written, and ``output`` is not needed. Rows, ids, seeds
and prompts are those that ``run`` would have. The stages after the first flow are not run, but for the filters that
follow it before any stage that needs all rows: their verdict is shown.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import takewhile
from typing import Any

import pyarrow as pa
from rich.console import Group
from rich.rule import Rule
from rich.text import Text

from pipelines.engine.kinds import open_engine
from pipelines.errors import EngineDead, RunStopped, UserError
from pipelines.recipe import stages_of
from pipelines.rows import RESERVED, python_rows
from pipelines.stages.flow import FlowWork, flow_work
from pipelines.stages.stage import Stage
from pipelines.store.commit import Outcome
from pipelines.store.dataset import Shard
from pipelines.summary import SIMULATED, counted
from pipelines.verbs.calls import body, call_lines, call_of, heading, json_ready
from pipelines.verbs.sample import first_flow, first_seeds, judged, manifest_of, rows_used, way_to

log = logging.getLogger(__name__)

#: Rows shown when ``rows`` is not set.
ROWS = 3


def preview(config: Mapping[str, Any]) -> dict[str, Any]:
    """Run the first ``rows`` seeds of the input through the recipe's first flow.

    Returns:
        ``recipe``, ``model``, ``engine``, ``stage`` (the flow's), ``filters`` (stages whose verdict is shown);
        ``rows``: for each seed its id and columns, the calls (prompt, raw answers, finish reasons, tokens), the items
        (columns; ``reason`` is None for one that would be kept, ``stage`` says who rejects it) and the error, if its
        flow broke; ``turned_away``: how many of the rows looked at did not come as far as the flow, by reason;
        ``seconds`` of the rows alone, and ``seconds_to_load`` the engine.

    Raises:
        UserError: a mistake in the settings or the input, or a recipe without a flow.
        RunStopped: the engine died.
    """
    manifest = manifest_of(config)
    stages = stages_of(config, manifest.fingerprint)
    flow = first_flow(stages)
    if flow is None:
        raise UserError(
            f"recipe={config['recipe']['name']}: no stage asks a model, so there is nothing to preview; run it"
        )
    after = list(takewhile(lambda stage: stage.kind in ("filter", "map"), stages[flow.number + 1 :]))
    seeds, turned_away = first_seeds(manifest, config["rows"] or ROWS, way_to(stages, flow))
    log.info("asking %s (%s); loading it may take minutes", config["model"]["name"], config["engine"]["kind"])
    with _kept_aside():
        outcome, seconds_to_load, seconds = asyncio.run(_through(config, stages, flow, seeds))
    return {
        "ok": True,
        "recipe": config["recipe"]["name"],
        "model": config["model"]["name"],
        "engine": config["engine"]["kind"],
        "stage": flow.name,
        "filters": [stage.name for stage in after if stage.kind == "filter"],
        "rows": _told(seeds, outcome, after),
        "turned_away": dict(turned_away.most_common()),
        "seconds": round(seconds, 3),
        "seconds_to_load": round(seconds_to_load, 3),
    }


@contextmanager
def _kept_aside() -> Iterator[None]:
    """Keep what an engine and its processes write out of sight; show it on stderr if they break."""
    sys.stderr.flush()
    before = os.dup(2)
    with tempfile.TemporaryFile() as aside:
        os.dup2(aside.fileno(), 2)
        out = os.dup(1)
        os.dup2(2, 1)
        try:
            yield
        except Exception:
            aside.seek(0)
            os.write(before, aside.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(out, 1)
            os.dup2(before, 2)
            os.close(out)
            os.close(before)


async def _through(
    config: Mapping[str, Any], stages: list[Stage], flow: Stage, seeds: pa.Table
) -> tuple[Outcome, float, float]:
    """What becomes of seeds in a flow; seconds to load the engine, and seconds for the rows."""
    settings = {**config, "io": {**config["io"], "keep_calls": True}}
    engine = open_engine(config["model"], config["engine"], config["seed"])
    begun = time.monotonic()
    try:
        await engine.start()
        ready = time.monotonic()
        used = {}
        for argument, (rows, before) in rows_used(stages, flow).items():
            made = rows if before is None else (await _done(flow_work(settings, before, engine, _all(rows)), rows)).kept
            used[argument] = python_rows(made)
        outcome = await _done(flow_work(settings, flow, engine, _all(seeds), used=used), seeds)
        return outcome, ready - begun, time.monotonic() - ready
    except ExceptionGroup as group:
        dead, others = group.split(EngineDead)
        if dead is None or others is not None:
            raise
        raise RunStopped(f"the engine died: {dead.exceptions[0]}") from group
    finally:
        await engine.stop()


async def _done(work: FlowWork, rows: pa.Table) -> Outcome:
    return await work.run(Shard(0, ((0, 0, rows.num_rows),), rows.num_rows), rows)


def _all(rows: pa.Table) -> asyncio.Semaphore:
    return asyncio.Semaphore(max(1, rows.num_rows))


def _told(seeds: pa.Table, outcome: Outcome, after: list[Stage]) -> list[dict[str, Any]]:
    """The seeds in order, each with its calls, its items and its error."""
    _, verdicts = judged(outcome.kept, after)
    made = outcome.entry.stage
    rows: dict[str, dict[str, Any]] = {}
    for seed in python_rows(seeds):
        columns = {name: value for name, value in seed.items() if name not in RESERVED}
        rows[seed["id"]] = {"id": seed["id"], "columns": json_ready(columns), "calls": [], "items": [], "error": None}
    for call in outcome.sides["calls"].to_pylist():
        rows[call["row_id"]]["calls"].append(call_of(call))
    for item in outcome.kept.to_pylist():
        stage, reason = verdicts.get(item["id"], (made, None))
        rows[item["parent_ids"][0]]["items"].append(_item(item, stage, reason))
    for item in outcome.sides["rejected"].to_pylist():
        rows[item["row_id"]]["items"].append(_item(item, made, item["reason"]))
    for failed in outcome.sides["failed"].to_pylist():
        rows[failed["row_id"]]["error"] = f"{failed['error']}: {failed['message']}"
    return list(rows.values())


def _item(item: Mapping[str, Any], stage: str, reason: str | None) -> dict[str, Any]:
    own = {name: value for name, value in item.items() if name not in (*RESERVED, "row_id", "reason", "detail")}
    return {
        "id": item["id"],
        "columns": json_ready(own),
        "stage": stage,
        "reason": reason,
        "detail": item.get("detail") or "",
        "trimmed": bool(item["provenance"].get("trimmed")),
    }


def render(result: Mapping[str, Any]) -> Group:
    """The rows for a terminal: for each its prompts and answers, then its items and what is said of them."""
    rows = result["rows"]
    parts: list[Any] = []
    for number, row in enumerate(rows, 1):
        parts.append(Rule(Text(f"row {number} of {len(rows)}, seed {row['id']}")))
        for call in row["calls"]:
            parts += call_lines(call)
        for item in row["items"]:
            parts.append(heading(f"item {item['id']}: {_said(item)}"))
            parts += (body(f"{name}: {value}") for name, value in item["columns"].items() if value is not None)
        if row["error"]:
            parts += (heading("failed; the row would wait in quarantine"), body(row["error"]))
    kept = sum(item["reason"] is None for row in rows for item in row["items"])
    tokens = sum(call["completion_tokens"] for row in rows for call in row["calls"])
    away = ", ".join(f"{count:,} {reason}" for reason, count in result["turned_away"].items())
    lines = [
        *([f"turned away before {result['stage']}: {away}"] if away else []),
        f"{counted(len(rows), 'row')}, {counted(kept, 'item')} that "
        f"{' and '.join([result['stage'], *result['filters']])} would keep",
        f"{tokens:,} tokens out in {result['seconds']:.1f} s, after {result['seconds_to_load']:.0f} s to load "
        f"{result['model']} ({result['engine']})",
        *([SIMULATED] if result["engine"] == "simulated" else []),
    ]
    return Group(*parts, Rule(), Text("\n".join(lines)))


def _said(item: Mapping[str, Any]) -> str:
    """What would become of an item."""
    trimmed = "; its prompt was too long and was trimmed" if item["trimmed"] else ""
    if item["reason"] is None:
        return f"kept{trimmed}"
    detail = f" ({item['detail']})" if item["detail"] else ""
    return f"rejected by {item['stage']}, {item['reason']}{detail}{trimmed}"
