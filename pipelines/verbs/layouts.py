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
    task, text = row["task"], row["text"]
    if task not in _DESCRIPTIONS:  # it names a file
        raise UserError(f"--format persona_hub: a row has task {task!r}; it must be one of {', '.join(_DESCRIPTIONS)}")
    if task == "tool":
        try:
            text = json.dumps(json.dumps(json.loads(text), ensure_ascii=False, indent=0), ensure_ascii=False)
        except (TypeError, ValueError):
            raise UserError(f"--format persona_hub: a tool's text is no JSON: {str(text)[:80]!r}") from None
    return task, {"input persona": row["persona"], "synthesized text": text, "description": _DESCRIPTIONS[task]}


LAYOUTS: dict[str, Callable[[Collection[str]], Layout]] = {"persona_hub": persona_hub}
