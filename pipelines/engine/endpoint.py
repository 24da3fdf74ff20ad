"""Any OpenAI-compatible server behind the ``Engine`` protocol, over httpx alone: no torch, no vLLM.

Requests in flight are bounded; 429, 5xx, time-outs and lost connections are tried again with exponential backoff and
jitter. The key comes from the environment variable that the settings name, and is never stored, logged or shown.
A server tokenises for itself: most, vLLM's among them, read ``<|im_start|>`` in a text as markup, and this file cannot
prevent it. ``engine.send_token_ids`` can, with servers that take token ids for prompts (vLLM's does).
"""

from __future__ import annotations

import asyncio
import os
import random
import re
from collections.abc import Mapping
from typing import Any

import httpx

from pipelines import settings
from pipelines.engine import wire
from pipelines.engine.chat import ChatTokenizer, load
from pipelines.engine.llm import Request
from pipelines.engine.turns import Turns
from pipelines.errors import CallFailed, EngineDead, PromptTooLong, UserError
from pipelines.rows import Answer

_LONGEST_BACKOFF_S = 60.0
#: How often a prompt is shortened before it is given up; each time its field keeps at most 95%.
_MOST_CUTS = 12
#: Characters per token that no ordinary text exceeds; a longer field is cut to it before it is sent.
_CHARS_PER_TOKEN = 16


class EndpointEngine:
    """A client of one served model; used from one event loop."""

    def __init__(self, model: settings.Model, engine: settings.EndpointEngine, seed: int) -> None:
        """Take the settings; ``seed`` is the run's, and a server has none of its own."""
        self._model = model
        self._settings = engine
        self._name = engine.served_name or model.weights
        self._client: httpx.AsyncClient | None = None
        self._chat: ChatTokenizer | None = None
        self._turns = Turns(engine.max_concurrent)
        self._gauges = {"running": 0, "waiting": 0, "tokens": 0, "retries": 0}

    async def start(self) -> None:
        """Wait until the server answers, and see that it serves the model.

        Raises:
            UserError: naming ``engine.base_url``, ``engine.api_key_env`` or ``engine.served_name``.
        """
        key = os.environ.get(self._settings.api_key_env)
        client = httpx.AsyncClient(
            base_url=self._settings.base_url.rstrip("/") + "/",
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=self._settings.request_timeout_s,
            limits=httpx.Limits(max_connections=self._settings.max_concurrent),
        )
        try:
            await self._greet(client)
            if self._settings.send_token_ids:
                self._chat = await asyncio.to_thread(load, self._model)
        except BaseException:
            await client.aclose()
            raise
        self._client = client

    async def generate(self, request: Request) -> list[Answer]:
        """``request.n`` answers, in order of ``n_index``.

        With ``n`` above 1 a server counts the tokens of all samples together; each is given its share by length.

        Raises:
            PromptTooLong: the server says so, and the prompt may not be trimmed or would have nothing left.
            CallFailed: the server refused the request, or ``engine.max_retries`` were not enough.
            EngineDead: the server cannot be reached any more.
            UserError: the key or the address is wrong for every request.
        """
        self._gauges["waiting"] += 1
        async with self._turns.turn(request.rank):
            self._gauges["waiting"] -= 1
            self._gauges["running"] += 1
            try:
                answers = await self._answers(request)
            finally:
                self._gauges["running"] -= 1
        self._gauges["tokens"] += sum(answer.completion_tokens for answer in answers)
        return answers

    async def stop(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def alive(self) -> bool:
        """False once the server could not be reached through all retries."""
        return self._client is not None

    def gauges(self) -> dict[str, int]:
        """Requests in flight and waiting for a slot here, tokens of finished answers, tries again so far."""
        return dict(self._gauges)

    async def _answers(self, request: Request) -> list[Answer]:
        if self._chat is None:
            return await self._tokenised_there(request)
        ids, prompt, _ = await self._chat.fit_beside(request, self._model.context)
        reply = await self._post("completions", wire.body(self._name, request, {"prompt": ids}))
        return wire.answers(reply, request, prompt)

    async def _tokenised_there(self, request: Request) -> list[Answer]:
        """Send text; when the server finds it too long, send less of it, as the request allows."""
        prompt, keep = request.prompt, 0
        if request.overlong == "trim" and prompt.trim is not None:
            keep = len(str(prompt.fields[prompt.trim]))
            most = _CHARS_PER_TOKEN * self._model.context
            if keep > most:
                prompt, keep = prompt.shortened(most), most
        cuts = 0
        while True:
            try:
                reply = await self._post(*wire.asked(self._name, request, prompt, chat=self._model.chat))
                return wire.answers(reply, request, prompt)
            except PromptTooLong as error:
                # Where the server does not say how long the prompt is, half of it.
                share = error.limit / error.prompt_tokens if error.prompt_tokens else 0.5
                keep = int(keep * min(0.95, share))
                cuts += 1
                if keep < 1 or cuts > _MOST_CUTS:
                    raise
            prompt = request.prompt.shortened(keep)

    async def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The server's answer, after as many tries as it takes or ``engine.max_retries`` allow."""
        trouble, unreachable, wait = "", False, 0.0
        for number in range(1 + self._settings.max_retries):
            if number:
                self._gauges["retries"] += 1
                backoff = min(_LONGEST_BACKOFF_S, self._settings.backoff_s * 2 ** (number - 1))
                await asyncio.sleep(max(wait, backoff * random.uniform(0.5, 1.0)))
            client = self._client
            if client is None:
                raise EngineDead(f"{self._settings.base_url} is not reachable")
            try:
                response = await client.post(path, json=body)
            except httpx.TransportError as error:
                wait, unreachable = 0.0, isinstance(error, httpx.ConnectError)
                trouble = f"{type(error).__name__} {error}".strip()
                continue
            if response.status_code == 200:
                return dict(response.json())
            says = self._scrubbed(wire.message(response))
            if response.status_code not in (408, 429) and response.status_code < 500:
                raise self._refusal(response.status_code, says, body)
            wait, unreachable = wire.retry_after(response), False
            trouble = f"{response.status_code} {says}"
        if unreachable:
            await self.stop()
            raise EngineDead(f"engine.base_url={self._settings.base_url} is not reachable any more: {trouble}")
        raise CallFailed(
            f"{self._settings.base_url} gave no answer in {1 + self._settings.max_retries} tries, the last: {trouble}; "
            "raise engine.max_retries or engine.backoff_s, or lower engine.max_concurrent"
        )

    def _refusal(self, status: int, says: str, body: Mapping[str, Any]) -> Exception:
        """What a 4xx means for the row, or for the run."""
        if status in (400, 413, 422) and (tokens := wire.too_long(says)) is not None:
            error = PromptTooLong(tokens[0], max(0, (tokens[1] or self._model.context) - body["max_tokens"]))
            error.args = (f"{says}; set recipe.overlong=trim, or lower sampling.max_tokens",)
            return error
        if status == 401:
            return self._bad_key(says)
        if status == 404:
            return UserError(
                f"engine.base_url={self._settings.base_url} answers 404 ({says}); see that it ends in /v1 and that "
                f"engine.served_name={self._name} is served there"
            )
        return CallFailed(f"the server refused the request: {status} {says}")

    async def _greet(self, client: httpx.AsyncClient) -> None:
        trouble = "no answer"
        try:
            async with asyncio.timeout(self._settings.start_timeout_s):
                pause = 0.1
                while True:
                    try:
                        response = await client.get("models")
                        if response.status_code < 500:
                            break
                        trouble = f"{response.status_code} {self._scrubbed(wire.message(response))}"
                    except httpx.TransportError as error:
                        trouble = f"{type(error).__name__} {error}".strip()
                    await asyncio.sleep(pause)
                    pause = min(2.0, 2 * pause)
        except TimeoutError:
            raise UserError(
                f"engine.base_url={self._settings.base_url}: no server answered within engine.start_timeout_s="
                f"{self._settings.start_timeout_s:g} ({trouble}); start it, or correct the address"
            ) from None
        except httpx.InvalidURL as error:
            raise UserError(
                f"engine.base_url={self._settings.base_url}: {error}; give it as http://HOST:PORT/v1"
            ) from None
        if response.status_code in (401, 403):
            raise self._bad_key(self._scrubbed(wire.message(response)))
        if response.status_code != 200:
            return  # Some servers list no models; the first request will tell.
        try:
            names = [str(entry["id"]) for entry in response.json()["data"]]
        except (ValueError, KeyError, TypeError):
            raise UserError(
                f"engine.base_url={self._settings.base_url}: what answers there lists no models as an "
                "OpenAI-compatible server does; see that the address ends in /v1"
            ) from None
        if names and not any(name == self._name or name.endswith("/" + self._name) for name in names):
            raise UserError(
                f"engine.served_name={self._name}: the server has {', '.join(sorted(names)[:20])}; name one"
            )

    def _bad_key(self, says: str) -> UserError:
        name = self._settings.api_key_env
        state = "its value is not the right one" if os.environ.get(name) else "it is not set"
        return UserError(
            f"engine.api_key_env={name}: {self._settings.base_url} wants a key ({says}) and {state}; export it"
        )

    def _scrubbed(self, text: str) -> str:
        """``text`` without the key, which some servers repeat."""
        key = os.environ.get(self._settings.api_key_env)
        text = text.replace(key, "[key]") if key else text
        return re.sub(r"\bsk-[\w*-]+", "[key]", text)
