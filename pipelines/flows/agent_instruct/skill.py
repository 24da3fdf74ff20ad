"""A skill as data: who transforms, which instructions are asked for, how they are refined and checked.

Read from a taxonomy such as ``conf/taxonomy/reading_comprehension.yaml``; ``face/taxonomy.py`` has proven it by then.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.prompts import PromptSet, Rendered


@dataclass(frozen=True)
class Agent:
    """An entry of a taxonomy: a transformer, a type of instruction or a goal of refinement.

    Attributes:
        name: as the taxonomy calls it.
        source: published (named in the paper) or ours.
        ask: what it asks the model for, in words that complete a sentence of the prompt.
        copy: of a transformer: the seed's text as it is, without a model.
        options: of a type: whether its instructions have answer options.
        constraints: of a type: names of what a response can be held to by a program; one is drawn.
        edits: of a goal: ``content`` (the text below the instruction) or ``instruction``.
        judge: of a goal: the verdict that a refined item needs, ``unanswerable`` or ``changed_answer``.
    """

    name: str
    source: str
    ask: str = ""
    copy: bool = False
    options: bool = False
    constraints: Sequence[str] = ()
    edits: str = "instruction"
    judge: str | None = None


@dataclass(frozen=True)
class Skill:
    """One of the skills (papers.md 2.3).

    Attributes:
        name: as rows have it.
        takes: the kind of seed it needs: text or code.
        split: its name in the released layout; None where that has none.
        content: ``shown`` where an instruction stands beside the transformed text, ``hidden`` where it stands alone.
        transformers, types, refiners: by name; ``router``: types by transformer, all where it names none.
        several_turns: whether a response is the beginning of a conversation.
        respond: JSON schema of responses that are no free text.
        steps: module with steps of its own (``transform``, ``instruct``, ``respond``); None for none.
        own: names of templates that the skill has a wording of its own for.
    """

    name: str
    takes: str
    split: str | None
    content: str
    transformers: Mapping[str, Agent]
    types: Mapping[str, Agent]
    router: Mapping[str, Sequence[str]]
    refiners: Mapping[str, Agent]
    several_turns: bool = False
    respond: Mapping[str, Any] | None = None
    steps: str | None = None
    own: frozenset[str] = field(default_factory=frozenset)

    @staticmethod
    def read(plain: Mapping[str, Any]) -> Skill:
        """The skill that a taxonomy describes."""

        def agents(key: str) -> dict[str, Agent]:
            return {name: Agent(name, **entry) for name, entry in plain.get(key, {}).items()}

        return Skill(
            name=plain["name"],
            takes=plain["takes"],
            split=plain.get("split"),
            content=plain.get("content", "shown"),
            transformers=agents("transformers"),
            types=agents("types"),
            router=plain.get("router", {}),
            refiners=agents("refiners"),
            several_turns=plain.get("several_turns", False),
            respond=plain.get("respond"),
            steps=plain.get("steps"),
            own=frozenset(plain.get("templates", {})),
        )

    def types_for(self, transformer: str) -> list[Agent]:
        """Types of instruction that may be asked for of what ``transformer`` wrote."""
        names = self.router.get(transformer, list(self.types))
        return [self.types[name] for name in names]

    def render(self, prompts: PromptSet, template: str, **fields: Any) -> Rendered:
        """A prompt by the skill's own template of that name, or by the one that skills share."""
        name = f"{self.name}.{template}" if template in self.own else template
        return prompts.render(name, trim="content", **fields)

    def step(self, name: str, otherwise: Callable[..., Any]) -> Callable[..., Any]:
        """The skill's own way to do a step, or the way that skills share."""
        if self.steps is None:
            return otherwise
        found: Callable[..., Any] = getattr(importlib.import_module(self.steps), name, otherwise)
        return found
