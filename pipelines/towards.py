"""A run towards a target: round after round, each decided from what is committed, recorded, then done.

``stages.json`` holds the rounds as they were decided, so that the same command goes on with them; what a round yielded
and took is read from the shards' ledger entries.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import takewhile
from typing import Any

from pipelines.directory import settle_recipe
from pipelines.errors import RunStopped, UserError
from pipelines.progress import duration
from pipelines.recipe import Round, stages_of
from pipelines.rounds import Aim, Done, Stop, deadline_of, following, forecast
from pipelines.stages.stage import Stage, chains
from pipelines.store.files import Folder
from pipelines.store.lease import Lease
from pipelines.store.ledger import Entry
from pipelines.store.survey import DECIDING
from pipelines.summary import Made, counted


class Towards:
    """The rounds of one start; ``told`` is what they came to, once there are no more."""

    def __init__(
        self, config: Mapping[str, Any], fingerprint: str, rounds: Sequence[Round], deadline: datetime | None = None
    ) -> None:
        """``fingerprint`` is the manifest's; ``rounds`` and ``deadline`` are those that earlier starts decided on."""
        self.deadline = deadline or deadline_of(config["target"]["deadline"], _now(), begun=bool(rounds))
        self._config, self._fingerprint, self._begun = config, fingerprint, rounds
        self._chains = chains(config["recipe"])
        self._asks = [any("flow" in node for node in chain.values()) for chain in self._chains]
        self.told: dict[str, Any] = {}

    def stages(
        self, made: Made, place: Folder, lease: Lease, devices: int, say: Callable[[str], None]
    ) -> Iterator[Stage]:
        """The stages of every round, one after another; ``made`` is what is done when the next one is asked for.

        ``devices`` are those that the engine's copies hold together.
        """
        target = self._config["target"]
        hours = target["gpu_hours"]
        aim = Aim(target["rows"], self.deadline, None if hours is None else hours * 3600, target["least_new"])
        seeds = _kept(made["seeds"][2].values())
        rounds = list(self._begun)
        stages = stages_of(self._config, self._fingerprint, rounds)
        first = 1
        while True:
            yield from stages[first:]
            first = len(stages)
            done = _done(rounds, stages, made)
            if rounds:
                say(self._says(done))
            found = following(aim, done, seeds, self._asks, _now())
            if isinstance(found, Stop):
                if not rounds:
                    raise RunStopped(f"{found.says}; not one round was begun")
                self.told = {"rounds": self._told(done), "stopped": found.reason, "says": found.says}
                say(found.says)
                return
            rounds.append(replace(found, devices=devices))
            lease.check()
            stages = stages_of(self._config, self._fingerprint, rounds)
            settle_recipe(place, self._config, stages, lease, rounds, self.deadline)

    def _told(self, done: Sequence[Done]) -> list[dict[str, Any]]:
        rows, told = 0, []
        for number, one in enumerate(done):
            rows += one.new
            told.append(
                {
                    "chain": one.round.chain,
                    "draw": one.round.draw,
                    "asked": one.asked,
                    "made": one.made,
                    "new": one.new,
                    "rows": rows,
                    "new_per_1000": round(1000 * one.new / one.made, 1) if one.made else None,
                    "forecast_per_1000": _rounded(forecast(done[:number], self._asks, one.made)) if one.made else None,
                    "seconds": round(one.seconds, 1),
                    "device_seconds": round(one.device_seconds, 1),
                }
            )
        return told

    def _says(self, done: Sequence[Done]) -> str:
        latest, rows, wanted = done[-1], sum(one.new for one in done), self._config["target"]["rows"]
        text = f"round {len(done)}: {counted(latest.new, 'new row')} of {latest.made:,} made, {rows:,}"
        text += f" of {wanted:,} rows" if wanted else " rows"
        share = forecast(done, self._asks, latest.made)
        if wanted and share and rows < wanted and latest.made:
            items = 1000 * (wanted - rows) / share
            text += f"; about {items:,.0f} more items and {duration(items * latest.seconds / latest.made)}"
        return text


def refuse_target(config: Mapping[str, Any], *, begun: bool) -> None:
    """Refuse a target before anything is written; ``begun``: whether the run has rounds already, perhaps.

    Raises:
        UserError: the deadline is no time, the recipe asks no model, or chooses among all rows before it asks one.
    """
    deadline_of(config["target"]["deadline"], _now(), begun=begun)
    every = chains(config["recipe"])
    if not any("flow" in node for chain in every for node in chain.values()):
        raise UserError(f"target: recipe {config['recipe']['name']} asks no model, so no round makes more rows")
    if any("make" in node for chain in every for node in chain.values()):
        raise UserError(
            f"target: recipe {config['recipe']['name']} trains on what all of its rows have become, so it cannot go in "
            "rounds over some of them; leave target out"
        )
    if whole := [name for chain in every for name in _decide_before_asking(chain)]:
        raise UserError(
            f"target: stage {whole[0]} of recipe {config['recipe']['name']} looks at all rows at once, "
            "so it cannot go in rounds over some of them; leave target out"
        )


def _done(rounds: Sequence[Round], stages: Sequence[Stage], made: Made) -> list[Done]:
    """What each round came to, from the ledger entries of its stages."""
    found: list[Done] = []
    ends = [number for number, stage in enumerate(stages) if stage.output]
    for round_, first, last in zip(rounds, [0, *ends], ends, strict=False):
        mine = [made[stage.name] for stage in stages[first + 1 : last + 1]]
        flows = [list(entries.values()) for stage, _, entries in mine if stage.kind == "flow"]
        asked = [entry for one in flows for entry in one]
        # What the round's own rows are asked first; other flows go on with what that made, or with the recipe's rows.
        makes = next((list(entries.values()) for stage, _, entries in mine if _of_the_round(stage, mine)), [])
        every = [entry for _, _, entries in mine for entry in entries.values()]
        found.append(
            Done(
                round_,
                len(found) + 1,
                made=sum(entry.items_made for entry in makes),
                new=_kept(mine[-1][2].values()),
                failed=sum(entry.rows_failed for entry in makes),
                lost=sum((Counter(entry.items_rejected) for entry in every), Counter()),
                seconds=_span(every),
                device_seconds=busy_seconds(asked) * round_.devices,
            )
        )
    return found


def _of_the_round(stage: Stage, mine: Sequence[tuple[Stage, Any, Any]]) -> bool:
    """Whether a flow's rows come from those that its round takes, and not from some that stand in the recipe."""
    numbers = {one.number: one for one, _, _ in mine}
    source = stage
    while source.take is None and source.source in numbers:
        source = numbers[source.source]
    return stage.kind == "flow" and source.kind != "rows"


def _decide_before_asking(chain: Mapping[str, Any]) -> list[str]:
    """Stages of a chain that asks a model which choose among rows that have not been asked yet."""
    before = list(takewhile(lambda one: "flow" not in one[1], chain.items()))
    return [name for name, node in before if any(kind in node for kind in DECIDING)] if len(before) < len(chain) else []


def _now() -> datetime:
    return datetime.now().astimezone()


def _kept(entries: Iterable[Entry]) -> int:
    return sum(entry.items_kept for entry in entries)


def _times(entries: Sequence[Entry]) -> list[tuple[float, float]]:
    ends = [(datetime.fromisoformat(entry.finished_at).timestamp(), entry.seconds) for entry in entries]
    return sorted((end - seconds, end) for end, seconds in ends)


def _span(entries: Sequence[Entry]) -> float:
    """Seconds from the first shard's start to the last one's end, without pauses longer than all the work."""
    times = _times(entries)
    if not times:
        return 0.0
    whole = max(end for _, end in times) - times[0][0]
    return min(whole, 2 * busy_seconds(entries) + 60)


def busy_seconds(entries: Sequence[Entry]) -> float:
    """Seconds in which any of the shards was at work."""
    total, reached = 0.0, 0.0
    for start, end in _times(entries):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
