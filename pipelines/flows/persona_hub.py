"""Persona Hub (papers.md 1): who relates to this text?

``text_to_persona`` turns a seed ``{text: "Set the neck joint before..."}`` into items such as ``{persona: "A luthier
who restores ...", relation: "write", granularity: "fine"}``. It asks for the description alone and refuses to guess
one where the answer holds none. ``persona_to_persona`` turns a persona into people close to it, such as ``{persona: "A
timber merchant who ...", relation: "supplier", hop: 1, parent_id: "6f0c..."}``; ``hub`` gives hop 0 the same columns.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

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
    quotas: Mapping[str, Mapping[str, float]] | None = None,
) -> list[Item]:
    """One or several personas from one text (papers.md 1.2).

    The relation verb is drawn from ``relations`` by the row's id, so that a rerun asks the same; a further round takes
    the next one. ``quotas`` is a table of weights (attribute, value, weight): what each persona is asked to be is drawn
    from it, and becomes columns. ``granularity``
    (coarse, medium or fine) changes the instruction only. Rejects: ``unparsable`` (no description in the answer).
    """
    relation = relations[(int(digest("relation", row["id"])[:8], 16) + llm.draw) % len(relations)]
    drawn = attributes(quotas, row["id"], llm.draw)
    known = {"relation": relation, "granularity": granularity, **drawn}
    fields = {"text": row[text_column], "relation": relation, "granularity": granularity, "attributes": drawn}
    if personas_per_text == 1:
        answer = await llm.chat(prompts.render("persona", trim="text", **fields))
        return [_item(answer, tidy(answer.text), known)]
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
        return [reject(reason, answer, detail=str(error), persona=answer.text, **known)]
    return [_item(answer, tidy(persona), known) for persona in described]


async def persona_to_persona(
    row: Row,
    llm: LLM,
    prompts: PromptSet,
    *,
    relation_types: Sequence[str],
    fan_out: int,
    quotas: Mapping[str, Mapping[str, float]] | None = None,
) -> list[Item]:
    """``fan_out`` people in close relation to one persona, each by a call of its own (papers.md 1.3).

    The relation types are drawn by the row's id, without repeats while there are enough; a further round goes on with
    those that were not drawn. ``quotas`` is as in ``text_to_persona``. An item records its relation, its parent and its
    hop, one more than the parent's.
    Rejects: ``unparsable`` (no description in the answer).
    """
    order = sorted(relation_types, key=lambda one: digest("relation", row["id"], one))
    drawn = [order[place % len(order)] for place in range(llm.draw * fan_out, (llm.draw + 1) * fan_out)]
    asked = [attributes(quotas, row["id"], llm.draw, place) for place in range(fan_out)]
    persona = row["persona"]
    rendered = [
        prompts.render("related", trim="persona", persona=persona, relation=relation, attributes=one)
        for relation, one in zip(drawn, asked, strict=True)
    ]
    answers = await asyncio.gather(*map(llm.chat, rendered))
    items = []
    for relation, one, answer in zip(drawn, asked, answers, strict=True):
        columns = {"source": "persona", "relation": relation, "hop": row["hop"] + 1, "parent_id": row["id"], **one}
        persona = tidy(answer.text)
        if persona:
            items.append(keep(answer, persona=persona, **columns))
        else:
            items.append(reject("unparsable", answer, detail="the answer is empty", **columns))
    return items


def hub(table: pa.Table, *, text_column: str, source: str, quotas: Mapping[str, Any] | None = None) -> pa.Table:
    """Rows with the columns of the hub: personas of hop 0, from the column ``text_column``.

    ``source`` says where they are from: ``text`` (Text-to-Persona) or ``given`` (the input); ``quotas`` has
    attributes that are columns, which personas that are given have no values of.
    """
    rows = table.num_rows
    related = table["relation"] if source == "text" else pa.nulls(rows, pa.string())
    return pa.table(
        {
            "id": table["id"],
            "parent_ids": table["parent_ids"],
            "persona": table[text_column].cast(pa.string()),
            "source": pa.repeat(source, rows),
            "relation": related,
            "hop": pa.repeat(pa.scalar(0, pa.int64()), rows),
            "parent_id": pa.nulls(rows, pa.string()),
            **{name: table[name] if source == "text" else pa.nulls(rows, pa.string()) for name in quotas or ()},
            "provenance": table["provenance"],
        }
    )


def tidy(text: str) -> str:
    """The description in an answer: one line, without a label before it or quotes around it."""
    line = " ".join(_LABEL.sub("", text).split())
    while len(line) > 1 and line[0] in _QUOTES and line[-1] in _QUOTES:
        line = line[1:-1].strip()
    return line


def attributes(quotas: Mapping[str, Mapping[str, float]] | None, *lot: object) -> dict[str, str]:
    """One value of each attribute of a table of weights, drawn by ``lot``."""
    drawn = {}
    for name, table in (quotas or {}).items():
        place = int(digest("quota", name, *lot)[:13], 16) / 16**13 * sum(table.values())
        reached = 0.0
        for value, weight in sorted(table.items()):  # in any order of the table the same
            reached += weight
            drawn[name] = value
            if place < reached:
                break
    return drawn


def _item(answer: Answer, persona: str, known: Mapping[str, Any]) -> Item:
    if not persona:
        return reject("unparsable", answer, detail="the answer is empty", **known)
    return keep(answer, persona=persona, **known)
