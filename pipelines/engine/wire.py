"""OpenAI's protocol, as servers really speak it: a request's body, and what their replies mean.

``chat/completions`` where the model has a chat template, otherwise ``completions``. Pure functions over JSON;
connections and retries are in endpoint.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from pipelines.engine.llm import Request, Sampling
from pipelines.errors import CallFailed
from pipelines.prompts import Rendered
from pipelines.rows import Answer

#: A server that asks for more patience than this is asked again all the same.
_LONGEST_RETRY_AFTER_S = 600.0
_TOO_LONG = re.compile(
    r"context.?(length|window|size)|maximum model length|(prompt|input) is too long|too many tokens", re.IGNORECASE
)


def asked(name: str, request: Request, prompt: Rendered, *, chat: bool) -> tuple[str, dict[str, Any]]:
    """Path and body of a request whose text the server tokenises."""
    if chat:
        turns = [{"role": role, "content": text} for role, text in prompt.messages]
        return "chat/completions", body(name, request, {"messages": turns})
    return "completions", body(name, request, {"prompt": "\n\n".join(text for _, text in prompt.messages)})


def body(name: str, request: Request, prompt: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON that asks the model ``name`` for ``request.n`` answers to ``prompt``: messages, a text or token ids."""
    sampling, usual = request.sampling, Sampling()
    made = {
        "model": name,
        **prompt,
        "n": request.n,
        "seed": request.seed,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_tokens,
    }
    # Not part of OpenAI's protocol, and refused by some servers: sent only when they say something.
    extras = {extra: getattr(sampling, extra) for extra in ("top_k", "min_p", "repetition_penalty")}
    made |= {extra: value for extra, value in extras.items() if value != getattr(usual, extra)}
    if sampling.stop:
        made["stop"] = list(sampling.stop)
    if sampling.logprobs:
        made["logprobs"] = True if "messages" in prompt else 1
    if request.schema is not None:
        form = {"name": "answer", "schema": dict(request.schema), "strict": True}
        made["response_format"] = {"type": "json_schema", "json_schema": form}
    return made


def too_long(says: str) -> tuple[int, int] | None:
    """Tokens of prompt and context that a refusal names, 0 where it does not; None if it is not about length."""
    if not _TOO_LONG.search(says):
        return None
    context = re.search(r"(?:length|size|window)\D{0,20}?(\d+) tokens", says)
    prompt = re.search(r"(\d+) (?:input tokens|in the messages|in your prompt|in the prompt)", says)
    # vLLM stops counting at the limit, and then says "at least", or speaks of characters.
    counted = prompt is not None and not re.search(r"at least|upper bound", says)
    return int(prompt[1]) if prompt and counted else 0, int(context[1]) if context else 0


def message(response: httpx.Response) -> str:
    """What the server says is wrong."""
    try:
        body = response.json()
        error = body.get("error", body)
        said = error.get("message", error) if isinstance(error, dict) else error
        return f"{said} ({error['code']})" if isinstance(error, dict) and error.get("code") else str(said)
    except (ValueError, AttributeError):
        return response.text[:500] or response.reason_phrase


def retry_after(response: httpx.Response) -> float:
    """Seconds that the server asks to wait: a number, or a date."""
    value = response.headers.get("retry-after", "")
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return 0.0
    return min(max(seconds, 0.0), _LONGEST_RETRY_AFTER_S)


def answers(reply: Mapping[str, Any], request: Request, prompt: Rendered) -> list[Answer]:
    """The answers in a server's reply to ``prompt`` (the request's, or a shorter one), in order of ``n_index``.

    Raises:
        CallFailed: fewer than were asked for, or a content filter ended one.
    """
    choices = sorted(reply.get("choices") or [], key=lambda choice: choice.get("index") or 0)
    if len(choices) != request.n:
        raise CallFailed(f"the server gave {len(choices)} answers where {request.n} were asked for; it may ignore n")
    if any(choice.get("finish_reason") == "content_filter" for choice in choices):
        raise CallFailed("the server's content filter ended the answer")
    usage = reply.get("usage") or {}
    texts = [_text(choice) for choice in choices]
    logprobs = [_logprobs(choice) if request.sampling.logprobs else None for choice in choices]
    tokens = _tokens(int(usage.get("completion_tokens") or 0), texts, logprobs)
    asked = request.sampling
    return [
        Answer(
            text=texts[index],
            finish_reason="length" if choice.get("finish_reason") == "length" else "stop",
            prompt_tokens=int(usage.get("prompt_tokens") or 0),
            completion_tokens=tokens[index],
            seed=request.seed,
            n_index=index,
            logprobs=logprobs[index],
            pieces=_pieces(choice) if logprobs[index] is not None else None,
            prompt_id=request.prompt.prompt_id,
            prompt_hash=request.prompt.prompt_hash,
            cached_tokens=int((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0),
            trimmed=prompt is not request.prompt,
            sent=prompt.messages if prompt is not request.prompt else None,
            sampling=asked.recorded(),
        )
        for index, choice in enumerate(choices)
    ]


def _text(choice: Mapping[str, Any]) -> str:
    return str((choice["message"].get("content") if "message" in choice else choice.get("text")) or "")


def _logprobs(choice: Mapping[str, Any]) -> tuple[float, ...] | None:
    found = choice.get("logprobs") or {}
    if "token_logprobs" in found:
        return tuple(float(value) for value in found["token_logprobs"] or ())
    return tuple(float(token["logprob"]) for token in found["content"] or ()) if "content" in found else None


def _pieces(choice: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The texts of tokens; None where a server gives their numbers alone."""
    found = choice["logprobs"]
    if "token_logprobs" in found:
        return tuple(map(str, found["tokens"])) if found.get("tokens") else None
    return tuple(str(token["token"]) for token in found.get("content") or ())


def _tokens(total: int, texts: list[str], logprobs: list[tuple[float, ...] | None]) -> list[int]:
    """Tokens of each sample: counted where log-probabilities came along, otherwise its share of the characters."""
    if all(values is not None for values in logprobs):
        return [len(values or ()) for values in logprobs]
    characters = max(1, sum(map(len, texts)))
    shares = [total * len(text) // characters for text in texts]
    shares[-1] = total - sum(shares[:-1])
    return shares
