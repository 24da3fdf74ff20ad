"""Ray as a run has it: joined or started by the first thing that needs it, and the run's actors on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pipelines.stages import cluster
from pipelines.stages.pool import Pool


class Together:
    """The processes of a Ray cluster, with what a run asks of those who work for it."""

    def __init__(self, config: Mapping[str, Any], *, engine: bool, say: Callable[[str], None]) -> None:
        """``engine``: whether the run asks a model; ``say`` is given warnings."""
        self._config, self._engine, self._say = config, engine, say
        self._connected = False
        self._pool: Pool | None = None

    def pool(self, *, load: Callable[[], None] | None = None) -> Pool:
        """The run's actors; with ``load``, which is called every second meanwhile, their engines are loaded."""
        if self._pool is None:
            self._connect()
            self._pool = Pool(self._config, engine=self._engine)
            for warning in self._pool.placement.warnings:
                self._say(warning)
        if load is not None:
            self._pool.load(load)
        return self._pool

    def nodes(self, memory_gib: float | None) -> cluster.Nodes | None:
        """The nodes that share the work of deciding, where there are several."""
        self._connect()
        return cluster.Nodes.several(memory_gib)

    def apart(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        meanwhile: Callable[[], None] | None = None,
        gpu: bool = False,
    ) -> Any:
        """Call what sees all rows in a process of its own; ``meanwhile`` is called every second."""
        self._connect()
        return cluster.apart(function, *arguments, meanwhile=meanwhile or (lambda: None), gpu=gpu)

    def stream(self, function: Callable[..., Iterator[Any]], *arguments: Any) -> Iterator[Any]:
        """Run a generator in a process of its own and yield what it yields."""
        self._connect()
        return cluster.stream(function, *arguments)

    def rest(self) -> None:
        """Have engines ended, and with them their actors; those that follow have none."""
        if self._engine and self._pool is not None:
            self._pool.close()
            self._pool = None
        self._engine = False

    def close(self) -> None:
        """End the actors, and leave the cluster."""
        if self._pool is not None:
            self._pool.close()
        if self._connected:
            cluster.disconnect()

    def _connect(self) -> None:
        self._connected = cluster.connect(self._config["cluster"]) or self._connected
