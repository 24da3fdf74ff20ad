"""Each recipe's own knobs, typed: the keys under ``recipe.`` that only it has.

A recipe file names its class in its defaults (``/schema/recipe/text_to_persona@recipe``) and gives the values; a
recipe without knobs of its own names ``/schema/recipe/plain@recipe``. Imports nothing heavy.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pipelines.settings import Recipe
from pipelines.settings.keys import NOT_EMPTY, at_least, key


class Granularity(StrEnum):
    """How narrowly a persona is described; changes the instruction only."""

    coarse = "coarse"
    medium = "medium"
    fine = "fine"


@dataclass
class TextToPersona(Recipe):
    """Recipe ``text_to_persona``: from a text to the kind of person who relates to it."""

    relations: list[str] = key("what the person would do with the text; one is drawn for each seed", rule=NOT_EMPTY)
    granularity: Granularity = key("coarse (a role), medium (role and interest) or fine (as specific as possible)")
    personas_per_text: int = key("personas asked for from one text; several come as one JSON list", rule=at_least(1))
    languages: list[str] = key("two-letter codes; other personas are rejected as foreign_language", rule=NOT_EMPTY)


#: Schemas of the group ``recipe``, by the name that a recipe file's defaults use.
RECIPES: dict[str, type] = {"plain": Recipe, "text_to_persona": TextToPersona}
