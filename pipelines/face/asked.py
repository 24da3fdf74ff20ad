"""What a list of overrides asks for: choices of groups, values, Hydra's own settings; or the points of a sweep.

An override that cannot be read, or that chooses an option that does not exist, is a mistake with its fix; the nearest
option stands in for it, so that everything else can be checked in the same pass. Nothing is composed here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from pipelines.errors import UserError
from pipelines.face.groups import GROUPS
from pipelines.face.hydra_home import opened
from pipelines.face.overrides import did_you_mean, nearest, quoted, shown


class Mistakes(UserError):
    """Everything that is wrong with what was asked for; ``lines`` has one mistake each."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.lines = list(dict.fromkeys(lines))
        several = [f"{len(self.lines)} mistakes:", *(f"  - {line}" for line in self.lines)]
        super().__init__(self.lines[0] if len(self.lines) == 1 else "\n".join(several))


@dataclass
class Asked:
    """What the overrides ask for, and what is wrong with them."""

    choices: dict[str, str] = field(default_factory=dict)
    hydra: list[str] = field(default_factory=list)
    values: list[Override] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def read(overrides: Sequence[str], loader: ConfigLoader) -> Asked:
    """Sort overrides into choices of groups, Hydra's own settings and values; what cannot be read is a mistake."""
    asked = Asked()
    parser = OverridesParser.create(config_loader=loader)
    searchpath = [o for o in overrides if o.startswith("hydra.searchpath=")]
    for text in overrides:
        try:
            override = parser.parse_overrides([quoted(text)])[0]
        except HydraException:
            asked.wrong.append(_unreadable(text))
            continue
        key = override.key_or_group
        if override.is_hydra_override() and "/" not in key:
            asked.hydra.append(text)
        elif override.is_sweep_override():
            asked.wrong.append(
                f"{shown(key, text.partition('=')[2])}: several values; add -m to run one point each, "
                f"write {key}=[a,b] for a list, or quote a text that has commas: \"{key}='a,b'\""
            )
        elif key in GROUPS or "/" in key or override.package is not None:
            _choose(asked, override, loader.get_group_options(key, overrides=searchpath))
        else:
            asked.values.append(override)
    return asked


def _unreadable(text: str) -> str:
    if "=" not in text and not text.startswith("~"):
        return f"{text}: neither key=value nor an option"
    key, _, value = text.partition("=")
    return f"{shown(key, value)}: has characters with a meaning of their own; quote the value: \"{key}='...'\""


def _choose(asked: Asked, override: Override, legal: list[str]) -> None:
    """Take a group's option, or the nearest one beside the mistake, so that the rest can be checked too."""
    group, option = override.key_or_group, override.value()
    node = f"{group}@{override.package}" if override.package else group
    if override.is_delete() or override.is_add() or override.is_force_add():
        asked.wrong.append(f"{override.input_line}: a group is chosen with {node}=OPTION, without a prefix")
        return
    if isinstance(option, str) and option in legal:
        asked.choices[node] = option
        return
    near = nearest(option, legal) if isinstance(option, str) else []
    if near:
        asked.choices[node] = near[0]
    message = f"{node}={option}: no such {group}; {did_you_mean(near, '')}".rstrip("; ")
    message += f" (legal: {', '.join(legal) or 'none'})"
    if group == "model" and not near:
        message += f"; for other weights choose the preset nearest in size and add model.weights={option}"
    asked.wrong.append(message)


def points_of(overrides: Sequence[str]) -> list[list[str]]:
    """The overrides of every point of a sweep: each combination of the values that ``a,b``, ``range`` and so on list.

    Raises:
        UserError: an override cannot be read, or its values cannot be listed.
    """
    with opened() as loader:
        parser = OverridesParser.create(config_loader=loader)
        parsed: list[Override] = []
        wrong: list[str] = []
        for text in overrides:
            try:
                parsed.extend(parser.parse_overrides([text]))
            except HydraException:
                wrong.append(_unreadable(text))
        if wrong:
            raise Mistakes(wrong)
        try:
            return [point for batch in BasicSweeper.split_arguments(parsed, None) for point in batch]
        except HydraException as error:
            raise UserError(f"-m: {error}") from error
