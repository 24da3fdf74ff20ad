"""Queries that documents answer (papers.md 3.2, 4.2, 4.3): a document goes in, queries by a model come out.

"Barometers measure the weight of the air." gives ``{doc_id: "d2", document: "Barometers ...", query: "what does a
barometer measure", score: -0.8, tokens: 7}``. The score is the mean log-probability of the query's own tokens, however
they were drawn. What all prompts share comes first, so that an engine reads it once; the document comes last, and is
what is cut where a prompt is too long.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from pipelines.engine.llm import LLM
from pipelines.errors import PromptTooLong
from pipelines.prompts import Message, PromptSet, Rendered
from pipelines.rows import Answer, Item, Row, keep, reject

#: Marks that models put around a query.
_QUOTES = (('"', '"'), ("'", "'"), ("“", "”"), ("‘", "’"), ("`", "`"), ("**", "**"), ("*", "*"))


async def inpars(
    row: Row, llm: LLM, prompts: PromptSet, *, text_column: str, wording: str, document_words: int
) -> list[Item]:
    """One query by the examples that stand in the prompt's tables.

    Args:
        row: a document, in ``text_column`` and, where there is one, ``title``.
        llm: the model.
        prompts: templates ``vanilla`` and ``guided``, table ``labels``.
        text_column: where the text is.
        wording: vanilla (each example with a query) or guided (with a good question, then a bad one; a good one is
            asked for, and what follows it on a line of its own is kept as ``bad_question``).
        document_words: words of a document that are shown.

    Rejects: ``no_query`` (nothing on the first line).
    """
    text = shown(row, text_column, document_words)
    labels = prompts.tables["labels"][wording]
    guided = wording == "guided"
    prompt = prompts.render(wording, trim="text", history=_shown_before(prompts, wording), text=text)
    answer = await llm.chat(prompt, stop=["\n\n" if guided else "\n"])
    first, _, rest = answer.text.strip().partition("\n")
    bad = _after(rest.strip().partition("\n")[0], labels["bad"]) if guided else None
    # The query is whole where its line has come to an end, whatever was cut behind it.
    whole = replace(answer, finish_reason="stop") if rest and answer.cut else answer
    named = _after(first, labels["query"])
    query = _bare(first if named is None else named)
    return [_item(whole, query, on=(answer,), doc_id=row["id"], document=text, bad_question=bad or None)]


async def promptagator(
    row: Row,
    llm: LLM,
    prompts: PromptSet,
    *,
    text_column: str,
    template: str,
    samples: int,
    document_words: int,
    examples: Sequence[Row] = (),
) -> list[Item]:
    """Several queries by examples of the task itself.

    Args:
        row: a document, in ``text_column`` and, where there is one, ``title``.
        llm: the model.
        prompts: templates ``few_shot`` and ``zero_shot``, table ``kinds``.
        text_column: where the text is.
        template: a kind of the table, or zero_shot.
        samples: queries drawn of each document.
        document_words: words of a document that are shown.
        examples: rows of ``document``, ``query``, ``query_id`` and ``doc_id``; fewer are shown where they do not fit.

    Rejects: ``no_query``; ``no_label`` (the answer does not begin with what a query is called: a generation failure);
    ``repeated`` (the same query as an earlier sample of the document).
    """
    text = shown(row, text_column, document_words)
    used, answers = await _fitting(llm, prompts, template, text, samples, examples)
    label = prompts.tables["kinds"][template]["query"] if template != "zero_shot" else None
    items: list[Item] = []
    seen: set[str] = set()
    for number, answer in enumerate(answers):
        line = answer.text.strip().partition("\n")[0]
        query = _bare((_after(line, label) if label else line) or "")
        known: dict[str, Any] = {
            "doc_id": row["id"],
            "document": text,
            "sample": number,
            "examples": [f"{one['query_id']} {one['doc_id']}" for one in used],
        }
        if label and _after(line, label) is None:
            items.append(_refused("no_label", answer, line, **known))
        elif query.casefold() in seen:
            items.append(_refused("repeated", answer, query, **known))
        else:
            items.append(_item(answer, query, **known))
        seen.add(query.casefold())
    return items


async def _fitting(
    llm: LLM, prompts: PromptSet, template: str, text: str, samples: int, examples: Sequence[Row]
) -> tuple[Sequence[Row], list[Answer]]:
    """The answers to a prompt with as many of the examples as fit, and which those were."""
    for count in range(len(examples), 0, -1):
        prompt = _prompt(prompts, template, text, examples[:count])
        try:
            return examples[:count], await llm.sample(prompt, samples, stop=["\n"])
        except PromptTooLong:
            continue
    prompt = replace(_prompt(prompts, template, text, ()), trim="text")
    return (), await llm.sample(prompt, samples, stop=["\n"])


def _prompt(prompts: PromptSet, template: str, text: str, examples: Sequence[Row]) -> Rendered:
    if template == "zero_shot":
        return prompts.render("zero_shot", text=text)
    label = prompts.tables["kinds"][template]["query"]
    before: list[Message] = []
    for one in examples:
        before.append(prompts.render("few_shot", text=one["document"], kind=template).messages[-1])
        before.append(("assistant", f"{label}: {one['query']}" if label else one["query"]))
    return prompts.render("few_shot", history=tuple(before), text=text, kind=template)


@lru_cache(maxsize=16)
def _shown_before(prompts: PromptSet, wording: str) -> tuple[Message, ...]:
    """The examples of a prompt as turns: a document, and what the model is to answer."""
    labels = prompts.tables["labels"][wording]
    before: list[Message] = []
    for one in prompts.tables["examples"]:
        answer = (
            f"{labels['query']}: {one['question']}\n{labels['bad']}: {one['query']}" if labels["bad"] else one["query"]
        )
        before += [prompts.render(wording, text=one["document"]).messages[-1], ("assistant", answer)]
    return tuple(before)


def shown(row: Row, text_column: str, words: int) -> str:
    """A document as a prompt shows it: title and text, of which the first ``words`` words."""
    whole = f"{row.get('title') or ''} {row[text_column] or ''}".strip()
    return " ".join(whole.split(" ")[:words]).strip()


def mean_logprob(answer: Answer, query: str) -> tuple[float | None, int]:
    """The mean log-probability of the tokens that a query was written with, and how many they are.

    Of an answer without them, None and the query's words. Where the texts of tokens do not join to the answer (a
    character of several tokens), all but the last one count, which ended it.
    """
    if answer.logprobs is None or answer.pieces is None:
        return None, len(query.split())
    joined = "".join(answer.pieces)
    start = joined.find(query)
    end = start + len(query)
    found: list[float] = []
    at = 0
    for piece, value in zip(answer.pieces, answer.logprobs, strict=True):
        if at < end and at + len(piece) > start:
            found.append(value)
        at += len(piece)
    if start < 0:
        found = list(answer.logprobs[: len(answer.logprobs) - (answer.finish_reason == "stop")])
    return (sum(found) / len(found) if found else None), len(found)


def _item(answer: Answer, query: str, *, on: tuple[Answer, ...] = (), **known: Any) -> Item:
    if not query:
        return _refused("no_query", answer, query, **known)
    score, tokens = mean_logprob(answer, query)
    return replace(keep(answer, query=query, score=score, tokens=tokens, **known), on=on)


def _refused(reason: str, answer: Answer, query: str, **known: Any) -> Item:
    return reject(reason, answer, query=query, score=None, tokens=0, **known)


def _after(line: str, label: str) -> str | None:
    """What follows a label and its colon at the beginning of a line; None where it does not begin so."""
    begun = re.match(rf"[\s*#]*{re.escape(label)}[\s*]*:[\s*]*", line, re.IGNORECASE)
    return line[begun.end() :].strip() if begun else None


def _bare(query: str) -> str:
    """A query without marks around it."""
    query = query.strip()
    for first, last in _QUOTES:
        if len(query) > len(first) + len(last) and query.startswith(first) and query.endswith(last):
            query = query[len(first) : -len(last)].strip()
    return query
