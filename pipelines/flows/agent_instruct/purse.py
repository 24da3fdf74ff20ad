"""Tokens that one seed may generate: answers beyond are cut, whatever its skill asks (scale small)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.engine.llm import LLM
from pipelines.prompts import Rendered
from pipelines.rows import Answer


class Purse(LLM):
    """The model as a flow sees it (``LLM``), for as long as the seed has tokens left; then answers are cut to one.

    One call is asked at a time: what is cut is decided by the answers, and not by which of several came first.
    """

    def __init__(self, llm: LLM, tokens: int, longest: int) -> None:
        """``tokens`` are the seed's; ``longest`` is the longest answer of a call that says no other."""
        self._llm = llm
        self._left = tokens
        self._longest = longest
        self._asking = asyncio.Lock()

    @property
    def draw(self) -> int:
        return self._llm.draw

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
        async with self._asking:
            each = self._left // n
            if (max_tokens or self._longest) > each:
                max_tokens = max(1, each)
            answers = await self._llm.sample(
                prompt, n, schema=schema, temperature=temperature, max_tokens=max_tokens, stop=stop
            )
            self._left = max(0, self._left - sum(answer.completion_tokens for answer in answers))
        return answers
