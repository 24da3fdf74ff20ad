"""Prove a run's accounts from its files (``store/verify``), and show the outcome."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group
from rich.text import Text

from pipelines.store.verify import verify
from pipelines.summary import counted, ledger_table, plain

__all__ = ["render", "verify"]


def render(result: Mapping[str, Any]) -> Group:
    """The ledger's totals per stage, every defect by name, and what it comes to."""
    lines = [f"defect: {plain(defect, 2000)}" for defect in result["defects"]]
    if result["leftovers"]:
        lines.append(f"{result['leftovers']:,} files of attempts that did not commit; they count for nothing")
    return Group(ledger_table(result["stages"]), Text("\n".join([*lines, _verdict(result)])))


def _verdict(result: Mapping[str, Any]) -> str:
    if defects := len(result["defects"]):
        return f"{result['run']}: {counted(defects, 'defect')}"
    if result["complete"]:
        return f"{result['run']}: complete; every row in is kept, rejected or failed, and every item kept or rejected"
    pending = f", {result['pending_shards']:,} planned shards are not committed" if result["pending_shards"] else ""
    return f"{result['run']}: unfinished{pending}; what is committed is accounted for. The same command goes on"
