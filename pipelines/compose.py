"""From overrides to one checked configuration of plain values: ``compose(["recipe=text_to_persona", ...]) -> dict``.

Hydra composes the groups against the typed schemas of settings.py and knobs.py; what it would report one at a time,
late, or by advising ``+typo=``, is caught here and said at once, each mistake with the nearest legal names. Nothing of
Hydra or OmegaConf leaves this module: flows, actors and engines receive plain values.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, cast

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.initialize import get_gh_backup, restore_gh_from_backup
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError, OmegaConfBaseException

from pipelines import check, knobs, settings
from pipelines.engine.llm import Sampling
from pipelines.errors import UserError
from pipelines.groups import GROUPS, conf_dir, options
from pipelines.overrides import did_you_mean, nearest, nearest_keys, quoted, shown

#: The name under which Hydra finds our launcher for sweeps (pipelines/sweep.py): it takes no other package's.
LAUNCHER = "hydra._internal.core_plugins.nightmill.Sequential"
#: Dictionaries that take any key, so that no ``+`` is asked for.
OPEN = ("engine.engine_kwargs.",)
NEEDS = ("recipe", "input", "output")


def compose(overrides: Sequence[str], *, needs: Collection[str] = NEEDS) -> dict[str, Any]:
    """The configuration that ``overrides`` ask for, resolved, checked, as plain values.

    Args:
        overrides: ``key=value`` as typed, without quoting for paths.
        needs: keys that must be set; those of ``recipe``, ``input`` and ``output`` that are left out may be None.

    Raises:
        UserError: something is wrong; the message lists all of it, each with the fix.
    """
    with _hydra() as loader:
        asked = _read(overrides, loader)
        config = _composed(asked, needs)
        for override in asked.values:
            asked.wrong.extend(_applied(config, override))
    asked.wrong.extend(line for line in _unset(config, needs) if not _said(asked.wrong, line.split()[0]))
    asked.wrong.extend(check.rule_mistakes(config))
    broken = list(_broken_references(config))
    asked.wrong.extend(broken)
    if not broken:
        plain = _plain(config)
        if not OmegaConf.missing_keys(config) - set(NEEDS):
            asked.wrong.extend(check.mistakes(plain))
        if not asked.wrong:
            return plain
    raise UserError(_listed(asked.wrong))


def points_of(overrides: Sequence[str]) -> list[list[str]]:
    """The overrides of every point of a sweep: each combination of the values that ``a,b``, ``range`` and so on list.

    Raises:
        UserError: an override cannot be read, or its values cannot be listed.
    """
    with _hydra() as loader:
        parser = OverridesParser.create(config_loader=loader)
        parsed: list[Override] = []
        wrong: list[str] = []
        for text in overrides:
            try:
                parsed.append(parser.parse_override(text))
            except HydraException:
                wrong.append(_unreadable(text))
        if wrong:
            raise UserError(_listed(wrong))
        try:
            return [point for batch in BasicSweeper.split_arguments(parsed, None) for point in batch]
        except HydraException as error:
            raise UserError(f"-m: {error}") from error


def model_of(config: Mapping[str, Any], node: str = "model") -> settings.Model:
    """The model at a node of a composed configuration, typed."""
    return cast(settings.Model, _typed(settings.Model, config[node]))


def engine_of(config: Mapping[str, Any]) -> Any:
    """The engine settings of a composed configuration, as the schema of their kind."""
    return _typed(settings.ENGINES[config["engine"]["kind"]], config["engine"])


def sampling_of(config: Mapping[str, Any]) -> Sampling:
    """The sampling of a composed configuration, as engines take it."""
    return Sampling(**{**config["sampling"], "stop": tuple(config["sampling"]["stop"])})


def _typed(schema: type, node: Mapping[str, Any]) -> Any:
    return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), dict(node)))


@dataclass
class _Asked:
    """What the overrides ask for, and what is wrong with them."""

    choices: dict[str, str] = field(default_factory=dict)
    hydra: list[str] = field(default_factory=list)
    values: list[Override] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def register() -> None:
    """Tell Hydra our schemas; doing it again changes nothing."""
    store = ConfigStore.instance()
    store.store(group="schema", name="root", node=settings.Root)
    for name, schema in settings.ENGINES.items():
        store.store(group="schema/engine", name=name, node=schema)
    for name, schema in knobs.RECIPES.items():
        store.store(group="schema/recipe", name=name, node=schema)
    store.store(group="hydra/launcher", name="nightmill", node={"_target_": LAUNCHER})


@contextmanager
def _hydra() -> Iterator[ConfigLoader]:
    """Hydra, initialised for one composition; a sweep that is under way around it is left as it was."""
    register()
    outer = get_gh_backup()
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(version_base="1.3", config_dir=str(conf_dir()), job_name="nightmill"):
            yield GlobalHydra.instance().config_loader()
    finally:
        restore_gh_from_backup(outer)


def _read(overrides: Sequence[str], loader: ConfigLoader) -> _Asked:
    """Sort overrides into choices of groups, Hydra's own settings and values; what cannot be read is a mistake."""
    asked = _Asked()
    parser = OverridesParser.create(config_loader=loader)
    searchpath = [o for o in overrides if o.startswith("hydra.searchpath=")]
    for text in overrides:
        try:
            override = parser.parse_override(quoted(text))
        except HydraException:
            asked.wrong.append(_unreadable(text))
            continue
        key = override.key_or_group
        if override.is_hydra_override() and "/" not in key:
            asked.hydra.append(text)
        elif override.is_sweep_override():
            asked.wrong.append(
                f"{shown(key, text.partition('=')[2])}: several values; add -m to run one point each, write {key}=[a,b] for a list, "
                f"or quote a text that has commas: \"{key}='a,b'\""
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
    escaped = value.replace("'", "\\'")
    return f"{shown(key, value)}: has characters with a meaning of their own; quote the value: \"{key}='{escaped}'\""


def _choose(asked: _Asked, override: Override, legal: list[str]) -> None:
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


def _composed(asked: _Asked, needs: Collection[str]) -> DictConfig:
    """What Hydra makes of the choices alone, without its own node."""
    no_recipe = [] if "recipe" in asked.choices else ["~recipe"]
    if no_recipe:
        if "recipe" in needs and not any(line.startswith("recipe=") for line in asked.wrong):
            asked.wrong.append("recipe is not chosen: add recipe=NAME, one of " + ", ".join(options("recipe")))
    placed = [node for node in asked.choices if "@" in node]
    if placed:
        lines = [f"{group}={option}" for group, option in asked.choices.items() if "@" not in group]
        known = [str(node) for node in _hydra_composed([*no_recipe, *lines, *asked.hydra]).hydra.runtime.choices]
        for node in placed:
            if node not in known:
                option = asked.choices.pop(node)
                near = did_you_mean(nearest(node, [one for one in known if "@" in one]), "it has none at such a place")
                asked.wrong.append(f"{node}={option}: the recipe does not take one there; {near}")
    chosen = [f"{group}={option}" for group, option in asked.choices.items()]
    config = _hydra_composed([*no_recipe, *chosen, *asked.hydra])
    OmegaConf.set_struct(config, False)
    del config["hydra"]
    OmegaConf.set_struct(config, True)
    return config


def _hydra_composed(overrides: list[str]) -> DictConfig:
    try:
        return hydra_compose("config", overrides=overrides, return_hydra_config=True)
    except (HydraException, OmegaConfBaseException) as error:
        causes = [str(one) for one in (error, error.__cause__) if one is not None and str(one)]
        raise UserError("the configuration files do not compose: " + "; ".join(causes)) from error


def _applied(config: DictConfig, override: Override) -> Iterator[str]:
    """Set one value, or say why it cannot be."""
    key, value = override.key_or_group, override.value()
    legal = set(dotted_keys(config))
    adds = override.is_add() or override.is_force_add()
    if key not in legal:
        parent = key.rpartition(".")[0]
        if not _takes_any_key(config, parent, legal) or not (adds or key.startswith(OPEN)):
            yield _unknown(key, config, legal, plus=adds)
            return
        override.type = type(override.type).FORCE_ADD
    try:
        ConfigLoaderImpl._apply_overrides_to_config([override], config)
    except (HydraException, OmegaConfBaseException) as error:
        yield _wrong_value(config, key, value, error)


def _takes_any_key(config: DictConfig, parent: str, legal: set[str]) -> bool:
    if parent not in legal:
        return False
    node = OmegaConf.select(config, parent)
    return isinstance(node, DictConfig) and not is_dataclass(OmegaConf.get_type(node))


def _unknown(key: str, config: DictConfig, legal: set[str], *, plus: bool) -> str:
    parent = key
    while parent and parent not in legal:
        parent = parent.rpartition(".")[0]
    node = OmegaConf.select(config, parent) if parent else config
    inside = sorted(str(one) for one in node) if isinstance(node, DictConfig) else []
    where = f"{parent} has {', '.join(inside)}" if parent else f"keys are {', '.join(inside)}"
    others = [kind for kind, schema in settings.ENGINES.items() if key in {f"engine.{f.name}" for f in fields(schema)}]
    if others:
        return f"{key}: no such key of engine {config.engine.kind}; it belongs to engine {' and '.join(others)}"
    nothing = "; + adds no new keys here" if plus else ""
    return f"{key}: no such key{nothing}; {did_you_mean(nearest_keys(key, legal), where)}"


def _wrong_value(config: DictConfig, key: str, value: Any, error: Exception) -> str:
    reason = str(error.__cause__ or error).strip().splitlines()[0]
    schema = OmegaConf.get_type(config, key.rpartition(".")[0]) if "." in key else OmegaConf.get_type(config)
    name = key.rpartition(".")[2]
    docs = {f.name: f.metadata.get("doc") for f in fields(schema)} if schema is not None and is_dataclass(schema) else {}
    doc = f" ({docs[name]})" if docs.get(name) else ""
    literal = "; write \\${ where a dollar and a brace are meant as they stand" if "${" in str(value) else ""
    return f"{shown(key, value)}: {reason}{literal}{doc}"


def dotted_keys(config: Any, at: str = "") -> Iterator[str]:
    """Every key of a configuration, dotted, missing ones included."""
    node = OmegaConf.to_container(config, resolve=False) if isinstance(config, DictConfig) else config
    for key, value in node.items():
        yield f"{at}{key}"
        if isinstance(value, dict):
            yield from dotted_keys(value, f"{at}{key}.")


def _unset(config: DictConfig, needs: Collection[str]) -> Iterator[str]:
    for key in sorted(OmegaConf.missing_keys(config)):
        if key in NEEDS and (key == "recipe" or key not in needs):
            continue
        schema = OmegaConf.get_type(config, key.rpartition(".")[0]) if "." in key else settings.Root
        doc = {f.name: f.metadata.get("doc") for f in fields(schema)}.get(key.rpartition(".")[2]) if schema else None
        yield f"{key} is not set: add {key}=..." + (f" ({doc})" if doc else "")


def _broken_references(config: DictConfig | ListConfig, at: str = "") -> Iterator[str]:
    """Values of the form ``${...}`` that lead nowhere."""
    for key in range(len(config)) if isinstance(config, ListConfig) else list(config):
        dotted = f"{at}{key}"
        if OmegaConf.is_missing(config, key):
            continue
        try:
            value = config[key]
        except InterpolationToMissingValueError:
            continue
        except OmegaConfBaseException as error:
            reason = str(error).splitlines()[0]
            yield f"{dotted}: {reason}; write \\${{ where a dollar and a brace are meant as they stand"
            continue
        if isinstance(value, DictConfig | ListConfig) and not OmegaConf.is_interpolation(config, key):
            yield from _broken_references(value, f"{dotted}.")


def _plain(config: DictConfig) -> dict[str, Any]:
    """Plain values; what is not set and not needed is None."""
    plain = cast("dict[str, Any]", OmegaConf.to_container(config, resolve=True, enum_to_str=True))
    return plain | {key: None for key in NEEDS if OmegaConf.is_missing(config, key)}


def _said(wrong: Sequence[str], key: str) -> bool:
    return any(line.startswith((f"{key}=", f"{key}:", f"{key} ")) for line in wrong)


def _listed(wrong: Sequence[str]) -> str:
    lines = list(dict.fromkeys(wrong))
    return lines[0] if len(lines) == 1 else f"{len(lines)} mistakes:\n" + "\n".join(f"  - {line}" for line in lines)
