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


def agent_instruct(columns: Collection[str]) -> Layout:
    """The layout of AgentInstruct's release: a file a split, ``messages`` as a JSON string.

    It begins with a system turn that is empty, as in most released rows. A chat of several user turns goes to
    ``follow_up``. Two skills have no split there; they go to files by their own names (papers.md 2.8).

    Raises:
        UserError: the rows have no skill, split and messages.
    """
    _need("agent_instruct", columns, "skill", "split", "messages")
    return _released


def _released(row: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    turns = _turns("agent_instruct", row)
    asked = sum(turn["role"] == "user" for turn in turns)
    name = row["split"] or row["skill"]
    if row["split"] and asked > 1:
        name = "follow_up"
    if not (isinstance(name, str) and name.isidentifier()):  # it names a file
        raise UserError(
            f"--format agent_instruct: a row has split {name!r}; it must be a word of letters, digits and _"
        )
    system = [] if turns and turns[0]["role"] == "system" else [{"role": "system", "content": ""}]
    return name, {"messages": json.dumps([*system, *turns], ensure_ascii=False)}


def chat(columns: Collection[str]) -> Layout:
    """``chat.jsonl``: conversations as lists of ``{role, content}``, what chat templates and trainers take; and ids.

    Raises:
        UserError: the rows have no messages.
    """
    _need("chat", columns, "messages")
    return lambda row: ("chat", {"id": row["id"], "messages": _turns("chat", row)})


#: What ShareGPT calls the speakers.
_SPEAKERS = {"system": "system", "user": "human", "assistant": "gpt", "tool": "tool"}


def sharegpt(columns: Collection[str]) -> Layout:
    """``sharegpt.jsonl``: conversations as lists of ``{from, value}``, with their ids.

    Raises:
        UserError: the rows have no messages.
    """
    _need("sharegpt", columns, "messages")
    return lambda row: (
        "sharegpt",
        {
            "id": row["id"],
            "conversations": [
                {"from": _SPEAKERS[turn["role"]], "value": turn["content"]} for turn in _turns("sharegpt", row)
            ],
        },
    )


def _need(layout: str, columns: Collection[str], *names: str) -> None:
    if lacking := [name for name in names if name not in columns]:
        raise UserError(
            f"--format {layout}: takes conversations, and these rows lack {', '.join(lacking)}; they have "
            + ", ".join(columns)
        )


def _turns(layout: str, row: Mapping[str, Any]) -> list[dict[str, str]]:
    """A row's conversation as ``{role, content}`` turns."""
    try:
        turns = json.loads(row["messages"])
        found = [{"role": str(turn["role"]), "content": str(turn["content"])} for turn in turns]
    except (TypeError, ValueError, KeyError):
        raise UserError(
            f"--format {layout}: a row's messages are no JSON list of role and content: {str(row['messages'])[:80]!r}"
        ) from None
    if unknown := {turn["role"] for turn in found} - set(_SPEAKERS):
        raise UserError(f"--format {layout}: a row has a turn by {sorted(unknown)[0]!r}; know {', '.join(_SPEAKERS)}")
    return found


LAYOUTS: dict[str, Callable[[Collection[str]], Layout]] = {
    "persona_hub": persona_hub,
    "agent_instruct": agent_instruct,
    "chat": chat,
    "sharegpt": sharegpt,
}
