"""What a flow may ask of a model, and what an engine must answer. No engine is imported here.

A flow sees ``LLM``: ``answer = await llm.chat(prompts.render("persona", text=row["text"]))``. An engine implements
``Engine``: one call of ``generate`` per request, thousands at once on one event loop. Between them stands one
``RowLLM`` (engine/row.py) per row, which derives seeds and keeps the row's record of calls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from pipelines.prompts import Rendered
from pipelines.rows import Answer


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn; part of what the data is. Field meanings are vLLM's.

    ``top_k`` -1 means no limit; ``stop`` strings end an answer and are not part of it.
    """

    temperature: float = 0.7
    top_p: float = 1.0
    top_k: int = -1
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    max_tokens: int = 256
    stop: tuple[str, ...] = ()
    logprobs: bool = False

    def recorded(self) -> dict[str, Any]:
        """What provenance keeps of them."""
        return {name: getattr(self, name) for name in ("temperature", "top_p", "top_k", "max_tokens")}

    def but(self, **changes: Any) -> Sampling:
        """These values with those given (not None) changed."""
        return replace(self, **{k: v for k, v in changes.items() if v is not None})


@dataclass(frozen=True, slots=True)
class Request:
    """One model call, complete: what quarantine stores when it fails.

    ``schema`` is a JSON schema the answer must obey. ``overlong`` says what to do when the prompt does not fit:
    ``trim`` shortens ``prompt.trim``, the field the flow named; ``fail`` fails the row. Of requests that wait, those of
    a lower ``rank`` go first: it is their row's, so that a row goes on while the engine still holds what it has read.
    """

    prompt: Rendered
    sampling: Sampling
    seed: int
    n: int = 1
    schema: Mapping[str, Any] | None = None
    overlong: str = "fail"
    request_id: str = ""
    rank: int = 0


class Engine(Protocol):
    """One model, ready to answer; used from one event loop.

    ``generate`` raises PromptTooLong or CallFailed (this row fails) or EngineDead (all rows in flight are redone).
    """

    async def start(self) -> None:
        """Load the model; returns when requests can be answered. Raises UserError with the setting to change."""

    async def generate(self, request: Request) -> list[Answer]:
        """``request.n`` answers, in order of ``n_index``."""

    async def stop(self) -> None:
        """Let go of the device and end child processes."""

    def alive(self) -> bool:
        """False once no request can ever be answered again."""


class LLM(Protocol):
    """The model as a flow sees it: bound to one row, its seeds derived, its calls recorded."""

    __slots__ = ()

    @property
    def draw(self) -> int:
        """How often the row has been through this flow before; what a flow draws by lot should differ with it."""

    async def chat(
        self,
        prompt: Rendered,
        *,
        schema: Mapping[str, Any] | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        stop: Sequence[str] | None = None,
    ) -> Answer:
        """One answer."""
        answers = await self.sample(prompt, 1, schema=schema, temperature=temperature, max_tokens=max_tokens, stop=stop)
        return answers[0]

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
        """``n`` answers to the same prompt, drawn independently."""
