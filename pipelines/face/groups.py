"""Where the configuration files lie, and which options each group has; the command line's help reads them from here.

In a checkout ``conf/`` lies beside ``pipelines/``, in the wheel inside it. Nothing is composed or imported here.
"""

from __future__ import annotations

from pathlib import Path

from pipelines.errors import UserError

#: The groups of a configuration, in the order in which the help lists them.
GROUPS = ("recipe", "model", "engine", "sampling", "prompt", "dedup", "cluster", "io")


def conf_dir() -> Path:
    """The folder of the shipped configuration files."""
    here = Path(__file__).resolve().parent.parent
    for place in (here / "conf", here.parent / "conf"):
        if (place / "config.yaml").is_file():
            return place
    raise UserError(f"no configuration files beside or in {here}: install nightmill again, it is incomplete")


def options(group: str) -> list[str]:
    """Names of a group's shipped options, sorted."""
    return sorted(file.stem for file in (conf_dir() / group).glob("*.yaml"))
