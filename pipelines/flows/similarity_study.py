"""What personas' likeness does to what they write (papers.md 1.8): a problem by each persona under every wording.

``write`` turns ``{persona: "A baker"}`` into an item for each entry of the prompt's table ``wordings``, such as
``{persona: "A baker", wording: "generic", text: "A baker fills ..."}``.
"""

from __future__ import annotations

from pipelines.engine.llm import LLM
from pipelines.flows.persona_synthesis import unlabelled
from pipelines.prompts import PromptSet
from pipelines.rows import Item, Row, keep, reject


async def write(row: Row, llm: LLM, prompts: PromptSet, *, text_column: str) -> list[Item]:
    """A problem under each wording. Rejects: ``unparsable`` (nothing follows the label)."""
    persona, made = row[text_column], []
    for wording, ask in prompts.tables["wordings"].items():
        answer = await llm.chat(prompts.render("problem", trim="persona", ask=ask, persona=persona))
        text, _ = unlabelled(answer.text, "Math problem")
        known = {"persona": persona, "wording": wording}
        made.append(
            keep(answer, text=text, **known)
            if text
            else reject("unparsable", answer, detail="nothing follows the label", **known)
        )
    return made
