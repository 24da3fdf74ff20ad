"""What ``--help`` says, read from where it is defined: verbs in verbs.py, keys in the schemas, options in conf/.

The general page must appear at once, so nothing is imported for it; a verb's page imports the schemas.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import Field, fields, is_dataclass
from typing import TYPE_CHECKING, Any, get_type_hints

if TYPE_CHECKING:
    from pipelines.face.verbs import Verb

WIDTH = 110

GENERAL = """\
nightmill turns seeds into synthetic training data, and accounts for every row.

usage: nightmill VERB [key=value ...] [--json]

{verbs}

Start here:
  nightmill run recipe=text_to_persona input=SEEDS.parquet text_column=text output=runs/personas

  nightmill VERB --help   the keys and options of a verb, with examples
  --json                  one JSON object on stdout; logs always go to stderr
  --version               the version

Exit codes: 0 finished, however many rows were rejected or failed; 1 stopped before its end, or verify or doctor
found something; 2 a mistake in the command line, a setting or the input.
"""

#: Characters of a value in brackets; a longer one is left out.
LONGEST_SHOWN = 60

BRACKETS = (
    "In brackets is the value that a run has with what else is on this command line; a recipe brings options of its "
    "own, so nightmill run recipe=NAME --help shows those."
)

VALUES = """\
Values: a path, URL or column name is taken as it stands: input=a,b (1).parquet needs the shell's quotes only.
input=[a.parquet,b.parquet] is two inputs. Lists are key=[a,b]; with -m, key=a,b runs one point for each value.
Options of your own: DIR/model/NAME.yaml (or recipe/, prompt/, ...) with hydra.searchpath=[file://DIR] model=NAME.
"""


def general(verbs: Mapping[str, Verb]) -> str:
    """The page of ``nightmill --help``."""
    lines = [f"  {verb.usage:<24}{verb.summary}" for verb in verbs.values()]
    return GENERAL.format(verbs="\n".join(lines))


def of_verb(verb: Verb, chosen: Mapping[str, Any] | None = None) -> str:
    """The page of ``nightmill VERB --help``; ``chosen`` is the configuration whose values stand in brackets."""
    parts = [f"usage: nightmill {verb.usage} [--json]", "", verb.summary + "."]
    parts += ["", "Options:", *(_entry(option.flags, option.doc) for option in verb.options)]
    parts.append(_entry("--json", "one JSON object on stdout"))
    if chosen is not None:
        parts += ["", VALUES.rstrip(), "", *_keys(chosen)]
    parts += ["", "Examples:", *(f"  nightmill {example}" for example in verb.examples)]
    return "\n".join(parts) + "\n"


def _keys(chosen: Mapping[str, Any]) -> Iterator[str]:
    from pipelines import settings
    from pipelines.face import knobs
    from pipelines.face.groups import GROUPS, options

    types = get_type_hints(settings.Root)
    yield from textwrap.wrap(f"Keys. {BRACKETS}", WIDTH)
    for field in fields(settings.Root):
        inner = types[field.name]
        if isinstance(inner, type) and is_dataclass(inner) and field.name not in GROUPS:
            yield from _fields(inner, f"{field.name}.", chosen[field.name])
        elif field.name not in GROUPS:
            yield _field(field, "", chosen)
    for group in GROUPS:
        yield ""
        yield from textwrap.wrap(f"{group}=  {', '.join(options(group))}", WIDTH, subsequent_indent="  ")
        values = chosen[group] or {}
        if group == "recipe":
            every = {"every recipe": knobs.RECIPES["plain"], **knobs.RECIPES}
            # A chosen recipe has the keys of its schema, and no others; none that is unknown gets here.
            own = {name: schema for name, schema in every.items() if {one.name for one in fields(schema)} <= {*values}}
            yield from _variants("recipe.", own or every, dict.fromkeys(every, values))
        elif group == "engine":
            yield from _variants("engine.", settings.ENGINES, {values["kind"]: values})
        else:
            yield from _fields(types[group], f"{group}.", values)


def _variants(at: str, schemas: Mapping[str, type], values: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """The keys of each schema under its name, but for those that one before it has with the same line."""
    seen: set[str] = set()
    for name, schema in schemas.items():
        lines = [line for line in _fields(schema, at, values.get(name, {})) if line not in seen]
        if lines:
            yield f"  {name}:"
            yield from lines
        seen.update(lines)


def _fields(schema: type, at: str, values: Mapping[str, Any]) -> Iterator[str]:
    types = get_type_hints(schema)
    for field in fields(schema):
        inner = types[field.name]
        if isinstance(inner, type) and is_dataclass(inner):
            yield from _fields(inner, f"{at}{field.name}.", values.get(field.name, {}))
        else:
            yield _field(field, at, values)


def _field(field: Field[Any], at: str, values: Mapping[str, Any]) -> str:
    shown = _shown(values.get(field.name, field.default))
    return _entry(f"{at}{field.name}", field.metadata["doc"] + (f" [{shown}]" if shown else ""))


def _shown(value: Any) -> str:
    """A value in brackets; nothing for one that is not set, or is long."""
    if value is NO_DEFAULT or value is None or value == "???" or isinstance(value, dict):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(getattr(value, "value", value))
    return text if len(text) <= LONGEST_SHOWN else ""


def _entry(name: str, doc: str) -> str:
    wrapped = textwrap.wrap(doc, WIDTH - 34, break_long_words=False) or [""]
    lines = [f"  {name:<32}{wrapped[0]}" if len(name) < 32 else f"  {name}\n{'':34}{wrapped[0]}"]
    return "\n".join([*lines, *(f"{'':34}{line}" for line in wrapped[1:])])
