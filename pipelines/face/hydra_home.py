"""Hydra with our schemas and configuration files, opened for one composition. Only here is it set up.

A sweep's points are composed while Hydra runs the sweep; opening it again leaves the outer one as it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hydra import initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.initialize import get_gh_backup, restore_gh_from_backup
from omegaconf import ListConfig, OmegaConf

from pipelines import settings
from pipelines.face import knobs
from pipelines.face.groups import conf_dir

#: The name under which Hydra finds our launcher for sweeps (pipelines/sweep.py): it takes no other package's.
LAUNCHER = "hydra._internal.core_plugins.nightmill.Sequential"


def register() -> None:
    """Tell Hydra our schemas, and recipes their references; again changes nothing.

    ``${one_of:${recipe.mode},few_shot,...}`` is whether a value is one of some,
    ``${each:takes,${recipe.taxonomy}}`` what the entries of a table have under a key, each value once.
    """
    store = ConfigStore.instance()
    store.store(group="schema", name="root", node=settings.Root)
    for name, schema in settings.ENGINES.items():
        store.store(group="schema/engine", name=name, node=schema)
    for name, schema in knobs.RECIPES.items():
        store.store(group="schema/recipe", name=name, node=schema)
    OmegaConf.register_new_resolver("one_of", lambda value, *among: value in among, replace=True)
    OmegaConf.register_new_resolver("either", lambda holds, this, that: this if holds else that, replace=True)
    OmegaConf.register_new_resolver("each", _each, replace=True)
    store.store(group="hydra/launcher", name="nightmill", node={"_target_": LAUNCHER})


def _each(key: str, table: Mapping[str, Any] | None) -> ListConfig:
    return ListConfig(sorted({entry[key] for entry in (table or {}).values()}))


@contextmanager
def opened() -> Iterator[ConfigLoader]:
    """Hydra's loader of our groups."""
    register()
    outer = get_gh_backup()
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(version_base="1.3", config_dir=str(conf_dir()), job_name="nightmill"):
            yield GlobalHydra.instance().config_loader()
    finally:
        restore_gh_from_backup(outer)
