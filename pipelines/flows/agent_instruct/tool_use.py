"""Steps of the skill tool_use (papers.md 2.6): a list of APIs, requests in seven cases, and dialogues.

``tool_lists`` makes the list, ``tool_cases`` the requests and their plans; here is the dialogue, by which a program
sees whether the assistant does what the plan says. Results of calls are made up, and nothing is executed. They are sent
to the model in one user turn, since chat templates and servers differ in what they take as a tool's turn, and many take
none; ``messages`` has that turn, word for word, with the role ``tool``.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipelines.errors import PromptTooLong
from pipelines.flows.agent_instruct.checks import Wrong, no_of, without_text
from pipelines.flows.agent_instruct.drafts import Draft
from pipelines.flows.agent_instruct.lesson import Lesson
from pipelines.flows.agent_instruct.respond import Reply, opened
from pipelines.flows.agent_instruct.tool_cases import CASES, Plan, instruct, refined
from pipelines.flows.agent_instruct.tool_lists import transform
from pipelines.flows.agent_instruct.tools import Api, as_json, call_schema, marked, shown, turn_schema
from pipelines.flows.structured import Schema, a_text, an_object, filled, structured
from pipelines.rows import Answer, Item

__all__ = ["TEMPLATES", "TYPES", "instruct", "refined", "respond", "transform"]

#: What a taxonomy's types are called, if these steps are to know them.
TYPES = tuple(CASES)
#: Templates that the steps ask with, which a taxonomy may word anew.
TEMPLATES = ("describe_apis", "sibling_apis", "request", "question", "follow_up", "tool_result")


async def respond(lesson: Lesson, draft: Draft) -> Reply:
    """The dialogue: the assistant's turn, tool results that a model makes up, and the assistant's last word.

    Where a parameter was unsaid and the assistant asks for it, a model that plays the user says it, and the assistant
    must call then. Where some of the APIs are absent it may decline, or call those that are there and say what is
    missing. Against it: ``did_not_call``, ``did_not_ask``, ``did_not_decline``, ``off_schema`` (a call that its API
    does not take), ``cut_by_schema`` (a text that fills its length), ``prompt_too_long``, what ``structured`` finds.
    """
    plan: Plan = draft.extra
    seen = json.loads(draft.content.text)
    schema = turn_schema(seen, lesson.characters(0.5))
    fields = draft.fields()
    answer = await lesson.ask("respond", "question", schema=schema, **fields)
    reply = opened(lesson, answer, fields)
    turn = structured(answer, schema)
    if isinstance(turn, Item):
        return replace(reply, wrong=no_of(turn))
    if wrong := _against(turn, plan, seen, schema):
        return replace(reply, wrong=wrong)
    if plan.action == "ask":
        reply, turn = await _told(lesson, draft, reply, seen, schema)
    return await _called(lesson, reply, turn, seen) if reply.wrong is None and turn["calls"] else reply


def _against(turn: Mapping[str, Any], plan: Plan, seen: Sequence[Api], schema: Schema) -> Wrong | None:
    """What speaks against a turn of the assistant, who was held to ``schema``."""
    action, text = turn["action"], turn["text"]
    named = [call["name"] for call in turn["calls"]]
    if place := _cut(turn, seen, schema):
        return Wrong("cut_by_schema", place)
    if plan.action != "call":
        partly = plan.action == "decline" and action == "call" and bool(plan.there)
        if not partly and (action != plan.action or named):
            return Wrong(f"did_not_{plan.action}", f"{action} {', '.join(named)}".strip())
        if not (plan.asks(text) if plan.unsaid else plan.declines(text, seen)):
            missing = plan.unsaid["name"] if plan.unsaid else ", ".join(api["name"] for api in plan.hidden)
            return Wrong(f"did_not_{plan.action}", f"the text does not name {missing}")
        if not partly:
            return None
    elif action != "call":
        return Wrong("did_not_call", f"{action} {', '.join(named)}".strip())
    lacking = [api["name"] for api in plan.there if api["name"] not in named]
    return Wrong("did_not_call", ", ".join(lacking)) if lacking else None


def _cut(turn: Mapping[str, Any], seen: Sequence[Api], schema: Schema) -> str | None:
    """Where the schema's length cut the text of a turn, or an argument of a call."""
    by_name = {api["name"]: call_schema(api) for api in seen}
    arguments = (filled(call, by_name[call["name"]]) for call in turn["calls"])
    return filled(turn, schema) or next((place for place in arguments if place), None)


async def _told(lesson: Lesson, draft: Draft, reply: Reply, seen: Sequence[Api], schema: Schema) -> tuple[Reply, Any]:
    """The dialogue after the user said what the assistant asked for, and the assistant's next turn."""
    try:
        asked = await lesson.user_after(reply.messages)
    except PromptTooLong as error:
        return replace(reply, wrong=_too_long(error)), None
    reply = replace(reply, more=(*reply.more, asked))
    if wrong := without_text(asked):
        return replace(reply, wrong=wrong), None
    said = asked.text.strip()
    try:
        answer = await lesson.say(said, reply.messages, schema=schema)
    except PromptTooLong as error:
        return replace(reply, wrong=_too_long(error)), None
    messages = (*reply.messages, ("user", said), ("assistant", answer.text.strip()))
    reply = replace(reply, messages=messages, more=(*reply.more, answer))
    turn = structured(answer, schema)
    if isinstance(turn, Item):
        return replace(reply, wrong=no_of(turn)), None
    return replace(reply, wrong=_against(turn, replace(draft.extra, unsaid=None), seen, schema)), turn


async def _called(lesson: Lesson, reply: Reply, turn: Mapping[str, Any], apis: Sequence[Api]) -> Reply:
    """The dialogue with made-up results of the calls, and what the assistant says to them."""
    by_name = {api["name"]: api for api in apis}
    results = await asyncio.gather(*(_result(lesson, by_name[call["name"]], call) for call in turn["calls"]))
    reply = replace(reply, more=(*reply.more, *(answer for answer, _ in results if answer)))
    if wrong := next((found for _, found in results if isinstance(found, Wrong)), None):
        return replace(reply, wrong=wrong)
    told = "\n".join(
        as_json({"name": call["name"], "result": found})
        for call, (_, found) in zip(turn["calls"], results, strict=True)
    )
    try:
        last = await lesson.say(told, reply.messages)
    except PromptTooLong as error:
        return replace(reply, wrong=_too_long(error))
    messages = (*reply.messages, ("tool", told), ("assistant", last.text.strip()))
    return replace(reply, messages=messages, wrong=without_text(last), more=(*reply.more, last))


async def _result(lesson: Lesson, api: Api, call: Mapping[str, Any]) -> tuple[Answer | None, str | Wrong]:
    """What a model makes up for a call; a result that its schema cut ends in an ellipsis."""
    longest = lesson.characters(0.3)
    schema = an_object(result=a_text(longest))
    fields = {"content": shown([api]), "call": as_json(call)}
    try:
        answer = await lesson.ask("transform", "tool_result", schema=schema, **fields)
    except PromptTooLong as error:
        return None, _too_long(error)
    made = structured(answer, schema)
    if isinstance(made, Item):
        wrong = no_of(made)
        return answer, replace(wrong, detail=f"a tool's result: {wrong.detail}")
    return answer, marked(made["result"], longest)


def _too_long(error: PromptTooLong) -> Wrong:
    return Wrong("prompt_too_long", str(error))
