"""AgentInstruct, the main path (papers.md 2.2): a seed is taken up by skills, each of which teaches with it.

``assigned`` turns a seed into a row for each skill that takes its kind; ``taught`` turns such a row into instructions
with responses: transform, instruct, refine, respond.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipelines.engine.llm import LLM
from pipelines.flows.agent_instruct.drafts import drawn
from pipelines.flows.agent_instruct.instruct import instruct
from pipelines.flows.agent_instruct.lesson import Lesson, Scale
from pipelines.flows.agent_instruct.purse import Purse
from pipelines.flows.agent_instruct.refine import refine
from pipelines.flows.agent_instruct.respond import respond
from pipelines.flows.agent_instruct.skill import Skill
from pipelines.flows.agent_instruct.transform import transform
from pipelines.prompts import PromptSet
from pipelines.rows import Item, Row, digest, keep, reject


async def assigned(
    row: Row,
    llm: LLM,
    prompts: PromptSet,
    *,
    text_column: str,
    taxonomy: Mapping[str, Mapping[str, Any]],
    skills_per_seed: int | None,
) -> list[Item]:
    """A seed once for each skill that takes its kind (column ``kind``), or for ``skills_per_seed`` of those, by lot.

    Rejects: ``needs_text`` and ``needs_code`` (a skill that takes the other kind).
    """
    kind = row["kind"]
    takers = [name for name, skill in taxonomy.items() if skill["takes"] == kind]
    if skills_per_seed is not None:
        takers = drawn(takers, skills_per_seed, row["id"], "skills", llm.draw)
    known = {"kind": kind, "language": row["language"]}
    items = [keep(skill=name, text=row[text_column], **known) for name in taxonomy if name in takers]
    others = [(name, skill["takes"]) for name, skill in taxonomy.items() if skill["takes"] != kind]
    return items + [reject(f"needs_{takes}", skill=name, **known) for name, takes in others]


async def taught(
    row: Row,
    llm: LLM,
    prompts: PromptSet,
    *,
    text_column: str,
    taxonomy: Mapping[str, Mapping[str, Any]],
    scale: Mapping[str, Any],
    library: Sequence[Row] = (),
) -> list[Item]:
    """What a skill teaches with one seed.

    ``row`` is one of ``assigned``; ``taxonomy`` has skills by name, as ``conf/taxonomy`` describes them; ``prompts``
    the templates that skills share, and a skill's own as ``<skill>.<template>``; ``scale`` the values of ``Scale``;
    ``library`` are other seeds (``text_column``, ``kind``), of which skills may look up the code.

    Rejects: ``declined`` (by all transformers drawn), and what instruct, refine and respond reject.
    """
    skill = Skill.read(taxonomy[row["skill"]])
    looked_up = library if skill.steps else ()  # a skill that is data alone looks nothing up
    code = tuple(one[text_column] for one in looked_up if one["kind"] == "code")
    size = Scale(**scale)
    model = llm if size.tokens is None else Purse(llm, size.tokens, size.max_tokens)
    lesson = Lesson(row, skill, size, model, prompts, code)
    content = await skill.step("transform", transform)(lesson)
    if isinstance(content, Item):
        return [_of(skill, content)]
    first, rejected = await skill.step("instruct", instruct)(lesson, content)
    drafts, unrefined = await refine(lesson, first)
    items = await respond(lesson, drafts)
    return [_of(skill, item) for item in (*items, *rejected, *unrefined)]


def _of(skill: Skill, item: Item) -> Item:
    # Items on one text have the same passage; those that stand alone have none.
    text = item.columns.get("content") if skill.content == "shown" else None
    passage = digest("passage", text)[:16] if text else None
    return replace(item, columns={"skill": skill.name, "split": skill.split, "passage": passage, **item.columns})
