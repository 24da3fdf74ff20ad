"""What ``--help`` says, read from where it is defined: verbs in verbs.py, keys in the schemas, options in conf/.

The general page must appear at once, so nothing is imported for it; a verb's page imports the schemas.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import Field, fields, is_dataclass
from enum import Enum
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

VALUES = """\
Values: a path, URL or column name is taken as it stands: input=a,b (1).parquet needs the shell's quotes only.
input=[a.parquet,b.parquet] is two inputs. Lists are key=[a,b]; with -m, key=a,b runs one point for each value.
Options of your own: DIR/model/NAME.yaml (or recipe/, prompt/, ...) with hydra.searchpath=[file://DIR] model=NAME.
"""


def general(verbs: Mapping[str, Verb]) -> str:
    """The page of ``nightmill --help``."""
    lines = [f"  {verb.usage:<24}{verb.summary}" for verb in verbs.values()]
    return GENERAL.format(verbs="\n".join(lines))


def of_verb(verb: Verb) -> str:
    """The page of ``nightmill VERB --help``."""
    parts = [f"usage: nightmill {verb.usage} [--json]", "", verb.summary + "."]
    parts += ["", "Options:", *(_entry(option.flags, option.doc) for option in verb.options)]
    parts.append(_entry("--json", "one JSON object on stdout"))
    if verb.composes:
        parts += ["", VALUES.rstrip(), "", *_keys()]
    parts += ["", "Examples:", *(f"  nightmill {example}" for example in verb.examples)]
    return "\n".join(parts) + "\n"


def _keys() -> Iterator[str]:
    from pipelines import settings
    from pipelines.face import knobs
    from pipelines.face.groups import GROUPS, options

    schemas: dict[str, dict[str, type]] = {group: {} for group in GROUPS}
    schemas |= {"recipe": {"every recipe": knobs.RECIPES["plain"], **knobs.RECIPES}, "engine": settings.ENGINES}
    types = get_type_hints(settings.Root)
    yield "Keys of every recipe:"
    yield from (_field(field, "") for field in fields(settings.Root) if field.name not in GROUPS)
    for group in GROUPS:
        yield ""
        yield from textwrap.wrap(f"{group}=  {', '.join(options(group))}", WIDTH, subsequent_indent="  ")
        if not schemas[group]:
            yield from _fields(types[group], f"{group}.")
            continue
        seen: set[str] = set()
        for name, schema in schemas[group].items():
            lines = [line for line in _fields(schema, f"{group}.") if line not in seen]
            if lines:
                yield f"  {name}:"
                yield from lines
            seen.update(lines)


def _fields(schema: type, at: str) -> Iterator[str]:
    types = get_type_hints(schema)
    for field in fields(schema):
        inner = types[field.name]
        if isinstance(inner, type) and is_dataclass(inner):
            yield from _fields(inner, f"{at}{field.name}.")
        else:
            yield _field(field, at)


def _field(field: Field[Any], at: str) -> str:
    return _entry(f"{at}{field.name}", field.metadata["doc"] + _default(field))


def _default(field: Field[Any]) -> str:
    value = field.default
    if value is NO_DEFAULT or value is None or value == "???" or value == "":
        return ""
    if isinstance(value, bool):
        return f" [{str(value).lower()}]"
    return f" [{value.value if isinstance(value, Enum) else value}]"


def _entry(name: str, doc: str) -> str:
    wrapped = textwrap.wrap(doc, WIDTH - 34, break_long_words=False) or [""]
    lines = [f"  {name:<32}{wrapped[0]}" if len(name) < 32 else f"  {name}\n{'':34}{wrapped[0]}"]
    return "\n".join([*lines, *(f"{'':34}{line}" for line in wrapped[1:])])
