"""Node ``target``: what a run generates towards, instead of going through its input once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.settings.keys import ABOVE_ZERO, at_least, key

#: Keys any of which makes a run go in rounds.
AIMS = ("rows", "deadline", "gpu_hours")


def aims(config: Mapping[str, Any]) -> bool:
    """Whether a run goes in rounds towards a target."""
    return any(config["target"][key] is not None for key in AIMS)


@dataclass
class Target:
    """Node ``target`` (runtime): with rows, deadline or gpu_hours a run goes in rounds until one is reached."""

    rows: int | None = key("rows of data/, after filters and dedup over the whole run", None, at_least(1))
    deadline: str | None = key(
        "when to be done: 07:00, its next occurrence here; '07:00 Europe/Berlin'; or 2026-11-26T07:00+01:00",
        None,
        literal=True,
    )
    gpu_hours: float | None = key(
        "hours of generation, times the devices that the engine's copies hold (a copy on a CPU counts as one)",
        None,
        ABOVE_ZERO,
    )
    least_new: float = key(
        "new rows of 1,000 made below which the input counts as exhausted (saturated), and the run ends",
        20.0,
        at_least(0),
    )
