"""Persona Hub (papers.md 1): who relates to this text?

``text_to_persona`` turns a seed ``{text: "Set the neck joint before..."}`` into items such as ``{persona: "A luthier
who restores ...", relation: "write", granularity: "fine"}``. It asks for the description alone and refuses to guess
one where the answer holds none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from pipelines.engine.llm import LLM
from pipelines.prompts import PromptSet
from pipelines.rows import Answer, Item, Row, digest, keep, reject

#: A label that models like to put before the answer they were asked for.
_LABEL = re.compile(r"^\s*(?:\*\*)?(?:persona|description|answer)(?:\*\*)?\s*:\s*(?:\*\*)?", re.IGNORECASE)
_QUOTES = "\"'`*“”‘’«»"


async def text_to_persona(
    row: Row,
    llm: LLM,
    prompts: PromptSet,
    *,
    text_column: str,
    relations: Sequence[str],
    granularity: str,
    personas_per_text: int,
) -> list[Item]:
    """One or several personas from one text (papers.md 1.2).

    The relation verb is drawn from ``relations`` by the row's id, so that a rerun asks the same. ``granularity``
    (coarse, medium or fine) changes the instruction only. Rejects: ``unparsable`` (no description in the answer).
    """
    relation = relations[int(digest("relation", row["id"])[:8], 16) % len(relations)]
    fields = {"text": row[text_column], "relation": relation, "granularity": granularity}
    if personas_per_text == 1:
        answer = await llm.chat(prompts.render("persona", trim="text", **fields))
        return [_item(answer, tidy(answer.text), relation, granularity)]
    schema = {
        "type": "array",
        "items": {"type": "string"},
        "minItems": personas_per_text,
        "maxItems": personas_per_text,
    }
    prompt = prompts.render("personas", trim="text", count=personas_per_text, **fields)
    answer = await llm.chat(prompt, schema=schema)
    try:
        described = json.loads(answer.text)
    except ValueError as error:
        reason = "cut_by_max_tokens" if answer.cut else "unparsable"
        known = {"persona": answer.text, "relation": relation, "granularity": granularity}
        return [reject(reason, answer, detail=str(error), **known)]
    return [_item(answer, tidy(persona), relation, granularity) for persona in described]


def tidy(text: str) -> str:
    """The description in an answer: one line, without a label before it or quotes around it."""
    line = " ".join(_LABEL.sub("", text).split())
    while len(line) > 1 and line[0] in _QUOTES and line[-1] in _QUOTES:
        line = line[1:-1].strip()
    return line


def _item(answer: Answer, persona: str, relation: str, granularity: str) -> Item:
    if not persona:
        return reject("unparsable", answer, detail="the answer is empty", relation=relation, granularity=granularity)
    return keep(answer, persona=persona, relation=relation, granularity=granularity)
