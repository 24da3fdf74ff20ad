"""Skills that a recipe is given by name or as files of their own: read and proven when the configuration is composed.

``recipe.skill`` is ``all``, the name of a shipped skill (a file of ``conf/taxonomy``), a path of a file like those, or
a list of these. A name that is not known, or stands twice, is named here and not in the night.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

from pipelines.face.groups import conf_dir, options
from pipelines.face.overrides import did_you_mean, nearest

_TEXT, _MERGE, _DATE = (f"tag:yaml.org,2002:{name}" for name in ("str", "merge", "timestamp"))


class _Once(yaml.SafeLoader):
    """Reads YAML in which every key is a text, and none stands twice in a table; dates are texts, as Hydra has them."""

    yaml_implicit_resolvers = {
        first: [(tag, form) for tag, form in forms if tag != _DATE]
        for first, forms in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag == _MERGE:
                continue
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a list or a table is no name", problem_mark=key.start_mark)
            if key.tag != _TEXT:
                problem = f"{key.value or 'nothing'} is read as no text; write the name in quotes"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"{key.value} stands twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def taxonomy(given: Any, prompt: Mapping[str, Any]) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """The skills that ``recipe.skill`` names, by name, and what is wrong with them, a line each.

    ``prompt`` is the prompt set whose templates a skill may word anew.
    """
    from pipelines.face.skill import mistakes  # other recipes need not load what it takes

    shipped = options("taxonomy")
    names = shipped if given == "all" else given if isinstance(given, list) else [given]
    found: dict[str, dict[str, Any]] = {}
    wrong: list[str] = [] if names else ["recipe.skill=[]: name a skill, or all"]
    for name in map(str, names):
        own = name.endswith((".yaml", ".yml"))
        if not own and name not in shipped:
            near = did_you_mean(nearest(name, shipped), f"there are {', '.join(shipped)}, all and files of your own")
            wrong.append(f"recipe.skill={name}: no such skill; {near}")
            continue
        path = Path(name) if own else conf_dir() / "taxonomy" / f"{name}.yaml"
        try:
            path = path.expanduser()
            written = path.read_text(encoding="utf-8")
        except (OSError, ValueError, RuntimeError) as error:  # a byte that no path has, a home that nobody has
            wrong.append(f"recipe.skill={name}: cannot be read: {error}")
            continue
        try:
            skill = yaml.load(written, _Once)
        except (yaml.YAMLError, ValueError, RecursionError) as error:  # a number that is none, lists without end
            wrong.append(f"{path}: is not YAML: {' '.join(str(error).split())}")
            continue
        said = list(mistakes(str(path), skill, prompt))
        if not said and skill["name"] in found:
            said = [f"{path}: name: {skill['name']} is that of another skill given"]
        wrong += said
        if not said:
            found[skill["name"]] = skill
    return found, wrong
