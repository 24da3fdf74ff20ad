"""A stand-in for a model, for load tests and benchmarks only: persona-like text drawn from a seeded vocabulary.

An answer depends on the engine's seed, the request's seed and ``n_index`` alone, so the same request gets the same
answer in any batching. Configured shares of the answers pass every shipped filter, are near-duplicates of others, or
fall to each rejection reason in equal parts. It reads no prompt and refuses none for its length; a token is a word.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from contextlib import nullcontext
from statistics import NormalDist

from pipelines import settings
from pipelines.engine import vocabulary
from pipelines.engine.instances import instance
from pipelines.engine.llm import Request
from pipelines.errors import CallFailed, UserError
from pipelines.rows import Answer

#: Every way in which an answer is neither accepted nor a near-duplicate; they come in equal shares.
REASONS = (*vocabulary.REJECTED, "cut_by_max_tokens")


class SimulatedEngine:
    """Implements ``Engine`` without a model."""

    def __init__(self, model: settings.Model, engine: settings.SimulatedEngine, seed: int) -> None:
        _check(engine)
        self._settings = engine
        self._seed = seed
        self._cut = max(0.0, 1 - engine.accepted - engine.duplicates) / len(REASONS)
        self._slots = asyncio.Semaphore(engine.max_num_seqs) if engine.latency_s > 0 else nullcontext()

    async def start(self) -> None:
        """Nothing to load."""

    async def stop(self) -> None:
        """Nothing to let go of."""

    def alive(self) -> bool:
        """Always."""
        return True

    async def generate(self, request: Request) -> list[Answer]:
        """``request.n`` answers, after the configured latency.

        Raises:
            CallFailed: for the configured share of calls; the same call fails again.
            UserError: the request's schema uses a keyword that is not simulated.
        """
        asked = self._settings
        if asked.latency_s > 0 or asked.errors > 0:
            draw = vocabulary.draws(self._seed, request.seed, "call")
            fails = vocabulary.share(draw) < asked.errors
            if asked.latency_s > 0:
                spread = NormalDist().inv_cdf(vocabulary.share(draw) * (1 - 2e-10) + 1e-10)
                async with self._slots:
                    await asyncio.sleep(asked.latency_s * math.exp(asked.latency_sigma * spread))
            if fails:
                raise CallFailed(f"simulated failure: engine.errors={asked.errors} of the calls fail")
        return [self._answer(request, n_index) for n_index in range(request.n)]

    def _answer(self, request: Request, n_index: int) -> Answer:
        draw = vocabulary.draws(self._seed, request.seed, n_index)
        asked = request.sampling
        cut = vocabulary.share(draw) < self._cut
        if request.schema is not None:
            text = json.dumps(instance(request.schema, lambda: self._text(draw), draw), ensure_ascii=False)
        else:
            text = "" if cut else self._text(draw)
        if cut:
            text = f"{text[: len(text) // 2]} {vocabulary.sentence(draw, asked.max_tokens + 4)}".lstrip()
        for stop in asked.stop:
            text = text.partition(stop)[0]
        tokens = text.count(" ") + 1 if text else 0
        finish_reason = "stop"
        if tokens > asked.max_tokens:
            text, tokens, finish_reason = " ".join(text.split(" ")[: asked.max_tokens]), asked.max_tokens, "length"
        return Answer(
            text=text,
            finish_reason=finish_reason,
            prompt_tokens=sum(turn.count(" ") + turn.count("\n") + 1 for _, turn in request.prompt.messages),
            completion_tokens=tokens,
            seed=request.seed,
            n_index=n_index,
            logprobs=tuple(-next(draw) / 65536 for _ in range(tokens)) if asked.logprobs else None,
            pieces=tuple(re.findall(r"^[^ ]*| [^ ]*", text)[:tokens]) if asked.logprobs else None,
            prompt_id=request.prompt.prompt_id,
            prompt_hash=request.prompt.prompt_hash,
            sampling=asked.recorded(),
        )

    def _text(self, draw: vocabulary.Draws) -> str:
        """A text of one kind, in the configured shares of those answers that are not cut."""
        kind = vocabulary.share(draw) * (1 - self._cut)
        if kind < self._settings.accepted:
            return vocabulary.accepted(draw, self._settings.words_mean)
        if kind < self._settings.accepted + self._settings.duplicates:
            return vocabulary.near_duplicate(draw, self._seed)
        return vocabulary.REJECTED[REASONS[next(draw) % len(vocabulary.REJECTED)]](draw)


def _check(engine: settings.SimulatedEngine) -> None:
    """What the rule of one key cannot say."""
    if engine.accepted + engine.duplicates > 1 + 1e-9:
        raise UserError(
            f"engine.accepted={engine.accepted} and engine.duplicates={engine.duplicates}: together at most 1"
        )
