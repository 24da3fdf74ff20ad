"""How many actors a run has, what each reserves, and how many shards they take at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Placement:
    """``shards_in_flight`` counts over all actors; ``warnings`` are sentences for the user."""

    actors: int
    gpus_per_actor: int
    shards_in_flight: int
    warnings: tuple[str, ...] = ()


def place(config: Mapping[str, Any], *, gpus: int, cpus: int, engine: bool) -> Placement:
    """The placement of a composed configuration on a cluster with so many GPUs and CPUs."""
    in_flight = config["io"]["shards_in_flight"]
    if not engine:
        return Placement(max(1, cpus), 0, max(1, cpus))
    return Placement(config["engine"]["replicas"], 0, config["engine"]["replicas"] * in_flight)
