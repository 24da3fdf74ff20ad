"""Steps of the skill tool_use (papers.md 2.6): code becomes a list of APIs, the seven cases become dialogues.

A case decides which APIs a request needs, which of them the assistant sees and which required parameter goes unsaid; so
a program knows what the assistant must do: call, ask for that parameter, or name the ability that is missing.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipelines.errors import PromptTooLong
from pipelines.flows.agent_instruct.checks import Wrong, no_of, without_text
from pipelines.flows.agent_instruct.drafts import Content, Draft, drawn
from pipelines.flows.agent_instruct.lesson import Lesson
from pipelines.flows.agent_instruct.respond import Reply
from pipelines.flows.agent_instruct.shelf import shelf_of
from pipelines.flows.agent_instruct.skill import Agent
from pipelines.flows.agent_instruct.tools import (
    Api,
    api_schema,
    distinct,
    read_apis,
    required,
    shown,
    speaks_of,
    turn_schema,
)
from pipelines.flows.structured import a_text, an_object, structured
from pipelines.rows import Answer, Item, reject

#: APIs of a list, when it is long enough.
_ENOUGH = 4
#: Of each case: how many APIs are needed, how many of these the assistant does not see, whether a parameter is unsaid.
CASES: Mapping[str, tuple[int, int, bool]] = {
    "t1_all_given": (1, 0, False),
    "t2_superfluous": (1, 0, False),
    "t3_missing_parameter": (1, 0, True),
    "t4_several_apis": (2, 0, False),
    "t5_several_missing": (2, 0, True),
    "t6_absent_api": (1, 1, False),
    "t7_some_absent": (2, 1, False),
}


@dataclass(frozen=True)
class Plan:
    """What a case asks for: APIs that are needed, those of them that are not there, and the parameter left unsaid."""

    needed: tuple[Api, ...]
    hidden: tuple[Api, ...] = ()
    unsaid: str | None = None

    @property
    def action(self) -> str:
        """What the assistant must do first."""
        return "ask" if self.unsaid else "decline" if self.hidden else "call"


async def transform(lesson: Lesson) -> Content | Item:
    """A list of APIs: those that the seed describes, or that a model describes from its code, and more of their kind.

    The list is enlarged from similar code of other seeds (``retrieval``) or by what the same library probably has
    (``library_reconstruction``), drawn by lot. Rejects: what ``structured`` rejects.
    """
    seed = lesson.row["text"]
    given = read_apis(seed)
    if given is not None:
        return Content(shown(given), "identity")
    [way] = drawn(list(lesson.skill.transformers), 1, *lesson.lot("transformer"))
    answers: list[Answer] = []
    apis = await _described(lesson, "describe_apis", seed, answers)
    if isinstance(apis, Item):
        return replace(apis, columns={"transformer": way})
    read = [seed]
    for _ in range(_ENOUGH - len(apis) if lesson.scale.tries > 1 else 1):
        if len(apis) >= _ENOUGH:
            break
        if way == "retrieval":
            found = shelf_of(lesson.library).nearest(f"{seed}\n{shown(apis)}", read)
            if found is None:
                break
            read.append(found)
            more = await _described(lesson, "describe_apis", found, answers)
        else:
            more = await _described(lesson, "sibling_apis", shown(apis), answers)
        if isinstance(more, Item):
            break  # the list is shorter, that is all
        apis = distinct([*apis, *more])
    return Content(shown(apis), way, answers=tuple(answers))


async def _described(lesson: Lesson, template: str, content: str, answers: list[Answer]) -> list[Api] | Item:
    """APIs that a model describes; its answer goes to ``answers``."""
    count = 1 if lesson.scale.tries == 1 else 2
    one = api_schema(lesson.characters(0.12 / count))
    schema = an_object(apis={"type": "array", "items": one, "minItems": 1, "maxItems": count})
    answer = await lesson.ask("transform", template, schema=schema, content=content, count=count)
    answers.append(answer)
    made = structured(answer, schema)
    if isinstance(made, Item):
        return replace(made, on=tuple(answers[:-1]))
    return distinct(made["apis"])


async def instruct(lesson: Lesson, content: Content) -> tuple[list[Draft], list[Item]]:
    """A request for each case that is drawn.

    Rejects: ``too_few_apis`` (the case needs more than there are), ``no_required_parameter`` (none to leave unsaid),
    ``says_what_is_missing`` (the request has the unsaid parameter's name), what ``structured`` rejects.
    """
    apis = json.loads(content.text)
    chosen = drawn(list(lesson.skill.types.values()), lesson.scale.types, *lesson.lot("types"))
    found = await asyncio.gather(*(_request(lesson, content, apis, kind) for kind in chosen))
    return [one for one in found if isinstance(one, Draft)], [one for one in found if isinstance(one, Item)]


async def _request(lesson: Lesson, content: Content, apis: Sequence[Api], kind: Agent) -> Draft | Item:
    count, absent, unsaid = CASES[kind.name]
    bare = Draft(kind.name, content, "", answers=content.answers)
    if len(apis) < count:
        return bare.item(reject("too_few_apis", detail=f"{len(apis)} of {count}"))
    needed = tuple(drawn(apis, count, *lesson.lot("needed", kind.name)))
    parameters = [name for api in needed for name in required(api)]
    if unsaid and not parameters:
        return bare.item(reject("no_required_parameter"))
    plan = Plan(needed, needed[:absent], drawn(parameters, 1, *lesson.lot("unsaid", kind.name))[0] if unsaid else None)
    schema = an_object(request=a_text(lesson.characters(0.8)))
    fields = {"content": shown(needed), "ask": kind.ask, "unsaid": plan.unsaid}
    answer = await lesson.ask("instruct", "request", schema=schema, **fields)
    made = structured(answer, schema)
    seen = [api for api in apis if api not in plan.hidden]
    draft = replace(
        bare,
        content=replace(content, text=shown(seen)),
        expected=json.dumps({"action": plan.action, "apis": [api["name"] for api in needed], "unsaid": plan.unsaid}),
        answers=(*content.answers, answer),
        extra=plan,
    )
    if isinstance(made, Item):
        return draft.item(made)
    draft = replace(draft, instruction=made["request"].strip())
    if plan.unsaid and plan.unsaid.lower() in draft.instruction.lower():
        return draft.item(reject("says_what_is_missing", answer, detail=plan.unsaid))
    return draft


async def respond(lesson: Lesson, draft: Draft) -> Reply:
    """The dialogue: the assistant's turn, tool results that a model makes up, and the assistant's last word.

    Where a parameter was unsaid and the assistant asks for it, a model that plays the user says it, and the assistant
    must call then. Against it: ``did_not_call``, ``did_not_ask``, ``did_not_decline``, ``off_schema`` (a call that its
    API does not take), and what ``structured`` finds.
    """
    plan: Plan = draft.extra
    seen = json.loads(draft.content.text)
    schema = turn_schema(seen, lesson.characters(0.5))
    fields = draft.fields()
    answer = await lesson.ask("respond", "question", schema=schema, **fields)
    said = (answer.sent or lesson.skill.render(lesson.prompts, "question", **fields).messages)[-1]
    reply = Reply((said, ("assistant", answer.text.strip())), answer)
    turn = structured(answer, schema)
    if isinstance(turn, Item):
        return replace(reply, wrong=no_of(turn))
    if wrong := _against(turn, plan, plan.action):
        return replace(reply, wrong=wrong)
    try:
        if plan.action == "ask":
            reply, turn = await _told(lesson, draft, reply, schema)
            if reply.wrong:
                return reply
        return reply if turn["action"] == "decline" else await _called(lesson, reply, turn, seen)
    except PromptTooLong as error:
        return replace(reply, wrong=Wrong("prompt_too_long", str(error)))


def _against(turn: Mapping[str, Any], plan: Plan, action: str) -> Wrong | None:
    """What speaks against a turn of the assistant that was to be ``action``."""
    named = [call["name"] for call in turn["calls"]]
    if turn["action"] != action or (action != "call" and named):
        return Wrong(f"did_not_{action}", f"{turn['action']} {', '.join(named)}".strip())
    if action == "call":
        lacking = [api["name"] for api in plan.needed if api["name"] not in named]
        return Wrong("did_not_call", ", ".join(lacking)) if lacking else None
    missing = (
        [plan.unsaid] if plan.unsaid else [word for api in plan.hidden for word in (api["name"], api["description"])]
    )
    if not speaks_of(turn["text"], *missing):
        return Wrong(f"did_not_{action}", f"the text does not name {missing[0]}")
    return None


async def _told(lesson: Lesson, draft: Draft, reply: Reply, schema: Mapping[str, Any]) -> tuple[Reply, Any]:
    """The dialogue after the user said what the assistant asked for, and the assistant's next turn."""
    asked = await lesson.user_after(reply.messages)
    if wrong := without_text(asked):
        return replace(reply, wrong=wrong, more=(asked,)), None
    answer = await lesson.say(asked.text.strip(), reply.messages, schema=schema)
    messages = (*reply.messages, ("user", asked.text.strip()), ("assistant", answer.text.strip()))
    reply = replace(reply, messages=messages, more=(*reply.more, asked, answer))
    turn = structured(answer, schema)
    wrong = no_of(turn) if isinstance(turn, Item) else _against(turn, replace(draft.extra, unsaid=None), "call")
    return replace(reply, wrong=wrong), turn


async def _called(lesson: Lesson, reply: Reply, turn: Mapping[str, Any], apis: Sequence[Api]) -> Reply:
    """The dialogue with made-up results of the calls, and what the assistant says to them."""
    by_name = {api["name"]: api for api in apis}
    schema = an_object(result=a_text(lesson.characters(0.3)))
    told = await asyncio.gather(
        *(
            lesson.ask("transform", "tool_result", schema=schema, content=shown([by_name[call["name"]]]), call=call)
            for call in turn["calls"]
        )
    )
    results = [structured(one, schema) for one in told]
    more = (*reply.more, *told)
    if wrong := next((one for one in results if isinstance(one, Item)), None):
        return replace(reply, wrong=replace(no_of(wrong), detail=f"a tool's result: {wrong.detail}"), more=more)
    texts = [
        json.dumps({"name": call["name"], "result": one["result"]}, ensure_ascii=False)
        for call, one in zip(turn["calls"], results, strict=True)
    ]
    last = await lesson.say("\n".join(texts), reply.messages)
    messages = (*reply.messages, *(("tool", text) for text in texts), ("assistant", last.text.strip()))
    return replace(reply, messages=messages, wrong=without_text(last), more=(*more, last))
