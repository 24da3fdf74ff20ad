"""A table of weights that a recipe is given, or a file of one: read when the configuration is composed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import yaml

from pipelines.rows import RESERVED, VERDICT

#: The largest weight: sums stay exact.
MOST = 10**12
#: Columns that personas have already, and what an item cannot have as one.
_TAKEN = (*RESERVED, *VERDICT, "persona", "source", "relation", "hop", "parent_id", "parents", "granularity", "text")


def quotas(given: Any) -> tuple[dict[str, dict[str, float]] | None, list[str]]:
    """The table that ``recipe.quotas`` holds or names as a YAML file, and what is wrong with it, a line each."""
    at = "recipe.quotas"
    if isinstance(given, str):
        at += f"={given}"
        try:
            written = (
                given if given.lstrip().startswith(("{", "[")) else Path(given).expanduser().read_text(encoding="utf-8")
            )
            given = _as_written(written)
        except (OSError, UnicodeDecodeError) as error:
            return None, [f"{at}: cannot be read: {error}"]
        except _Doubled as doubled:
            return None, [f"{at}: {doubled}"]
        except (yaml.YAMLError, RecursionError) as error:
            return None, [f"{at}: is not YAML: {error}"]
    if not isinstance(given, dict) or not given:
        return None, [
            f"{at}: is no table; write it as {{region: {{Africa: 18, Asia: 59}}, age: {{child: 25, adult: 75}}}}"
        ]
    wrong = [line for name, table in given.items() for line in _mistakes(f"{at}: {name}", str(name), table)]
    if wrong:
        return None, wrong
    return {str(name): {str(value): float(w) for value, w in table.items()} for name, table in given.items()}, []


class _Doubled(Exception):
    """A key that is written twice in one table, with its lines."""


class _Weights(yaml.SafeLoader):
    """Reads a table of weights with its keys as they are written: 1990, no and 0017 are names of values like others."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        pairs = [self._pair(key, value) for key, value in node.value]
        for name, same in groupby(
            sorted((name, key.start_mark.line + 1) for name, key, _ in pairs), lambda one: one[0]
        ):
            if len(lines := [line for _, line in same]) > 1:
                where = f"line {lines[0]}" if lines[0] == lines[-1] else f"lines {' and '.join(map(str, lines))}"
                raise _Doubled(f"{name} is written twice in one table, {where}; leave one")
        return {name: self.construct_object(value, deep=True) for name, _, value in pairs}

    def _pair(self, key: yaml.Node, value: yaml.Node) -> tuple[str, yaml.Node, yaml.Node]:
        if not isinstance(key, yaml.ScalarNode):
            raise yaml.constructor.ConstructorError(None, None, "a key is no text", key.start_mark)
        name, colon, weight = key.value.rpartition(":")
        if colon and not key.style and isinstance(value, yaml.ScalarNode) and not (value.value or value.style):
            # {child:25}, as the command line's other tables may be written: to YAML that is one key without a value.
            tag = self.resolve(yaml.ScalarNode, weight, (True, False))  # type: ignore[no-untyped-call]
            return name, key, yaml.ScalarNode(tag, weight)
        return key.value, key, value


def _as_written(text: str) -> Any:
    loader = _Weights(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def _mistakes(at: str, name: str, table: Any) -> Iterator[str]:
    if not re.fullmatch(r"[A-Za-z_]\w*", name) or name in _TAKEN:
        yield f"{at} cannot be a column of its own; choose another name, of letters, digits and _"
    if not isinstance(table, dict) or len(table) < 2:
        yield f"{at} needs two values or more with their weights; it has {table!r}"
        return
    if len({str(value).strip() for value in table} - {""}) < len(table):
        yield f"{at} has a value that is blank, or the same one twice"
    for value, weight in table.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight <= MOST:
            yield f"{at}: the weight of {value} is {weight!r}; it must be a number above 0, up to {MOST:,}"
