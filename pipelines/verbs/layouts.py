"""Layouts of published datasets that an export can take: which file a row goes to, and how it looks there."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from typing import Any

from pipelines.errors import UserError

#: What the released files call each task (papers.md 1.6; those of others than tool are ours).
_DESCRIPTIONS = {
    "math": "math problem",
    "reasoning": "logical reasoning problem",
    "instruction": "instruction",
    "knowledge": "knowledge-rich text",
    "npc": "game NPC",
    "tool": "tool development",
}
#: A row as (file name without ending, record).
Layout = Callable[[Mapping[str, Any]], tuple[str, dict[str, Any]]]


def persona_hub(columns: Collection[str]) -> Layout:
    """The layout of Persona Hub's release: ``math.jsonl`` ..., or ``persona.jsonl`` for personas alone.

    Field names have spaces; a tool's interface is JSON inside a JSON string (papers.md 1.6).

    Raises:
        UserError: the run has no personas.
    """
    if {"persona", "task", "text"} <= set(columns):
        return _synthesis
    if "persona" in columns and "text" not in columns:
        return lambda row: ("persona", {"persona": row["persona"]})
    raise UserError(
        "--format persona_hub: takes personas (a column persona), or what they wrote (persona, task, text); these have "
        + ", ".join(columns)
    )


def _synthesis(row: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    text = row["text"]
    if row["task"] == "tool":
        text = json.dumps(json.dumps(json.loads(text), ensure_ascii=False, indent=0), ensure_ascii=False)
    record = {
        "input persona": row["persona"],
        "synthesized text": text,
        "description": _DESCRIPTIONS.get(row["task"], row["task"]),
    }
    return row["task"], record


LAYOUTS: dict[str, Callable[[Collection[str]], Layout]] = {"persona_hub": persona_hub}
