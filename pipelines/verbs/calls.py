"""A model call as it is shown: the turns that were sent, every raw answer, how each ended, and what it cost.

Made from a row of a ``calls/`` file. Answers may hold anything a model can write; for a terminal, control characters
are shown as escapes and nothing is read as markup.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson
from rich.text import Text

from pipelines.summary import plain

#: Characters of one text that a terminal shows; ``--json`` has them all.
SHOWN = 4000


def call_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of ``calls/`` as JSON-ready values; ``number`` is its place among its row's calls, from 1."""
    return {
        "number": row["call"] + 1,
        "prompt_id": row["prompt_id"],
        "messages": [{"role": role, "content": content} for role, content in json.loads(row["prompt"])],
        "answers": [
            {"text": text, "finish_reason": reason}
            for text, reason in zip(row["answers"], row["finish_reasons"], strict=True)
        ],
        "prompt_tokens": row["prompt_tokens"],
        "completion_tokens": row["completion_tokens"],
        "seed": row["seed"],
    }


def json_ready(value: Any) -> Any:
    """Any value of a table's row as JSON has it; times become ISO 8601."""
    return orjson.loads(orjson.dumps(value, default=str))


def call_lines(call: Mapping[str, Any]) -> Iterator[Text]:
    """A call for a terminal: what it cost, the ``items`` that rest on it, then each turn and each answer.

    The answer that an item was read from (``taken``, from 0) is marked.
    """
    items = f", for {', '.join(call['items'])}" if call.get("items") else ""
    cost = f"{call['prompt_tokens']:,} tokens in, {call['completion_tokens']:,} out"
    yield heading(f"call {call['number']}: {call['prompt_id']}, {cost}{items}")
    yield from turn_lines(call["messages"])
    several = len(call["answers"]) > 1
    for place, answer in enumerate(call["answers"]):
        which = f"answer {place + 1} of {len(call['answers'])}" if several else "answer"
        taken = ", which the item was read from" if call.get("taken") == place else ""
        yield heading(f"{which} ({answer['finish_reason']}){taken}")
        yield body(answer["text"])
    if not call["answers"]:
        yield heading("no answer came")


def turn_lines(messages: Iterable[Mapping[str, str]]) -> Iterator[Text]:
    """The turns of a prompt for a terminal."""
    for message in messages:
        yield heading(message["role"])
        yield body(message["content"])


def heading(text: str) -> Text:
    """A line that says what follows."""
    return Text(plain(text, SHOWN), style="bold")


def body(text: object) -> Text:
    """A text as it is, indented."""
    shown = plain(text, SHOWN)
    return Text("\n".join(f"  {line}" for line in shown.split("\n")))
