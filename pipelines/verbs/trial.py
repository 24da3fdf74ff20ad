"""A flow tried without a model: over a sample of seeds, with a stand-in that records prompts and makes answers up.

It tells how many calls a row makes and how long its prompts are, as far as that does not depend on answers. No engine
is started and nothing is downloaded.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import pyarrow as pa

from pipelines import settings
from pipelines.engine.instances import instance
from pipelines.engine.llm import Request
from pipelines.engine.vocabulary import draws
from pipelines.engine.weights import ready, resolve
from pipelines.errors import CallFailed
from pipelines.prompts import Message
from pipelines.rows import Answer, python_rows
from pipelines.stages.flow import flow_work
from pipelines.stages.stage import Stage
from pipelines.store.dataset import Shard
from pipelines.verbs.sample import MADE_UP_WORDS, rows_used

#: Calls after which a row is stopped: a flow that waits for a good answer would ask the stand-in for ever.
MOST_CALLS = 512
#: Characters of English text a token, roughly, where the model's tokenizer is not at hand.
_CHARS_PER_TOKEN = 4


@dataclass(frozen=True)
class Trial:
    """What a flow asked for over a sample of ``rows`` seeds: sums over the sample, and sentences about their limits.

    ``items`` are those that a row gives, good or bad.
    """

    rows: int
    calls: int
    prompt_tokens: int
    answer_tokens: int
    items: float
    tokens_by: str
    notes: tuple[str, ...]

    def scaled(self, rows: int) -> dict[str, int]:
        """Calls, prompt tokens and the most answer tokens of so many rows."""
        return {
            "calls": round(self.calls * rows / self.rows),
            "prompt_tokens": round(self.prompt_tokens * rows / self.rows),
            "completion_tokens_at_most": round(self.answer_tokens * rows / self.rows),
        }


def try_flow(
    config: Mapping[str, Any], stages: Sequence[Stage], flow: Stage, seeds: pa.Table, *, made_up: bool = False
) -> Trial:
    """Run ``seeds`` through a flow with the stand-in, and measure what it asked for; they may be ``made_up``."""
    engine = StandIn()
    used = {argument: python_rows(rows) for argument, (rows, _) in rows_used(stages, flow).items()}
    work = flow_work(config, flow, engine, asyncio.Semaphore(seeds.num_rows), used=used)
    entry = asyncio.run(work.run(Shard(0, ((0, 0, seeds.num_rows),), seeds.num_rows), seeds)).entry
    # What a model makes is taken for good; what is decided without one is known.
    items = entry.items_made if flow.asks else entry.items_kept
    count, tokens_by = _measure(settings.Model(**config["model"]))
    lengths = [count(request.prompt.messages) for request in engine.requests]
    fitting = [
        min(length, config["model"]["context"] - request.sampling.max_tokens)
        for length, request in zip(lengths, engine.requests, strict=True)
    ]
    notes: list[str] = []
    if made_up:
        notes.append(f"{flow.name}: its prompts were measured on made-up rows of {MADE_UP_WORDS} words a text")
    if long := sum(length > fits for length, fits in zip(lengths, fitting, strict=True)):
        fate = "trimmed" if config["recipe"]["overlong"] == "trim" else "not sent, and their rows fail"
        notes.append(f"{flow.name}: {long} of {len(lengths)} sampled prompts do not fit model.context; they are {fate}")
    if entry.calls > seeds.num_rows:
        notes.append(
            f"{flow.name} makes several calls a row; those that depend on answers were counted over made-up "
            f"ones of {MADE_UP_WORDS} words, so there may be more or fewer"
        )
    elif entry.rows_failed:
        notes.append(f"{flow.name} breaks off at a made-up answer; calls after it are not counted")
    return Trial(
        rows=seeds.num_rows,
        items=items / max(1, entry.rows_in - entry.rows_failed) or 1.0,
        calls=len(lengths),
        prompt_tokens=sum(fitting),
        answer_tokens=sum(request.n * request.sampling.max_tokens for request in engine.requests),
        tokens_by=tokens_by,
        notes=tuple(notes),
    )


class StandIn:
    """An engine that records requests, and answers with a made-up text, or what obeys the schema that is asked for."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    async def start(self) -> None:
        """Nothing to load."""

    async def generate(self, request: Request) -> list[Answer]:
        """``request.n`` made-up answers; CallFailed for a row that has asked too often."""
        if int(request.request_id.rpartition("-")[2]) >= MOST_CALLS:
            raise CallFailed(f"{MOST_CALLS} calls were answered with made-up texts")
        self.requests.append(request)
        await asyncio.sleep(0)
        text = " ".join(["people"] * MADE_UP_WORDS)
        if request.schema is not None:
            text = json.dumps(instance(request.schema, lambda: text, draws(0, request.seed, 0)))
        return [Answer(text, "stop", 0, 0, request.seed, index) for index in range(request.n)]

    async def stop(self) -> None:
        """Nothing to let go of."""

    def alive(self) -> bool:
        """Always."""
        return True


def _measure(model: settings.Model) -> tuple[Callable[[tuple[Message, ...]], int], str]:
    """What counts the tokens of a prompt, and its name: the model's own tokenizer where this machine has it."""
    weights = model.tokenizer or model.weights
    revision = None if model.tokenizer else model.revision
    if ready(weights):
        try:
            from transformers import AutoTokenizer

            from pipelines.engine.chat import ChatTokenizer

            tokenizer = ChatTokenizer(
                AutoTokenizer.from_pretrained(
                    resolve(weights, revision),
                    revision=revision,
                    trust_remote_code=model.trust_remote_code,
                    local_files_only=True,
                ),
                chat=model.chat,
            )
            return lambda messages: len(tokenizer.ids(messages)), f"the tokenizer of {weights}"
        except (ImportError, OSError, ValueError):
            pass  # not installed, or not fetched yet: a plan downloads nothing
    return (
        lambda messages: ceil(sum(len(text) for _, text in messages) / _CHARS_PER_TOKEN),
        f"{_CHARS_PER_TOKEN} characters a token (the tokenizer of {weights} is not on this machine)",
    )
