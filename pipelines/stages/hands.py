"""Those who work for a run: a process beside the driver (``alone.py``), or Ray (``together.py``)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from pipelines.bound import beside
from pipelines.dedup.workers import Workers
from pipelines.stages.ahead import let_go
from pipelines.stages.alone import Alone
from pipelines.stages.delivery import Delivery
from pipelines.stages.stage import Job, Stage, enabled
from pipelines.store.dataset import Shard


class Waves(Protocol):
    """Whom shards are handed to."""

    @property
    def threads(self) -> int:
        """CPU threads that a shard's work may use."""

    @property
    def devices(self) -> int:
        """Devices that the copies of the model hold together; a copy on a CPU has one."""

    def wave(self, job: Job, shards: Sequence[Shard]) -> Iterator[Delivery]:
        """Have every shard done; deliveries come as shards commit, in no order."""

    def readers(self, stage: Stage) -> AbstractContextManager[Waves]:
        """Those who work for a stage: others where it runs a model of its own."""

    def drain(self) -> None:
        """Have no more shards begun."""

    def progress(self) -> dict[str, int]:
        """Live counts."""


class Hands(Protocol):
    """What a run asks of those who work for it."""

    def pool(self, *, load: Callable[[], None] | None = None) -> Waves:
        """Whom waves are handed to; with ``load``, which is called now and then meanwhile, engines are loaded first."""

    def nodes(self, memory_gib: float | None) -> Workers | None:
        """The nodes that share the work of deciding, where there are several."""

    def apart(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        meanwhile: Callable[[], None] | None = None,
        gpu: bool = False,
    ) -> Any:
        """Call what sees all rows in a process of its own, so that the driver's memory does not grow with them.

        ``meanwhile`` is called now and then; what it raises ends the process. With ``gpu`` it has one that is free.
        """

    def stream(self, function: Callable[..., Iterator[Any]], *arguments: Any) -> Iterator[Any]:
        """Run a generator in a process of its own and yield what it yields."""

    def rest(self) -> None:
        """Have engines ended: no later stage asks a model."""

    def close(self) -> None:
        """End every process."""


@contextmanager
def hands_of(config: Mapping[str, Any], say: Callable[[str], None]) -> Iterator[Hands]:
    """Those who work for the run of a configuration; ``say`` is given warnings.

    A process beside the driver, unless a model or an encoder is asked, a training is spread or a cluster is named.
    """
    nodes = enabled(config["recipe"]).values()
    asks = any("flow" in node for node in nodes)
    encodes = any("dedup" in node and beside(node["dedup"], "vectors") for node in nodes)
    spread = any(node.get("make", {}).get("workers", 1) > 1 for node in nodes)
    hands: Hands
    if asks or encodes or spread or config["cluster"]["address"] or os.environ.get("RAY_ADDRESS"):
        let_go()
        from pipelines.stages.together import Together  # Ray takes a second to import

        hands = Together(config, engine=asks, say=say)
    else:
        hands = Alone()
    try:
        yield hands
    finally:
        hands.close()
