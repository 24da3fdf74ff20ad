"""What a run calls its stages: ``r3.hop2.related`` is the stage ``related`` of the second ``hop`` in round 3."""

from __future__ import annotations

import re
from dataclasses import dataclass

_NAME = re.compile(r"(?:r(\d+)\.)?(?:([^.]*?)(\d+)\.)?([^.]+)")


@dataclass(frozen=True)
class StageName:
    """A stage's name in a run, taken apart.

    Attributes:
        own: as the recipe calls it.
        round: counted from 1; 0 in a run without a target, whose stages are in none.
        block: of stages that are repeated; empty for a stage outside any. ``repetition``: counted from 1.
    """

    own: str
    round: int = 0
    block: str = ""
    repetition: int = 0

    @classmethod
    def read(cls, name: str) -> StageName:
        """The parts of a name.

        Raises:
            ValueError: no stage is called so.
        """
        found = _NAME.fullmatch(name)
        if found is None:
            raise ValueError(f"{name!r} is no stage's name")
        round_, block, repetition, own = found.groups()
        return cls(own, int(round_ or 0), block or "", int(repetition or 0))

    @property
    def hop(self) -> str:
        """The repetition of a block that it is in, such as ``hop2``; empty for a stage outside any."""
        return f"{self.block}{self.repetition}" if self.block else ""

    @property
    def step(self) -> str:
        """The name without the round: what stages of several rounds have in common."""
        return f"{self.hop}.{self.own}" if self.block else self.own

    def __str__(self) -> str:
        return f"r{self.round}.{self.step}" if self.round else self.step
