"""Persona-driven synthesis (papers.md 1.5): what a persona would ask, write, need or be.

``synthesize`` turns a persona into an item such as ``{task: "math", text: "A baker fills ...", ...}``: six tasks, with
no demonstration (zero_shot), demonstrations (few_shot) or demonstrations with the personas they belong to
(persona_few_shot, ``demonstrated`` infers those). What is particular to a task stands in the prompt's tables: what is
asked, what the answer opens with. Code that a model writes for a tool is stored and never run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from jsonschema import Draft202012Validator

from pipelines.engine.llm import LLM
from pipelines.flows.copies import copied
from pipelines.flows.persona_hub import tidy
from pipelines.flows.structured import an_object
from pipelines.prompts import Message, PromptSet
from pipelines.rows import Answer, Item, Row, keep, reject

#: Keys of a tool's interface, in the order of the released file (papers.md 1.6).
TOOL_KEYS = ("name", "description", "function_name", "input_args", "return", "depend")


def _tool_schema(**more: int) -> Mapping[str, Any]:
    return an_object(**{key: {"type": "string", "minLength": 1, **more} for key in TOOL_KEYS})


#: What a model is held to, so that it comes to an end; and what an interface must be, from wherever it came.
_ASKED, _TOOLS = _tool_schema(maxLength=400), Draft202012Validator(_tool_schema())


def demonstrations(*, task: str, given: Sequence[Mapping[str, Any]] | None, table: Mapping[str, Any]) -> list[Row]:
    """The demonstrations of a task, ``{text, persona}`` each: those ``given``, or those of the prompt's ``table``."""
    chosen = table[task] if given is None else given
    return [{"text": one["text"], "persona": one.get("persona") or None} for one in chosen]


async def demonstrated(row: Row, llm: LLM, prompts: PromptSet) -> list[Item]:
    """A demonstration with the persona it belongs to, inferred from its text unless it has one.

    Rejects: ``unparsable`` (no persona in the answer); a demonstration without a persona is not shown.
    """
    if row["persona"]:
        return [keep(text=row["text"], persona=row["persona"])]
    answer = await llm.chat(prompts.render("demonstrator", trim="text", text=row["text"]))
    persona = tidy(answer.text)
    if not persona:
        return [reject("unparsable", answer, detail="the answer is empty", text=row["text"])]
    return [keep(answer, text=row["text"], persona=persona)]


async def synthesize(
    row: Row,
    llm: LLM,
    prompts: PromptSet,
    *,
    text_column: str,
    task: str,
    mode: str,
    variant: str,
    topic: str | None,
    difficulty: str | None,
    language: str | None,
    code: bool,
    turns: int,
    demonstrations: Sequence[Row] = (),
) -> list[Item]:
    """One text by one persona.

    Args:
        row: a persona, in ``text_column``.
        llm: the model.
        prompts: templates ``synthesis``, ``tool_code``, ``turn``, ``follow_up``; tables ``tasks``, ``variants``.
        text_column: where the persona is.
        task: math, reasoning, instruction, knowledge, npc or tool.
        mode: zero_shot, few_shot or persona_few_shot; demonstrations are shown with their personas in the last.
        variant: of a reasoning task: plain, spatial or trick.
        topic: what it should be about; difficulty: how hard; language: written in; None leaves it open.
        difficulty: see topic.
        language: see topic.
        code: for a tool, ask in a second call for code that implements it.
        turns: for an instruction, user turns of a simulated conversation that begins with it.
        demonstrations: rows of ``text`` and ``persona``.

    Rejects: ``unparsable`` (nothing after the label; no JSON object), ``missing_keys`` and ``off_schema`` (of a tool's
    interface), ``cut_by_max_tokens`` (code, or a turn of a conversation), ``copied`` (mostly the words of a
    demonstration or of what was asked, not the persona's own).
    """
    persona = row[text_column]
    shown = [{**one, "persona": one["persona"] if mode == "persona_few_shot" else None} for one in demonstrations]
    fields = {
        "persona": persona,
        "task": task,
        "variant": variant if task == "reasoning" else "plain",
        "topic": topic,
        "difficulty": difficulty,
        "language": language,
        "shown": shown,
    }
    prompt = prompts.render("synthesis", trim="persona", **fields)
    answer = await llm.chat(prompt, schema=_ASKED if task == "tool" else None)
    known = {"persona": persona, "task": task, "mode": mode}
    words = prompts.tables["tasks"][task]
    text, labelled = unlabelled(answer.text, words["label"])
    if not text:
        return [reject("unparsable", answer, detail="nothing follows the label", **known)]
    given = {f"demonstration {number}": one["text"] for number, one in enumerate(shown, 1)}
    if source := copied(text, given | {"what was asked": f"{words['ask']} {words['form']}"}):
        return [reject("copied", answer, detail=source, text=text, **known)]
    if task == "tool":
        return [await _tool(answer, llm, prompts, code, known)]
    made = {**known, "text": text, "labelled": labelled, "code": None, "messages": None}
    if task == "instruction" and turns and not answer.cut:
        history, answers = await _conversation(llm, prompts, persona, text, turns)
        if len(history) < 2 * turns:
            reason = "cut_by_max_tokens" if answers[-1].cut else "unparsable"
            lost = reject(reason, answers[-1], detail="a turn of the conversation", text=text, **known)
            return [replace(lost, on=(answer, *answers[:-1]))]
        made["messages"] = json.dumps([{"role": role, "content": said} for role, said in history])
        return [replace(keep(answer, **made), on=tuple(answers))]
    return [keep(answer, **made)]


async def _tool(answer: Answer, llm: LLM, prompts: PromptSet, code: bool, known: Mapping[str, Any]) -> Item:
    interface = read_tool(answer.text)
    if interface is None:
        return reject("cut_by_max_tokens" if answer.cut else "unparsable", answer, detail="no JSON object", **known)
    if missing := [key for key in TOOL_KEYS if key not in interface]:
        return reject("missing_keys", answer, detail=", ".join(missing), **known)
    # A model in this process is held to the schema; a server may not heed it.
    if wrong := next(_TOOLS.iter_errors(interface), None):
        return reject("off_schema", answer, detail=f"{wrong.json_path}: {wrong.message}", **known)
    text, written = json.dumps(interface, ensure_ascii=False), None
    on: tuple[Answer, ...] = ()
    if code:
        coded = await llm.chat(prompts.render("tool_code", trim="interface", interface=text))
        if coded.cut:
            return replace(reject("cut_by_max_tokens", coded, detail="its code", text=text, **known), on=(answer,))
        written, on = unfenced(coded.text), (coded,)
    return replace(keep(answer, **known, text=text, labelled=True, code=written, messages=None), on=on)


async def _conversation(
    llm: LLM, prompts: PromptSet, persona: str, opening: str, turns: int
) -> tuple[list[Message], list[Answer]]:
    """``turns`` turns of the persona, each answered, and all answers; fewer where the last one is empty or cut."""
    history: list[Message] = []
    answers: list[Answer] = []
    said = opening
    for turn in range(turns):
        if turn:
            spoken = "\n\n".join(f"{role}: {text}" for role, text in history)
            asked = await llm.chat(prompts.render("follow_up", trim="spoken", persona=persona, spoken=spoken))
            answers.append(asked)
            said = tidy(asked.text)
            if not said or asked.cut:
                break
        reply = await llm.chat(prompts.render("turn", trim="said", history=tuple(history), said=said))
        answers.append(reply)
        if not reply.text.strip() or reply.cut:
            break
        history += [("user", said), ("assistant", reply.text.strip())]
    return history, answers


def unlabelled(text: str, label: str) -> tuple[str, bool]:
    """A text without the label that it was to open with, and whether it did; some models decorate or forget it."""
    found = re.match(rf"^[\s*#_\"'>-]*{re.escape(label)}[\s*_]*:[\s*_]*", text, re.IGNORECASE)
    return (text[found.end() :] if found else text).strip(), found is not None


def unfenced(text: str) -> str:
    """Code without the fence around it."""
    found = re.search(r"```[a-zA-Z]*\n(.*?)(?:```|\Z)", text, re.DOTALL)
    return (found[1] if found else text).strip()


def read_tool(text: str) -> dict[str, Any] | None:
    """The object that a tool's interface is, also where it is JSON inside a JSON string; None where there is none."""
    value: Any = text
    for _ in range(2):
        if isinstance(value, str):
            try:
                value = json.loads(value, strict=False)
            except ValueError:
                return None
    return value if isinstance(value, dict) else None
