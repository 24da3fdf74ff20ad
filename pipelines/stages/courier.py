"""Ray Data's light actor, which hands shards to our actors."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from ray.exceptions import ActorDiedError, ActorUnavailableError, RayError, RayTaskError

from pipelines.errors import first_line
from pipelines.stages.cluster import logs
from pipelines.stages.delivery import Delivery
from pipelines.stages.stage import Job

#: Seconds between looks at an actor that is being replaced.
_LOOK_AGAIN_S = 1.0


class Courier:
    """Ray Data's light actor: hands each shard to the least busy of our actors and waits for it.

    A shard whose actor dies under it is handed out again, ``tries`` times in all. An actor that died gets nothing
    until Ray has replaced it: calls to it would fail at once and use up every shard's tries.
    """

    def __init__(self, actors: Sequence[Any], job: Job, tries: int) -> None:
        self._actors = list(actors)
        self._busy = [0] * len(self._actors)
        self._job = job
        self._tries = tries
        self._absent: dict[int, asyncio.Task[None]] = {}
        self._gone: set[int] = set()
        self._last = ""

    async def __call__(self, batch: dict[str, Any]) -> Any:
        delivered = [await self.deliver(json.loads(str(text))) for text in batch["shard"]]
        yield {"delivery": [json.dumps(vars(d)) for d in delivered]}

    async def deliver(self, shard: dict[str, Any]) -> Delivery:
        """Have one shard done."""
        index = shard["index"]
        for _ in range(self._tries):
            chosen = await self._present()
            if chosen is None:
                break
            self._busy[chosen] += 1
            try:
                return Delivery(index, entry=await self._actors[chosen].work.remote(self._job, shard))
            except (ActorDiedError, ActorUnavailableError) as error:
                self._last = first_line(error)
                if chosen not in self._absent:
                    self._absent[chosen] = asyncio.create_task(self._back(chosen))
            except RayTaskError as error:
                return Delivery.of_error(index, error.cause)
            finally:
                self._busy[chosen] -= 1
        return Delivery(
            index,
            fault=f"shard {index}: its actor died {self._tries} times, or none is left ({self._last}); the setting "
            "engine.max_restarts bounds this. If one was killed for memory, lower engine.kv_cache_gib or "
            f"engine.max_num_seqs; see {logs()}",
        )

    async def _present(self) -> int | None:
        """The least busy actor that is there, once one is; None when all are gone for good."""
        while True:
            there = [i for i in range(len(self._actors)) if i not in self._absent and i not in self._gone]
            if there:
                return min(there, key=self._busy.__getitem__)
            if not self._absent:
                return None
            await asyncio.wait(self._absent.values(), return_when=asyncio.FIRST_COMPLETED)

    async def _back(self, index: int) -> None:
        """Wait until an actor has been replaced and its engine loaded, or is gone for good."""
        while True:
            try:
                await self._actors[index].start.remote()
                break
            except ActorUnavailableError:
                await asyncio.sleep(_LOOK_AGAIN_S)
            except RayError as error:
                self._last = first_line(error)
                self._gone.add(index)
                break
        del self._absent[index]
