"""A stage as plain values that travel to any worker, and the way from a ``_target_`` to the function it names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.bound import beside
from pipelines.names import StageName
from pipelines.store.survey import DECIDING


@dataclass(frozen=True)
class Stage:
    """One step of a recipe.

    Attributes:
        number: place in the recipe; 0 is the seeds stage, which every recipe begins with.
        kind: seeds, rows, flow, map, filter, dedup, select or make.
        node: the stage's settings as composed.
        identity: what its fingerprint is made of, by name, so that a change can be named.
        source: number of the stage whose rows it takes.
        take: which of them, as (first, how many); None takes all.
        uses: further arguments of a flow, each with the number of the stage whose rows it is given: all of them, or
            ``uses_most`` of its node, evenly apart. Of a map, with that of the stage whose folder of things made it is
            given.
        so_far: numbers of the stages whose rows are in the result already, for a dedup to hold its rows against.
        output: whether its rows are part of the run's result.
        draw: which sample of the same prompts a flow asks for; 0 is the first. ``draws``: how many.
    """

    number: int
    name: str
    kind: str
    node: Mapping[str, Any]
    identity: Mapping[str, str]
    fingerprint: str
    source: int = 0
    take: tuple[int, int] | None = None
    uses: tuple[tuple[str, int], ...] = ()
    so_far: tuple[int, ...] = ()
    output: bool = False
    draw: int = 0
    draws: int = 1

    @property
    def called(self) -> StageName:
        """Its name, taken apart."""
        return StageName.read(self.name)

    @property
    def decides(self) -> bool:
        """Whether it must see all of its rows before it lets any pass."""
        return self.kind in DECIDING

    @property
    def asks(self) -> bool:
        """Whether it asks a model: a flow does, unless its node says ``asks: false``."""
        return self.kind == "flow" and bool(self.node.get("asks", True))

    def shard_rows(self, rows: int, bulk_rows: int) -> int:
        """Rows of its shards, where those of a flow that asks once a row have ``rows``; its node's ``calls`` count.

        Those of a stage that asks no model have ``bulk_rows``, or as many as its node says.
        """
        if not self.asks:
            return int(self.node.get("shard_rows", bulk_rows))
        return max(1, rows // (self.draws * int(self.node.get("calls", 1))))

    def shards_at_once(self, shards: int, rows: int) -> int:
        """How many of its shards have the rows of ``shards`` with ``rows`` each: small ones leave no slot empty."""
        return -(-shards * max(1, rows // self.draws) // self.shard_rows(rows, rows))

    @property
    def encodes(self) -> Callable[..., Any] | None:
        """The row-wise first part of a dedup that compares vectors: the function ``vectors`` beside its own."""
        return beside(self.node["dedup"], "vectors") if self.kind in ("dedup", "vectors") else None

    @property
    def own_model(self) -> Mapping[str, Any] | None:
        """The settings of a stage that runs a model of its own beside the engine: they say on which ``device``."""
        if self.kind == "vectors":
            return self.node["dedup"]  # type: ignore[no-any-return]
        node = self.node[self.kind] if self.kind in ("map", "make") else {}
        return node if "device" in node else None

    @property
    def has_gpu_apart(self) -> bool:
        """Whether the process that makes what it makes has a GPU; processes that train together have theirs."""
        return self.own_model is not None and "workers" not in self.own_model

    @property
    def index(self) -> str | None:
        """The standing index that a dedup stage checks against."""
        against: str | None = self.node.get("dedup", {}).get("against") if self.kind == "dedup" else None
        return against

    def folder(self, generation: int = 0) -> str:
        """Name of the stage's directory; a later generation decides again over an input that has grown."""
        number = f"{self.number}.{generation}" if generation else str(self.number)
        return f"{number}-{self.name}-{self.fingerprint[:12]}"


@dataclass(frozen=True)
class Job:
    """A stage at work in a run: where it reads, where it writes, and the composed configuration.

    ``source`` and ``target`` are directory names under the run's ``stages/``, and those of ``uses``, by argument;
    ``threads`` are an actor's.
    """

    run: str
    stage: Stage
    source: str
    target: str
    config: Mapping[str, Any]
    threads: int = 1
    uses: Mapping[str, str] = field(default_factory=dict)


def chains(recipe: Mapping[str, Any]) -> list[dict[str, Mapping[str, Any]]]:
    """The nodes of a recipe's stages by name, without those that are switched off.

    One chain, or where the recipe ends in a block ``{repeat: n, stages: ...}``, one and then n more: the rows that any
    of them keeps are part of the result, and the next one begins with them. The first stage of the second repetition of
    the block ``hop`` is named ``hop2.<stage>``. With ``until`` there is one, which ends with the stage of that name.
    """

    def on(nodes: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
        return {name: node for name, node in nodes.items() if "repeat" not in node and node.get("enabled", True)}

    found = [on(recipe["stages"])]
    if recipe.get("until") is not None:
        last = list(found[0]).index(recipe["until"])
        return [dict(list(found[0].items())[: last + 1])]
    for block, node in recipe["stages"].items():
        for number in range(1, node.get("repeat", 0) + 1):
            inside = on(node["stages"])
            found.append({str(StageName(name, 0, block, number)): inner for name, inner in inside.items()})
    return found


def enabled(recipe: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The nodes of all of a recipe's chains by name."""
    return {name: node for chain in chains(recipe) for name, node in chain.items()}
