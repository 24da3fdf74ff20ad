"""Towards a target: which rows the next round asks, or why there is none (``target.*``).

A round takes some rows through one of the recipe's chains of stages. What it yielded says how many rows the next one
must take; a round never decides for more time than there is. The order is that of a run without a target: the input,
then hop after hop; when all is asked, from the beginning again, for another sample of each row (``draw``). Everything
is decided from what is committed and the clock, and recorded before it is done: a start goes on where another ended.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pipelines.errors import UserError
from pipelines.recipe import Round

#: Rows that a first round of a chain takes at least, before anything is known of what rows yield.
PILOT = 100
#: Rows that any round takes at least, where there are as many: a round has a price of its own.
LEAST = 16
#: A round takes at most so many times the rows that the forecast rests on, and asks a row for at most so many samples.
GROWTH, MOST_DRAWS = 8, 1024
#: Items made, the latest ones, that saturation is judged by; whole draws without any new row that are enough, too.
JUDGED, BARREN = 1000, 3
#: Share of the time left that a round may be forecast to take: the nearer the end, the better it is known.
CAUTION = 0.5

_TIME = re.compile(r"^(\d{1,2}):(\d{2})\s*(\S+)?$")


@dataclass(frozen=True)
class Aim:
    """A target: rows of the result, a time, seconds of devices; and new rows of 1,000 made that are worth it."""

    rows: int | None
    deadline: datetime | None
    device_seconds: float | None
    least_new: float


@dataclass(frozen=True)
class Done:
    """A finished round: what it asked, made and kept as new, and what it took.

    Attributes:
        number: counted from 1.
        new: rows that it added to the result.
        made: items that its rows were made into, good or bad; 0 for a round that asks no model.
        seconds: from its start to its end; device_seconds: those in which flows were at work, times devices.
        failed: rows that a model was asked for in vain.
        lost: items rejected, by reason.
    """

    round: Round
    number: int
    made: int
    new: int
    seconds: float
    device_seconds: float
    failed: int = 0
    lost: Mapping[str, int] = field(default_factory=dict)

    @property
    def asked(self) -> int:
        """Rows times samples."""
        return (self.round.take or (0, 0))[1] * self.round.draws


class Stop(NamedTuple):
    """Why there is no further round: ``rows``, ``deadline``, ``gpu_hours`` or ``saturated``, and in words."""

    reason: str
    says: str


class Place(NamedTuple):
    """Where the next round begins: rows of the seeds (source 0) or of a round, not asked for this sample yet."""

    chain: int
    source: int
    first: int
    rows: int
    draw: int


def following(aim: Aim, done: Sequence[Done], seeds: int, asks: Sequence[bool], now: datetime) -> Round | Stop:
    """The next round after those that are ``done``, or why there is none.

    Args:
        aim: the target.
        done: finished rounds in order.
        seeds: rows of the seeds stage.
        asks: for each chain of the recipe, whether a flow of it asks a model.
        now: the time, with a zone.
    """
    rows = sum(one.new for one in done)
    spent = sum(one.device_seconds for one in done)
    if aim.rows is not None and rows >= aim.rows:
        return Stop("rows", f"target.rows={aim.rows:,} is reached: {rows:,} rows")
    place = next_place(done, seeds, asks)
    if said := saturated(done, asks, aim.least_new, place.draw if place is not None else None):
        return Stop("saturated", said)
    if place is None:
        return Stop("saturated", "there is nothing left to ask: no row of the input was kept")
    if not asks[place.chain]:
        return Round(place.chain, place.source, (place.first, place.rows), place.draw)
    known = [one for one in done if one.round.chain == place.chain and one.asked] or [
        one for one in done if asks[one.round.chain] and one.asked
    ]
    left = math.inf if aim.rows is None else aim.rows - rows
    wanted = _wanted(place, known, left)
    for limit, reason, each in (
        (None if aim.deadline is None else (aim.deadline - now).total_seconds(), "deadline", "seconds"),
        (None if aim.device_seconds is None else aim.device_seconds - spent, "gpu_hours", "device_seconds"),
    ):
        if limit is None:
            continue
        latest = _pooled(known)
        spent_so = [(sum(one.asked for one in latest), sum(getattr(one, each) for one in latest))] if latest else []
        affordable = _affordable(limit, spent_so)
        if affordable < min(LEAST, wanted):
            until = f" before {aim.deadline:%Y-%m-%d %H:%M %Z}" if aim.deadline and reason == "deadline" else ""
            return Stop(reason, f"target.{reason}: no time for another round{until}; {rows:,} rows")
        wanted = min(wanted, affordable)
    take = min(place.rows, wanted)
    return Round(place.chain, place.source, (place.first, take), place.draw, _draws(place, wanted, done))


def _wanted(place: Place, known: Sequence[Done], left: float) -> int:
    """Rows times samples that should yield what is left, by the latest rounds of the same kind."""
    if not known:
        return min(place.rows, max(PILOT, math.ceil(min(left, place.rows) / 4)))
    latest = _pooled(known)
    asked, new = sum(one.asked for one in latest), sum(one.new for one in latest)
    most = GROWTH * asked
    if not new:
        return max(LEAST, most)
    return max(LEAST, min(math.ceil(min(left, 1e12) * asked / new), most))


def _pooled(known: Sequence[Done]) -> Sequence[Done]:
    """The latest rounds, as many as asked PILOT rows: a round of the few rows that were left over says little alone."""
    asked = 0
    for number in range(len(known) - 1, -1, -1):
        asked += known[number].asked
        if asked >= PILOT:
            return known[number:]
    return known


def _affordable(limit: float, measured: Sequence[tuple[int, float]]) -> int:
    """Rows times samples that a share of the time left allows; PILOT while nothing is measured."""
    if limit <= 0:
        return 0
    if not measured:
        return PILOT
    asked, seconds = measured[-1]
    return int(limit * CAUTION * asked / max(seconds, 1e-3))


def _draws(place: Place, wanted: int, done: Sequence[Done]) -> int:
    """Samples of each row: several where the rows are fewer than what is wanted, once all have been asked before."""
    if place.draw == 0 or place.first:
        return 1
    before = max((one.round.draws for one in done), default=1)
    return max(1, min(wanted // place.rows, 2 * before, MOST_DRAWS))


def next_place(done: Sequence[Done], seeds: int, asks: Sequence[bool]) -> Place | None:
    """The first rows that have not been asked: chain after chain, then all again for the next samples; None for none.

    What a chain keeps that asks no model (the personas given) is asked again for every sample, and made once.
    """
    draw = 0
    while True:
        began = [one for one in done if one.round.draw == draw]
        for chain in range(len(asks)):
            if draw and not asks[chain]:
                continue
            for source, rows in _sources(done, chain, draw, seeds, asks):
                mine = [one.round.take for one in began if (one.round.chain, one.round.source) == (chain, source)]
                first = sum(take[1] for take in mine if take)
                if first < rows:
                    return Place(chain, source, first, rows - first, draw)
        if not began:
            return None
        draw += max(one.round.draws for one in began)


def _sources(done: Sequence[Done], chain: int, draw: int, seeds: int, asks: Sequence[bool]) -> list[tuple[int, int]]:
    """Rounds (0: the seeds) whose rows a chain takes for one sample, with how many they are."""
    if chain == 0:
        return [(0, seeds)]
    from_ = draw if asks[chain - 1] else 0
    return [(one.number, one.new) for one in done if (one.round.chain, one.round.draw) == (chain - 1, from_)]


def saturated(done: Sequence[Done], asks: Sequence[bool], least_new: float, draw: int | None = None) -> str:
    """Why no more rows are to be expected; empty while they are. ``draw`` is the sample that is being asked for."""
    made = new = 0
    lost = Counter[str]()
    for one in reversed(done):
        if not asks[one.round.chain]:
            continue
        made, new = made + one.made, new + one.new
        lost.update(one.lost)
        if made >= JUDGED:
            break
    # A draw that failed for the most part says nothing of what is new; max_failed ends a run in which all do.
    asked = [one for one in done if asks[one.round.chain] and one.round.draw != draw and one.made > one.failed]
    latest = sorted({one.round.draw for one in asked})[-BARREN:]
    barren = [draw for draw in latest if not any(one.new for one in done if one.round.draw == draw)]
    why = ", ".join(f"{reason} {count:,}" for reason, count in lost.most_common(3))
    others = f" (the others: {why})" if why else ""
    if made >= JUDGED and 1000 * new < least_new * made:
        return (
            f"saturated: {new:,} of the latest {made:,} items were new{others}, fewer than "
            f"target.least_new={least_new:g} of 1,000; give more or other input, or lower target.least_new"
        )
    if len(barren) == BARREN:
        return f"saturated: {BARREN} samples of every row brought no new row{others}; give more or other input"
    return ""


def forecast(done: Sequence[Done], asks: Sequence[bool], items: int) -> float | None:
    """New rows of 1,000 items made that a round of ``items`` items will bring, by the rounds before it; None for none.

    The more rows there are, the fewer are new: a line through the latest shares over the rows kept so far, which never
    rises, and a share of half the latest one at least.
    """
    points: list[tuple[float, float]] = []
    few: list[tuple[float, float]] = []
    rows = 0
    for one in done:
        if asks[one.round.chain] and one.made:
            # Few items say little of a share; they are looked at only where there are no others.
            (points if one.made >= PILOT else few).append((rows + one.new / 2, one.new / one.made))
        rows += one.new
    if not points and not few:
        return None
    latest = (points or few)[-4:]
    mean_x, mean_y = sum(x for x, _ in latest) / len(latest), sum(y for _, y in latest) / len(latest)
    spread = sum((x - mean_x) ** 2 for x, _ in latest)
    slope = min(0.0, sum((x - mean_x) * (y - mean_y) for x, y in latest) / spread) if spread else 0.0
    # At the middle of the round, which lies the further ahead the more of its items are new.
    share = (mean_y + slope * (rows - mean_x)) / (1 - slope * items / 2)
    return 1000 * min(1.0, max(share, latest[-1][1] / 2))


def deadline_of(text: str | None, now: datetime, *, begun: bool = False) -> datetime | None:
    """The time that ``target.deadline`` names: a time of day at its next occurrence, or a date and time.

    A run that has ``begun`` may name one that is over: it begins no round, and shows what it has.

    Raises:
        UserError: it is no time, its zone is unknown, or it is over.
    """
    if text is None:
        return None
    if re.fullmatch(r"\d{1,4}", text):
        raise UserError(f"target.deadline={text}: YAML reads 12:30 as the number 750; put the time in quotes")
    fix = "write it as 07:00, '07:00 Europe/Berlin' or 2026-11-26T07:00+01:00"
    if (found := _TIME.match(text.strip())) is None:
        try:
            when = datetime.fromisoformat(text)
            when = when if when.tzinfo else when.astimezone()
        except (ValueError, OverflowError):
            raise UserError(f"target.deadline={text}: is no time; {fix}") from None
        if when <= now and not begun:
            raise UserError(f"target.deadline={text}: is over; {fix}")
        return when
    hour, minute, zone = int(found[1]), int(found[2]), found[3]
    if hour > 23 or minute > 59:
        raise UserError(f"target.deadline={text}: is no time; {fix}")
    try:
        named = datetime.strptime(zone, "%z").tzinfo if zone and zone[0] in "+-" else ZoneInfo(zone) if zone else None
        local = now.astimezone(named)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UserError(f"target.deadline={text}: unknown time zone {zone}; {fix}") from None
    when = local.replace(hour=hour, minute=minute, second=0, microsecond=0)
    return when if when > now else when + timedelta(days=1)
