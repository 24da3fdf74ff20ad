"""Responses (papers.md 2.7): every instruction is answered, what a program or a judge can decide about it is decided.

What the model is asked is what the item shows: the turns as they were sent, so a text that was shortened to fit is kept
as it was read.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipelines.errors import PromptTooLong
from pipelines.flows.agent_instruct import constraints
from pipelines.flows.agent_instruct.checks import Wrong, letter_of, no_of, refused, without_text
from pipelines.flows.agent_instruct.drafts import Draft
from pipelines.flows.agent_instruct.instruct import letter
from pipelines.flows.agent_instruct.lesson import Lesson
from pipelines.flows.structured import an_object, structured
from pipelines.prompts import Message
from pipelines.rows import Answer, Item, keep, reject

#: Verdicts by judge: the schema's property and the value that lets an item stay, with the reason for the other value.
VERDICTS: Mapping[str, Mapping[str, tuple[bool, str]]] = {
    "unanswerable": {"answerable": (False, "answerable"), "declines": (True, "did_not_decline")},
    "changed_answer": {"same_answer": (False, "same_answer")},
}


@dataclass(frozen=True)
class Reply:
    """What became of an instruction: the conversation, its last answer, what speaks against it, and votes for it."""

    messages: tuple[Message, ...]
    answer: Answer | None
    wrong: Wrong | None = None
    votes: int | None = None
    more: tuple[Answer, ...] = ()

    @property
    def first(self) -> str:
        """The first response; empty where none came."""
        return next((text for role, text in self.messages if role == "assistant"), "")


async def respond(lesson: Lesson, drafts: Sequence[Draft]) -> list[Item]:
    """An item for each draft, in their order.

    Rejects: ``cut_by_max_tokens``, ``empty_response``, ``refused``, ``off_schema``, ``no_letter`` (of the options),
    ``not_expected`` (another letter than the question's maker had in mind), ``no_agreement`` (of votes),
    ``constraint_broken``, ``prompt_too_long``, and by judges ``answerable``, ``did_not_decline``, ``same_answer``,
    ``no_answer_before`` (the parent has none to compare with), ``no_verdict`` (a judge's answer that is none).
    """
    if lesson.scale.tokens is None:
        replies = list(await asyncio.gather(*(_fitting(lesson, draft) for draft in drafts)))
    else:  # what tokens are left is enough for whole conversations
        replies = [await _fitting(lesson, draft) for draft in drafts]
    judged = await asyncio.gather(
        *(_judged(lesson, draft, one, replies) for draft, one in zip(drafts, replies, strict=True))
    )
    return [_item(draft, one) for draft, one in zip(drafts, judged, strict=True)]


async def _fitting(lesson: Lesson, draft: Draft) -> Reply:
    """The reply as the skill makes one; one instruction that is too long costs the seed no other."""
    reply: Callable[[Lesson, Draft], Awaitable[Reply]] = lesson.skill.step("respond", _reply)
    try:
        return await reply(lesson, draft)
    except PromptTooLong as error:
        return Reply((), None, Wrong(error.kind, str(error)))


async def _reply(lesson: Lesson, draft: Draft) -> Reply:
    """The response to one instruction, with further turns where the skill or the scale asks for some."""
    fields = draft.fields()
    if lesson.skill.content == "hidden":
        fields["content"] = ""
    answer = await lesson.ask("respond", "question", schema=lesson.skill.respond, **fields)
    reply = opened(lesson, answer, fields)
    if wrong := _against(lesson, draft, answer):
        return replace(reply, wrong=wrong)
    if draft.options and lesson.judge_of(draft) != "unanswerable":
        reply = await _voted(lesson, draft, reply, fields)
    turns = lesson.scale.turns if lesson.skill.several_turns else 1 + lesson.scale.follow_ups
    return reply if reply.wrong else await _further(lesson, reply, turns)


def opened(lesson: Lesson, answer: Answer, fields: Mapping[str, Any]) -> Reply:
    """The conversation that an answer to the prompt ``question`` with these fields begins, as it was sent."""
    sent = answer.sent or lesson.skill.render(lesson.prompts, "question", **fields).messages
    return Reply((*sent, ("assistant", answer.text.strip())), answer)


def _against(lesson: Lesson, draft: Draft, answer: Answer) -> Wrong | None:
    """What a program says against a response; one that is to decline is held to no letter and no constraint."""
    if wrong := without_text(answer):
        return wrong
    if lesson.skill.respond is not None and isinstance(found := structured(answer, lesson.skill.respond), Item):
        return no_of(found)
    if lesson.judge_of(draft) == "unanswerable":
        return None
    if wrong := refused(answer):
        return wrong
    if draft.options:
        named = letter_of(answer.text, len(draft.options))
        if named is None:
            return Wrong("no_letter")
        if draft.expected is not None and named != draft.expected:
            return Wrong("not_expected", f"{named}, and the question was made with {draft.expected} in mind")
    if name := constraints.broken(draft.constraint, answer.text.strip()):
        return Wrong("constraint_broken", name)
    return None


async def _voted(lesson: Lesson, draft: Draft, reply: Reply, fields: Mapping[str, Any]) -> Reply:
    """The reply with the votes for its letter; without more than half of them it is rejected."""
    schema = {"enum": [letter(place) for place in range(len(draft.options))]}
    votes = await lesson.samples("respond", "question", lesson.scale.votes, schema=schema, **fields)
    own = letter_of(reply.first, len(draft.options))
    agree = sum(letter_of(vote.text, len(draft.options)) == own for vote in votes)
    wrong = None if 2 * agree > len(votes) else Wrong("no_agreement", f"{agree} of {len(votes)} votes for {own}")
    return replace(reply, votes=agree, wrong=wrong, more=tuple(votes))


async def _further(lesson: Lesson, reply: Reply, turns: int) -> Reply:
    """The conversation with further turns of a user, whom the model plays, each answered, as long as they fit."""
    messages, more = list(reply.messages), list(reply.more)
    for _ in range(turns - 1):
        try:
            asked = await lesson.user_after(messages)
            if wrong := without_text(asked, "a turn of the user"):
                return replace(reply, messages=tuple(messages), wrong=wrong, more=(*more, asked))
            answer = await lesson.say(asked.text.strip(), messages)
        except PromptTooLong:
            break
        more += [asked, answer]
        messages += [("user", asked.text.strip()), ("assistant", answer.text.strip())]
        if wrong := without_text(answer, "a turn of the assistant"):
            return replace(reply, messages=tuple(messages), wrong=wrong, more=tuple(more))
    return replace(reply, messages=tuple(messages), more=tuple(more))


async def _judged(lesson: Lesson, draft: Draft, reply: Reply, replies: Sequence[Reply]) -> Reply:
    """The reply with the verdict that the draft's goal asks for: by program where options decide, else by the model."""
    judge = lesson.judge_of(draft)
    if reply.wrong or judge is None or draft.parent is None:
        return reply
    parent = replies[draft.parent]
    before = parent.first
    if judge == "changed_answer" and parent.wrong:
        return replace(reply, wrong=Wrong("no_answer_before", f"the parent's was rejected: {parent.wrong.reason}"))
    if judge == "changed_answer" and draft.options:
        same = letter_of(before, len(draft.options)) == letter_of(reply.first, len(draft.options))
        return replace(reply, wrong=Wrong("same_answer", "the same letter")) if same else reply
    verdicts = VERDICTS[judge]
    schema = an_object(**{name: {"type": "boolean"} for name in verdicts})
    fields = draft.fields()
    try:
        answer = await lesson.ask(
            "judge", f"judge_{judge}", schema=schema, response=reply.first, before=before, **fields
        )
    except PromptTooLong as error:
        return replace(reply, wrong=Wrong(error.kind, f"the judge's: {error}"))
    more = (*reply.more, answer)
    found = structured(answer, schema)
    if isinstance(found, Item):
        return replace(reply, wrong=Wrong("no_verdict", f"{found.reason}: {found.detail}"), more=more)
    reason = next((reason for name, (stays, reason) in verdicts.items() if found[name] is not stays), None)
    return replace(reply, wrong=Wrong(reason) if reason else None, more=more)


def _item(draft: Draft, reply: Reply) -> Item:
    columns: dict[str, Any] = {
        "response": reply.first,
        "messages": json.dumps([{"role": role, "content": text} for role, text in reply.messages], ensure_ascii=False),
        "turns": sum(role == "user" for role, _ in reply.messages),
        "votes": reply.votes,
    }
    made = (
        keep(reply.answer, **columns)
        if reply.wrong is None
        else reject(reply.wrong.reason, reply.answer, detail=reply.wrong.detail, **columns)
    )
    return draft.item(replace(made, on=reply.more))
