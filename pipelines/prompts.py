"""Templates as data: load a prompt set, render one prompt of it, keep a row's text a value.

A prompt set is a node of the ``prompt`` group: ``{name, system, templates: {persona: "..."}, tables: {...}}``.
Templates are Jinja, rendered in a sandbox with strict undefined names. A row's text is only ever a value: it is
inserted once and never rendered again, so ``{{ 7*7 }}`` in a seed reaches the model as those seven characters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from pipelines.errors import UserError
from pipelines.rows import digest

#: One turn of a conversation: ("system" | "user" | "assistant", text).
Message = tuple[str, str]

#: Stands for what was cut out of the middle of a field.
_GAP = "\n[...]\n"

_JINJA = ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=False, autoescape=False)


@dataclass(frozen=True, slots=True)
class Rendered:
    """A prompt ready to be sent: its turns, where it came from, and which field may be cut if it is too long.

    ``trim`` names the field; ``trim_from`` says where it is cut: at its ``end``, or in its ``middle``.
    """

    messages: tuple[Message, ...]
    prompt_id: str
    prompt_hash: str
    trim: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    source: PromptSet | None = None
    template: str = ""
    history: tuple[Message, ...] = ()
    trim_from: str = "end"

    def shortened(self, keep_chars: int) -> Rendered:
        """The same prompt with the field ``trim`` cut to its first ``keep_chars`` characters.

        Where it is cut in its middle: to its first third and last two thirds of these, with a mark between them.
        """
        if self.trim is None or self.source is None:
            raise ValueError(f"prompt {self.prompt_id} names no field that may be trimmed")
        text = str(self.fields[self.trim])
        if self.trim_from == "middle" and keep_chars < len(text):
            head = keep_chars // 3
            text = f"{text[:head]}{_GAP}{text[len(text) - (keep_chars - head) :]}"
        else:
            text = text[:keep_chars]
        cut = {**self.fields, self.trim: text}
        return self.source.render(self.template, trim=self.trim, trim_from=self.trim_from, history=self.history, **cut)


@dataclass(frozen=True)
class PromptSet:
    """A named set of templates with one system prompt, and tables of wordings that templates choose from.

    ``tables`` hold data a template looks words up in, such as ``{granularity: {fine: "..."}}``; every template sees
    each table under its own name.
    """

    name: str
    templates: Mapping[str, str]
    system: str = ""
    tables: Mapping[str, Any] = field(default_factory=dict)

    def __hash__(self) -> int:
        return id(self)

    def render(
        self,
        template: str,
        /,
        *,
        trim: str | None = None,
        trim_from: str = "end",
        history: tuple[Message, ...] = (),
        **fields: Any,
    ) -> Rendered:
        """Render ``template`` with ``fields`` as the next user turn after ``history``.

        Raises:
            UserError: no such template, or the template uses a name that is neither a field nor a table.
        """
        try:
            text = _compiled(self._source(template)).render(**self.tables, **fields).strip()
        except TemplateError as error:
            raise UserError(
                f"prompt {self.name}.templates.{template}: {error}; fields given: {sorted(fields)}"
            ) from error
        system: tuple[Message, ...] = (("system", self.system.strip()),) if self.system.strip() else ()
        return Rendered(
            messages=(*system, *history, ("user", text)),
            prompt_id=f"{self.name}/{template}",
            prompt_hash=self.hash_of(template),
            trim=trim,
            trim_from=trim_from,
            fields=fields,
            source=self,
            template=template,
            history=history,
        )

    def hash_of(self, template: str) -> str:
        """16 digits naming the template, the system prompt and the tables together: what provenance records."""
        return _hash_of(self, template)

    def names_in(self, template: str) -> set[str]:
        """Names that ``template`` expects from the flow (its tables are not among them)."""
        return set(meta.find_undeclared_variables(_JINJA.parse(self._source(template)))) - set(self.tables)

    def _source(self, template: str) -> str:
        if template not in self.templates:
            raise UserError(f"prompt {self.name} has no template {template!r}; it has {sorted(self.templates)}")
        return self.templates[template]


@lru_cache(maxsize=512)
def _compiled(source: str) -> Template:
    return _JINJA.from_string(source)


@lru_cache(maxsize=512)
def _hash_of(prompts: PromptSet, template: str) -> str:
    return digest(prompts.system, prompts.templates[template], prompts.tables)[:16]
