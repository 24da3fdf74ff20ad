"""Who does the tasks of a deduplication that memory does not hold: threads of this process, or other nodes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any, Protocol

from pipelines.dedup import memory

#: Share of the memory that is free which deciding may take.
_SHARE = 0.5


class Workers(Protocol):
    """Tasks are done at once, ``per_node`` on each of some ``nodes``.

    ``memory`` are the bytes that those of one node may take together.
    """

    @property
    def nodes(self) -> int: ...

    @property
    def per_node(self) -> int: ...

    @property
    def memory(self) -> float: ...

    def each(self, function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
        """What ``function`` returns for each task's arguments, in any order; kernels run on the task's CPU only."""


@dataclass(frozen=True)
class Threads:
    """The CPUs of this process; kernels and Arrow leave Python's lock alone."""

    memory: float
    per_node: int
    nodes: int = 1

    @staticmethod
    def here(memory_gib: float | None = None) -> Threads:
        """All of them, with the memory that was asked for, or half of what is free."""
        most = _SHARE * memory.free() if memory_gib is None else memory_gib * 2**30
        return Threads(most, len(os.sched_getaffinity(0)))

    def each(self, function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
        pool = ThreadPoolExecutor(self.per_node)
        try:
            for done in as_completed([pool.submit(function, *task) for task in tasks]):
                yield done.result()
        finally:
            pool.shutdown(cancel_futures=True)  # one that fails ends those that wait
