"""Demonstrations that a recipe is given as a file: read when the configuration is composed, so that it holds them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: What a demonstration has; the second may be left out.
KEYS = ("text", "persona")


def demonstrations(given: Any, mode: str) -> tuple[list[dict[str, str]] | None, list[str]]:
    """The demonstrations that ``recipe.demonstrations`` names or lists, and what is wrong with it, a line each.

    ``given`` is a path of JSON lines, a list of ``{text, persona}``, or None for the shipped ones.
    """
    if given is None:
        return None, []
    at = "recipe.demonstrations"
    if isinstance(given, str):
        at += f"={given}"
        try:
            lines = Path(given).expanduser().read_text(encoding="utf-8-sig").split("\n")
            given = [json.loads(line) for line in lines if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            return None, [f"{at}: cannot be read: {error}"]
        except ValueError as error:
            return None, [f"{at}: is not JSON lines: {error}"]
    if not isinstance(given, list) or not given:
        return None, [f"{at}: holds no demonstration; give JSON lines of {{text, persona}}"]
    wrong = [line for number, one in enumerate(given, 1) for line in _mistakes(f"{at}: demonstration {number}", one)]
    if mode == "zero_shot":
        wrong.append(f"{at}: recipe.mode=zero_shot shows none; choose few_shot or persona_few_shot")
    return [{key: one[key] for key in KEYS if one.get(key)} for one in given] if not wrong else None, wrong


def _mistakes(at: str, one: Any) -> Iterator[str]:
    if not isinstance(one, dict):
        yield f"{at} is {one!r}; it must be an object with {' and '.join(KEYS)}"
        return
    if not isinstance(one.get("text"), str) or not one["text"].strip():
        yield f"{at} has no text; it has {', '.join(map(str, one)) or 'nothing'}"
    persona = one.get("persona")
    if persona is not None and not (isinstance(persona, str) and persona.strip()):
        yield f"{at}: its persona is {persona!r}, which is no text"
