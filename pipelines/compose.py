"""From overrides to one checked configuration of plain values: ``compose(["recipe=...", ...]) -> dict``.

Hydra composes the groups against the typed schemas of settings.py and face/knobs.py; what it would report one at a
time, late, or by advising ``+typo=``, is caught here and said at once, each mistake with the nearest legal names.
Nothing of Hydra or OmegaConf leaves this module: flows, actors and engines receive plain values.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, cast

import yaml
from hydra import compose as hydra_compose
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError, OmegaConfBaseException

from pipelines import settings
from pipelines.errors import UserError
from pipelines.face import check
from pipelines.face.asked import Asked, Mistakes, read
from pipelines.face.collection import collection
from pipelines.face.contents import contents
from pipelines.face.demonstrations import demonstrations
from pipelines.face.groups import options
from pipelines.face.hydra_home import opened
from pipelines.face.overrides import did_you_mean, nearest, nearest_keys, shown
from pipelines.face.quotas import quotas
from pipelines.face.taxonomy import taxonomy

#: Keys without a value of their own; a verb says which it needs.
NEEDS = ("recipe", "input", "output")
#: Dictionaries that take any key, so that no ``+`` is asked for.
OPEN = ("engine.engine_kwargs.",)


def compose(overrides: Sequence[str], *, needs: Collection[str] = NEEDS) -> dict[str, Any]:
    """The configuration that ``overrides`` ask for: resolved, checked, plain values.

    Args:
        overrides: ``key=value`` as typed, paths without quotes for Hydra.
        needs: which of ``recipe``, ``input`` and ``output`` must be set; the others may come back as None.

    Raises:
        Mistakes: something is wrong; a UserError that lists all of it, each with the fix.
    """
    with opened() as loader:
        asked = read(overrides, loader)
        config = _chosen(asked, needs)
        for override in asked.values:
            asked.wrong.extend(_applied(config, override))
    if (against := config.dedup.against) and "://" not in against:
        # It is opened by processes that may stand elsewhere.
        config.dedup.against = os.path.abspath(os.path.expanduser(against))
    asked.wrong.extend(_unset(config, needs, asked.wrong))
    ruled, broken = list(check.rule_mistakes(config)), list(_broken_references(config))
    asked.wrong.extend(ruled)
    # A value that no rule allows leads references astray that go by it; it alone is to be mended.
    led = {line.partition(": ")[0].partition("=")[2] for line in ruled} - {""}
    asked.wrong.extend(line for line in broken if led.isdisjoint(re.split(r"[.']", line)))
    if not broken and not _missing(config) - set(NEEDS):
        asked.wrong.extend(_read_files(config))
        plain = _plain(config)
        asked.wrong.extend(f"{key}=null: a value is needed{_doc(config, key)}" for key in needs if plain[key] is None)
        if plain["recipe"] and plain["recipe"].get("quotas"):
            _add_attributes(plain["recipe"])
        asked.wrong.extend(check.mistakes(plain))
        if not asked.wrong:
            return plain
    raise Mistakes(asked.wrong)


def _chosen(asked: Asked, needs: Collection[str]) -> DictConfig:
    """What Hydra makes of the chosen options alone, without its own node."""
    no_recipe = [] if "recipe" in asked.choices else ["~recipe"]
    if no_recipe and "recipe" in needs and not _said(asked.wrong, "recipe"):
        asked.wrong.append(f"recipe is not chosen: add recipe=NAME, one of {', '.join(options('recipe'))}")
    placed = [node for node in asked.choices if "@" in node]
    if placed:
        plain = [f"{node}={option}" for node, option in asked.choices.items() if node not in placed]
        known = [str(node) for node in _composed([*no_recipe, *plain, *asked.hydra]).hydra.runtime.choices]
        for node in placed:
            if node not in known:
                near = nearest(node, [one for one in known if "@" in one])
                asked.wrong.append(
                    f"{node}={asked.choices.pop(node)}: the recipe takes none there; "
                    + did_you_mean(near, "choose it without @")
                )
    config = _composed([*no_recipe, *(f"{node}={option}" for node, option in asked.choices.items()), *asked.hydra])
    OmegaConf.set_struct(config, False)
    del config["hydra"]
    OmegaConf.set_struct(config, True)
    return config


def _composed(overrides: list[str]) -> DictConfig:
    try:
        return cast(DictConfig, hydra_compose("config", overrides=overrides, return_hydra_config=True))
    except (HydraException, OmegaConfBaseException) as error:
        causes = [str(one) for one in (error, error.__cause__) if one is not None and str(one)]
        raise UserError("the configuration files do not compose: " + "; ".join(causes)) from error
    except yaml.MarkedYAMLError as error:
        at = error.problem_mark
        where = f"{at.name}, line {at.line + 1}" if at else "a configuration file"
        raise UserError(f"{where}: {error.problem}; mend it there") from error


def _applied(config: DictConfig, override: Override) -> Iterator[str]:
    """Set one value, or say why it cannot be."""
    key, value = override.key_or_group, override.value()
    adds = override.is_add() or override.is_force_add()
    legal = set(_dotted(config))
    if key not in legal:
        if not _takes_any_key(config, key.rpartition(".")[0], legal) or not (adds or key.startswith(OPEN)):
            yield _unknown(key, config, legal, plus=adds)
            return
        override.type = OverrideType.FORCE_ADD
    try:
        if f"{key}." in OPEN and isinstance(value, dict):
            OmegaConf.update(config, key, value, merge=False, force_add=True)
            return
        ConfigLoaderImpl._apply_overrides_to_config([override], config)
    except (HydraException, OmegaConfBaseException) as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        if "${" in str(value):
            reason += "; write \\${ where a dollar and a brace are meant as they stand"
        yield f"{shown(key, value)}: {reason}{_doc(config, key)}"


def _dotted(config: DictConfig) -> dict[str, Any]:
    """Every key, dotted, with its value as written: references unresolved, ``???`` where it is not set."""
    values: dict[str, Any] = {}

    def gather(node: Any, at: str) -> None:
        for key, value in node.items():
            values[f"{at}{key}"] = value
            if isinstance(value, dict):
                gather(value, f"{at}{key}.")

    gather(OmegaConf.to_container(config, resolve=False), "")
    return values


def _missing(config: DictConfig) -> set[str]:
    return {key for key, value in _dotted(config).items() if value == "???"}


def _takes_any_key(config: DictConfig, parent: str, legal: set[str]) -> bool:
    node = OmegaConf.select(config, parent) if parent in legal else None
    return isinstance(node, DictConfig) and not is_dataclass(OmegaConf.get_type(node))


def _unknown(key: str, config: DictConfig, legal: set[str], *, plus: bool) -> str:
    names = {kind: [f"engine.{f.name}" for f in fields(schema)] for kind, schema in settings.ENGINES.items()}
    owners = [kind for kind in names if key in names[kind]]
    if owners:
        return f"{key}: no key of an engine of kind {config.engine.kind}; it belongs to kind {', '.join(owners)}"
    parent = key
    while parent and parent not in legal:
        parent = parent.rpartition(".")[0]
    node = OmegaConf.select(config, parent) if parent else config
    inside = ", ".join(sorted(map(str, node))) if isinstance(node, DictConfig) else "no keys"
    nothing = "; + adds no new keys here" if plus else ""
    return f"{key}: no such key{nothing}; " + did_you_mean(
        nearest_keys(key, legal), f"{parent or 'the configuration'} has {inside}"
    )


def _doc(config: DictConfig, key: str) -> str:
    """What a key means, in parentheses; empty where no schema says."""
    parent, _, name = key.rpartition(".")
    schema = OmegaConf.get_type(OmegaConf.select(config, parent) if parent else config)
    if schema is None or not is_dataclass(schema):
        return ""
    doc = next((f.metadata.get("doc") for f in fields(schema) if f.name == name), None)
    return f" ({doc})" if doc else ""


def _unset(config: DictConfig, needs: Collection[str], wrong: Sequence[str]) -> Iterator[str]:
    optional = {key for key in NEEDS if key not in needs} | {"recipe"}
    for key in sorted(_missing(config) - optional):
        if not _said(wrong, key):
            yield f"{key} is not set: add {key}=...{_doc(config, key)}"


def _said(wrong: Sequence[str], key: str) -> bool:
    """Whether a mistake about this key is known already."""
    return any(line.startswith((f"{key}=", f"{key}:", f"{key} ")) for line in wrong)


def _broken_references(config: DictConfig | ListConfig, at: str = "") -> Iterator[str]:
    """Values of the form ``${...}`` that lead nowhere."""
    keys: list[Any] = list(range(len(config))) if isinstance(config, ListConfig) else [str(key) for key in config]
    for key in keys:
        if OmegaConf.is_missing(config, key):
            continue
        try:
            value = config[key]
        except InterpolationToMissingValueError:
            continue
        except OmegaConfBaseException as error:
            reason = str(error).splitlines()[0]
            yield f"{at}{key}: {reason}; write \\${{ where a dollar and a brace are meant as they stand"
            continue
        if isinstance(value, DictConfig | ListConfig) and not OmegaConf.is_interpolation(config, key):
            yield from _broken_references(value, f"{at}{key}.")


def _read_files(config: DictConfig) -> Iterator[str]:
    """Put what a recipe may be given as a file in the configuration, where references find it; what is wrong."""
    if (given := OmegaConf.select(config, "recipe.demonstrations")) is not None:
        found, wrong = demonstrations(_value(given), config.recipe.mode)
        # What stands in a file is text, whatever it looks like.
        config.recipe.demonstrations = _literal(found)
        yield from wrong
    if (given := OmegaConf.select(config, "recipe.quotas")) is not None:
        config.recipe.quotas, wrong = quotas(_value(given))
        yield from wrong
    if (given := OmegaConf.select(config, "recipe.decontaminate")) is not None:
        config.recipe.decontaminate, wrong = contents(_value(given), "recipe.decontaminate")
        yield from wrong
    if OmegaConf.select(config, "recipe.seeds_from") is not None and not OmegaConf.is_missing(config, "input"):
        follows, wrong = collection(_value(config.input), _dictionary(config.recipe))
        for name, value in follows.items():
            OmegaConf.update(config, name, _literal(value), merge=False)
        yield from wrong
    if (given := OmegaConf.select(config, "recipe.skill")) is not None:
        skills, wrong = taxonomy(_value(given), _value(config.prompt))
        worded = {f"{name}.{one}": text for name in skills for one, text in skills[name].get("templates", {}).items()}
        config.prompt.templates = {**config.prompt.templates, **_literal(worded)}
        config.recipe.taxonomy = _literal(skills)
        yield from wrong


def _literal(value: Any) -> Any:
    """A value whose texts are themselves once references are resolved."""
    if isinstance(value, dict):
        return {key: _literal(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_literal(one) for one in value]
    if isinstance(value, str):
        return re.sub(r"(\\*)\$\{", lambda found: 2 * found[1] + "\\${", value)
    return value


def _value(node: Any) -> Any:
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def _dictionary(node: DictConfig) -> dict[str, Any]:
    """A node as it is written, references unresolved."""
    return cast("dict[str, Any]", OmegaConf.to_container(node, resolve=False))


def _add_attributes(recipe: Mapping[str, Any]) -> None:
    """Give each flow that goes by a table of weights a column for every attribute of it."""
    blocks = [recipe["stages"], *(node["stages"] for node in recipe["stages"].values() if "repeat" in node)]
    for node in (node for block in blocks for node in block.values() if "flow" in node):
        node["columns"] |= dict.fromkeys(node["flow"].get("quotas") or (), "string")


def _plain(config: DictConfig) -> dict[str, Any]:
    try:
        plain = cast("dict[str, Any]", OmegaConf.to_container(config, resolve=True, enum_to_str=True))
    except OmegaConfBaseException as error:
        raise Mistakes([str(error).splitlines()[0]]) from error
    return plain | {key: None for key in NEEDS if OmegaConf.is_missing(config, key)}
