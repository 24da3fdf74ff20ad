"""A skill as data: who transforms, which instructions are asked for, how they are refined and checked.

Read from a taxonomy such as ``conf/taxonomy/reading_comprehension.yaml``; ``face/taxonomy.py`` has proven it by then.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.prompts import PromptSet, Rendered

#: Tables of a taxonomy, each with entries by name.
TABLES = ("transformers", "types", "refiners")
#: Options of a question of a type that says no more than ``options: true``.
OPTIONS = 4


def _only(table: str, default: Any) -> Any:
    """A key that entries of one table have."""
    return field(default=default, metadata={"table": table})


@dataclass(frozen=True)
class Agent:
    """An entry of a taxonomy: a transformer, a type of instruction or a goal of refinement.

    Attributes:
        name: as the taxonomy calls it.
        source: published (named in the paper) or ours.
        ask: what it asks the model for, in words that complete a sentence of the prompt.
        copy: of a transformer: the seed's text as it is, without a model.
        options: of a type: how many options its questions have to choose among; 0 for open ones.
        constraints: of a type: names of what a response can be held to by a program; one is drawn.
        edits: of a goal: ``content`` (the text below the instruction) or ``instruction``.
        judge: of a goal: the verdict that a refined item needs, ``unanswerable`` or ``changed_answer``.
    """

    name: str
    source: str
    ask: str = ""
    copy: bool = _only("transformers", False)
    options: int = _only("types", 0)
    constraints: Sequence[str] = _only("types", ())
    edits: str = _only("refiners", "instruction")
    judge: str | None = _only("refiners", None)

    @staticmethod
    def read(name: str, plain: Mapping[str, Any]) -> Agent:
        """The entry that a taxonomy describes; ``options: true`` says the usual number."""
        options = plain.get("options", 0)
        return Agent(name, **{**plain, "options": OPTIONS if options is True else int(options)})


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
        templates: wordings of its own, by the names of the templates that they stand for.
    """

    name: str
    takes: str
    transformers: Mapping[str, Agent]
    types: Mapping[str, Agent]
    router: Mapping[str, Sequence[str]] = field(default_factory=dict)
    refiners: Mapping[str, Agent] = field(default_factory=dict)
    split: str | None = None
    content: str = "shown"
    several_turns: bool = False
    respond: Mapping[str, Any] | None = None
    steps: str | None = None
    templates: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def read(plain: Mapping[str, Any]) -> Skill:
        """The skill that a taxonomy describes."""
        agents = {
            table: {name: Agent.read(name, entry) for name, entry in plain.get(table, {}).items()} for table in TABLES
        }
        return Skill(**{**plain, **agents})

    def types_for(self, transformer: str) -> list[Agent]:
        """Types of instruction that may be asked for of what ``transformer`` wrote."""
        names = self.router.get(transformer, list(self.types))
        return [self.types[name] for name in names]

    def render(self, prompts: PromptSet, template: str, **fields: Any) -> Rendered:
        """A prompt by the skill's own template of that name, or by the one that skills share."""
        name = f"{self.name}.{template}" if template in self.templates else template
        return prompts.render(name, trim="content", **fields)

    def step(self, name: str, otherwise: Callable[..., Any]) -> Callable[..., Any]:
        """The skill's own way to do a step, or the way that skills share."""
        if self.steps is None:
            return otherwise
        found: Callable[..., Any] = getattr(importlib.import_module(self.steps), name, otherwise)
        return found

    def asks_by(self) -> list[str]:
        """Names of the templates that ``render`` is asked for: those that it may word anew.

        A module with steps of its own names those that its steps use as ``TEMPLATES``.
        """
        module = importlib.import_module(self.steps) if self.steps else None
        used = dict.fromkeys(getattr(module, "TEMPLATES", ()))
        if not hasattr(module, "transform") and not all(agent.copy for agent in self.transformers.values()):
            used["transform"] = None
        if not hasattr(module, "instruct"):
            used["instruct"] = None
        for goal in self.refiners.values():
            used |= dict.fromkeys(("suggest", f"edit_{goal.edits}", *([f"judge_{goal.judge}"] if goal.judge else [])))
        if not hasattr(module, "respond"):
            used |= dict.fromkeys(("question", "follow_up"))
        return list(used)
