"""Node ``forecast``: what ``plan`` scales up to the size that is asked about."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.settings.keys import ABOVE_ZERO, at_least, key


@dataclass
class Forecast:
    """Node ``forecast`` (only plan takes it): from what a small run came to, what a large one will take."""

    pilot: str | None = key(
        "a finished run of the same recipe, whose yields, tokens, bytes and speed are scaled up", None, literal=True
    )
    tokens_per_second: float | None = key(
        "completion tokens a second of a device, the reading of this recipe's prompts included; null takes the pilot's",
        None,
        ABOVE_ZERO,
    )
    texts_per_second: float | None = key(
        "texts a second that a device encodes for dedup; null takes the pilot's", None, ABOVE_ZERO
    )
    devices: int = key("devices that are at work together", 1, at_least(1))
    nodes: int = key("nodes of the cluster that dedup works on", 1, at_least(1))
    node_gib: float = key("memory of a node for dedup, in GiB", 64.0, ABOVE_ZERO)
