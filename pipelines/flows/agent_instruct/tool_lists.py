"""Content transformation of the skill tool_use (papers.md 2.6): code becomes a list of APIs."""

from __future__ import annotations

from dataclasses import replace

from pipelines.errors import PromptTooLong
from pipelines.flows.agent_instruct.drafts import Content, drawn
from pipelines.flows.agent_instruct.lesson import Lesson
from pipelines.flows.agent_instruct.shelf import shelf_of
from pipelines.flows.agent_instruct.tools import Api, api_schema, distinct, read_apis, shown, whole
from pipelines.flows.structured import an_object, structured
from pipelines.rows import Answer, Item, reject

#: APIs that one answer describes, at most, and tokens that it needs for each.
_AT_ONCE, _TOKENS = 2, 96


async def transform(lesson: Lesson) -> Content | Item:
    """A list of APIs: those that the seed describes, or that a model describes from its code, and more of their kind.

    The list is enlarged from similar code of other seeds (``retrieval``) or by what the same library probably has
    (``library_reconstruction``), drawn by lot, to twice as many as an answer holds: four, or two where ``max_tokens``
    leaves room for one. Rejects: ``cut_by_schema`` (all names that came), what ``structured`` rejects.
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
    enough = 2 * _at_once(lesson)
    for _ in range(enough - len(apis)):
        if len(apis) >= enough:
            break
        template, content = "sibling_apis", shown(apis)
        if way == "retrieval":
            shelf = await shelf_of(lesson.library)
            found = shelf.nearest(f"{seed}\n{content}", read)
            if found is None:
                break
            read.append(found)
            template, content = "describe_apis", found
        try:
            more = await _described(lesson, template, content, answers)
        except PromptTooLong:
            break
        if isinstance(more, Item):
            break  # the list is shorter, that is all
        apis = distinct([*apis, *more])
    return Content(shown(apis), way, answers=tuple(answers))


async def _described(lesson: Lesson, template: str, content: str, answers: list[Answer]) -> list[Api] | Item:
    """APIs that a model describes; its answer goes to ``answers``."""
    count = _at_once(lesson)
    longest = lesson.characters(0.12 / count)
    schema = an_object(apis={"type": "array", "items": api_schema(longest), "minItems": 1, "maxItems": count})
    answer = await lesson.ask("transform", template, schema=schema, content=content, count=count)
    answers.append(answer)
    made = structured(answer, schema)
    if not isinstance(made, Item):
        apis = distinct(api for one in made["apis"] if (api := whole(one, longest)) is not None)
        if apis:
            return apis
        made = reject("cut_by_schema", answer, detail=", ".join(one["name"] for one in made["apis"]))
    return replace(made, on=tuple(answers[:-1]))


def _at_once(lesson: Lesson) -> int:
    return min(_AT_ONCE, max(1, lesson.scale.max_tokens // _TOKENS))
