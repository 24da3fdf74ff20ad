"""How far a run is: who works in it, what every stage has committed and lost to what, and what to do next.

Costs as much as there are shards, not rows (``--by`` reads columns of rows), and writes nothing: it may be asked while
the run goes on. It trusts the ledger; ``verify`` is what proves it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from pipelines.report.groups import groups
from pipelines.store.files import Folder, folder
from pipelines.store.lease import LeaseRecord, holder, last_end
from pipelines.store.ledger import totals
from pipelines.store.record import read_record
from pipelines.store.survey import StageNow, finished, survey
from pipelines.summary import SIMULATED, by_step, losses, plain


def status(run: str, by: str | None = None) -> dict[str, Any]:
    """Where a run stands.

    Args:
        run: the run's directory.
        by: names of columns, with commas between; what became of the rows is also told by their values.

    Returns:
        ``run``; ``recipe``, ``model``, ``engine``; ``state``: finished, running or stopped; ``driver`` of a running
        one: host, pid, seconds since its last heartbeat; ``reason``: why a stopped one stopped, where that is known;
        ``stages``: the ledger's totals per stage, and shards committed and planned (None before that is known);
        ``quarantine``: failed rows that wait; ``next``: what to do; with ``by`` also ``by``: ``columns`` and
        ``groups`` (``report.groups``).

    Raises:
        UserError: the folder holds no run, or its rows have no such column.
        RunStopped: a committed shard is damaged.
    """
    place = folder(run)
    stages = survey(place)
    lease = holder(place)
    done = finished(place, stages)
    state = "running" if lease is not None else "finished" if done else "stopped"
    waiting = sum(totals(stage.entries.values()).rows_failed for stage in stages)
    reason = last_end(place) if state == "stopped" else None
    columns = [name.strip() for name in by.split(",")] if by is not None else []
    return {
        "ok": True,
        "run": place.url,
        **_what(place),
        "state": state,
        "driver": _driver(lease),
        "reason": reason,
        "stages": {stage.record.name: _stage(stage) for stage in stages},
        "quarantine": waiting,
        "next": _next(place, state, waiting, reason or ""),
        **({"by": {"columns": columns, "groups": groups(stages, columns)}} if columns else {}),
    }


def _what(place: Folder) -> dict[str, Any]:
    """What is run: the names of recipe, model and engine."""
    try:
        config = read_record(place, "config.yaml")
    except FileNotFoundError:  # stages.json is written a moment earlier
        return {"recipe": read_record(place, "stages.json")["recipe"], "model": None, "engine": None}
    return {"recipe": config["recipe"]["name"], "model": config["model"]["name"], "engine": config["engine"]["kind"]}


def _driver(lease: LeaseRecord | None) -> dict[str, Any] | None:
    if lease is None:
        return None
    age = max(0.0, time.time() - lease.heartbeat)
    return {"host": lease.owner.host, "pid": lease.owner.pid, "heartbeat_age_s": round(age, 1)}


def _stage(stage: StageNow) -> dict[str, Any]:
    return {
        "kind": stage.record.kind,
        "directory": stage.record.folder.url,
        "shards_committed": len(stage.entries),
        "shards_planned": stage.planned,
        **{name: value for name, value in asdict(totals(stage.entries.values())).items() if name != "shards"},
    }


def _next(place: Folder, state: str, waiting: int, reason: str) -> list[str]:
    if state == "running":
        return ["it is at work; the first Ctrl-C there drains and commits, and the same command goes on later"]
    steps = []
    if state == "stopped" and not reason.startswith("max_failed="):
        steps.append("run the same command again: it goes on from what is committed")
    if waiting:
        steps.append(f"{waiting:,} failed rows wait in quarantine; the same command with retry=failed tries them again")
    if state == "finished":
        steps.append(f"look at {place.sub('data').url}, or write it elsewhere: nightmill export {place.url}")
    return steps


def render(result: Mapping[str, Any]) -> Group:
    """The state for a terminal: a head line, a row a stage with what was lost to what, and the next step."""
    head = f"{result['run']}: {result['state']}"
    if driver := result["driver"]:
        head += f" by pid {driver['pid']} on {driver['host']} (heartbeat {driver['heartbeat_age_s']:.0f} s ago)"
    head += f" ({', '.join(result[key] for key in ('recipe', 'model', 'engine') if result[key])})"
    table = Table()
    for column in (
        "stage",
        "shards",
        "rows in",
        "kept",
        "rejected",
        "failed",
        "items kept",
        "tokens in",
        "out",
        "lost to",
    ):
        table.add_column(column, justify="left" if column in ("stage", "lost to") else "right")
    for name, stage in by_step(result["stages"]).items():
        planned = "?" if stage["shards_planned"] is None else f"{stage['shards_planned']:,}"
        table.add_row(
            Text(name),
            f"{stage['shards_committed']:,}/{planned}",
            *(f"{stage[k]:,}" for k in ("rows_in", "rows_kept", "rows_rejected", "rows_failed", "items_kept")),
            *(f"{stage[k]:,}" if stage[k] else "" for k in ("prompt_tokens", "completion_tokens")),
            losses(stage),
        )
    lines = [f"why:  {plain(result['reason'], 2000)}"] if result["reason"] else []
    lines += [f"next: {step}" for step in result["next"]]
    if result["engine"] == "simulated":
        lines.append(SIMULATED)
    found = [_grouped(result["by"])] if "by" in result else []
    return Group(Text(plain(head, 2000)), table, *found, Text("\n".join(lines)))


def _grouped(by: Mapping[str, Any]) -> Table:
    """A row a group, with what was lost to what."""
    table = Table()
    for column in by["columns"]:
        table.add_column(column)
    for column in ("kept", "rejected", "failed"):
        table.add_column(column, justify="right")
    table.add_column("lost to")
    for group in by["groups"]:
        counts = (group["kept"], *(sum(group[side].values()) for side in ("rejected", "failed")))
        table.add_row(
            *(Text("-" if value is None else plain(value, 60)) for value in group["values"]),
            *(f"{count:,}" for count in counts),
            losses({"items_rejected": group["rejected"], "failed": group["failed"]}),
        )
    return table
