"""What goes from step to step of a flow: a text that was made of a seed, and instructions on it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from pipelines.rows import Answer, Item, digest

T = TypeVar("T")


@dataclass(frozen=True)
class Content:
    """What a seed was transformed into.

    Attributes:
        text: the text; of a copied seed, the seed's own.
        transformer: who made it.
        declined: transformers that were drawn before and had nothing to give.
        answers: those that it rests on; none for a copied seed.
        cut: whether ``max_tokens`` cut it, so that it ends at its last whole sentence.
    """

    text: str
    transformer: str
    declined: tuple[str, ...] = ()
    answers: tuple[Answer, ...] = ()
    cut: bool = False


@dataclass(frozen=True)
class Draft:
    """An instruction that is not answered yet (papers.md 2.2).

    Attributes:
        type: its type in the taxonomy.
        content: the text beside it.
        instruction: what is asked.
        options: to choose among; none for an open question.
        expected: the answer that its maker had in mind, where it named one.
        constraint: what a response is held to by a program, as ``{name: value}``.
        parent: place of the draft it was refined from; None for a first one.
        round: of refinement; 0 for a first one.
        goal: of its refinement, and the ``suggestion`` that was followed.
        answers: those that it rests on.
        maker: what who makes and who edits it sees instead of ``content``, where the two differ.
        extra: what a skill of its own keeps of it.
    """

    type: str
    content: Content
    instruction: str
    options: tuple[str, ...] = ()
    expected: str | None = None
    constraint: Mapping[str, str] | None = None
    parent: int | None = None
    round: int = 0
    goal: str | None = None
    suggestion: str | None = None
    answers: tuple[Answer, ...] = ()
    maker: str | None = None
    extra: Any = None

    def fields(self) -> dict[str, Any]:
        """What a prompt on it shows."""
        return {"content": self.content.text, "instruction": self.instruction, "options": self.options}

    def edited_fields(self) -> dict[str, Any]:
        """What a prompt that changes it shows."""
        return self.fields() | ({} if self.maker is None else {"content": self.maker})

    def columns(self) -> dict[str, Any]:
        """Its values, by the columns that items have."""
        return {
            "transformer": self.content.transformer,
            "declined": list(self.content.declined),
            "cut": self.content.cut,
            "type": self.type,
            "content": self.content.text,
            "instruction": self.instruction,
            "options": list(self.options),
            "question": "\n".join((self.instruction, *self.options)),
            "expected": self.expected,
            "constraint": None if self.constraint is None else json.dumps(dict(self.constraint)),
            "origin": "seed" if self.parent is None else "refined",
            "round": self.round,
            "goal": self.goal,
            "suggestion": self.suggestion,
        }

    def item(self, item: Item) -> Item:
        """``item`` with this draft's values, what it was made from and the answers it rests on."""
        after = () if self.parent is None else (self.parent,)
        return replace(item, columns={**self.columns(), **item.columns}, after=after, on=(*self.answers, *item.on))


def drawn(among: Sequence[T], count: int, *by: object) -> list[T]:
    """``count`` of ``among`` (all, where there are fewer) in an order by lot; what it is drawn ``by`` decides alone."""
    order = sorted(range(len(among)), key=lambda place: digest("lot", *by, place))
    return [among[place] for place in order[:count]]
