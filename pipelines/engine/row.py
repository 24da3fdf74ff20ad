"""The model as one row's flow sees it: seeds derived from the row, every call kept on record.

The seed of a call depends on the run's seed, the row's id, what is asked, and how often the row asked it before; so
neither batching nor the order in which answers come changes it, also where a flow asks several things at once. The
record of calls becomes the shard's ``calls/`` part.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.engine.llm import LLM, Engine, Request, Sampling
from pipelines.prompts import Rendered
from pipelines.rows import Answer, sampling_seed


@dataclass(slots=True)
class Call:
    """One model call of a row: what was asked, and what came back; nothing where it ``broke`` or was cancelled."""

    request: Request
    answers: list[Answer] = field(default_factory=list)
    broke: bool = False


class RowLLM(LLM):
    """Implements ``LLM`` for one row on one engine."""

    __slots__ = (
        "calls",
        "_asking",
        "_draw",
        "_ended",
        "_engine",
        "_overlong",
        "_rank",
        "_row_id",
        "_sampling",
        "_seed",
    )

    def __init__(
        self, engine: Engine, row_id: str, *, sampling: Sampling, seed: int, overlong: str, draw: int = 0, rank: int = 0
    ) -> None:
        self.calls: list[Call] = []
        self._draw = draw
        self._asking: set[asyncio.Task[Any]] = set()
        self._ended = False
        self._engine = engine
        self._row_id = row_id
        self._sampling = sampling
        self._seed = seed
        self._overlong = overlong
        self._rank = rank

    @property
    def draw(self) -> int:
        """How often the row has been through this flow before."""
        return self._draw

    async def sample(
        self,
        prompt: Rendered,
        n: int,
        *,
        schema: Mapping[str, Any] | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        stop: Sequence[str] | None = None,
    ) -> list[Answer]:
        """``n`` answers to the same prompt."""
        if self._ended:
            raise asyncio.CancelledError
        sampling = self._sampling
        if temperature is not None or max_tokens is not None or stop is not None:
            stops = tuple(stop) if stop is not None else None
            sampling = sampling.but(temperature=temperature, max_tokens=max_tokens, stop=stops)
        before = sum(call.request.prompt.messages == prompt.messages for call in self.calls)
        request = Request(
            prompt=prompt,
            sampling=sampling,
            seed=sampling_seed(self._seed, self._row_id, prompt.messages, before, self._draw),
            n=n,
            schema=schema,
            overlong=self._overlong,
            request_id=f"{self._row_id}-{len(self.calls)}",
            rank=self._rank,
        )
        call = Call(request)
        self.calls.append(call)
        task = asyncio.current_task()
        assert task is not None  # a flow is a coroutine
        self._asking.add(task)
        try:
            call.answers = await self._engine.generate(request)
        except Exception:
            call.broke = True
            raise
        finally:
            self._asking.discard(task)
        return call.answers

    def end(self) -> None:
        """Cancel what still asks: of several things asked at once, those that a flow which broke left behind."""
        self._ended = True
        for task in self._asking:
            task.cancel()
