"""From a pilot to any size: what each stage will take, by what it took in a small run of the same recipe (``plan``).

Per stage of the pilot: items kept, model calls and tokens a row, bytes a kept row, texts encoded a second. These times
the rows that the stage will see are rows, tokens, bytes and hours. A hop that the pilot did not make is taken for its
last one. What grows with size is not in it: the more rows there are, the fewer are new.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import ceil
from typing import Any

from rich.table import Table

from pipelines.bound import bind
from pipelines.errors import UserError
from pipelines.stages.stage import Stage
from pipelines.verbs.pilot import Pilot, Step, pilot_of

#: Share of a node's memory that the input of deciding may take.
_INPUT = 0.4
GIB = 2**30

#: A selection that the pilot did not make: only its limit, if it has one, is known.
_ALL_STAY = Step(rows_in=1, kept=1, calls=0, prompt_tokens=0, completion_tokens=0, seconds=0.0, stored=0.0)


def forecast(config: Mapping[str, Any], stages: Sequence[Stage], rows: int) -> dict[str, Any]:
    """What the stages will take over ``rows`` seeds, by ``forecast.pilot``; of as many as ``target.rows`` needs.

    Returns:
        ``seeds``: rows of the input.
        ``stages``: for each ``name``, ``rows``, ``kept``, ``calls``, ``prompt_tokens``, ``completion_tokens``,
        ``gib`` written, ``device_hours``; of a dedup ``index_gib`` (a segment of what is kept), ``partitions`` (shares
        that each fit a node's memory) and ``exchange_gib`` (what goes through files between its tasks where there are
        several of them).
        ``totals``: ``rows`` of the result, tokens, ``gib``, ``device_hours`` and ``hours``. ``by``: the speeds.

    Raises:
        UserError: as ``pilot_of``; or no number of rows gives ``target.rows``.
    """
    pilot = pilot_of(config["forecast"]["pilot"], config, stages)
    wanted = config["target"]["rows"]
    if wanted is None or config["rows"]:
        return _scaled(config, stages, pilot, rows)
    few, many = 0, 1
    while (found := _scaled(config, stages, pilot, many))["totals"]["rows"] < wanted:
        few, many = many, 2 * many
        if many > 1000 * max(wanted, 1000):
            raise UserError(
                f"target.rows={wanted:,}: by forecast.pilot={pilot.url} no number of rows gives so many; "
                "take a pilot that keeps more, or raise recipe.max_new_per_hop where it is set"
            )
    while many - few > 1:
        middle = (few + many) // 2
        tried = _scaled(config, stages, pilot, middle)
        few, many, found = (few, middle, tried) if tried["totals"]["rows"] >= wanted else (middle, many, found)
    return found


def _scaled(config: Mapping[str, Any], stages: Sequence[Stage], pilot: Pilot, rows: int) -> dict[str, Any]:
    asked = config["forecast"]
    flows = [step for name, step in pilot.steps.items() if step.calls]
    generated = sum(step.completion_tokens for step in flows)
    speed = asked["tokens_per_second"] or generated / max(1e-3, sum(step.seconds for step in flows))
    encoding = asked["texts_per_second"] or max((step.texts_per_second for step in pilot.steps.values()), default=0.0)
    made: dict[int, float] = {0: float(rows)}
    known = 0.0  # rows of the result so far, that a dedup is held against
    told: list[dict[str, Any]] = []
    for stage in stages:
        step = _ALL_STAY if stage.kind == "select" and stage.name not in pilot.steps else pilot.step(stage.name)
        taken = float(len(bind(stage.node["rows"])())) if stage.kind == "rows" else made[stage.source]
        scale = taken / step.rows_in if step.rows_in else 0.0
        most = stage.node.get("select", {}).get("rows")
        made[stage.number] = kept = min(step.kept * scale, most or float("inf"))
        told.append(
            {
                "name": stage.name,
                "kind": stage.kind,
                "rows": round(taken),
                "kept": round(kept),
                "calls": round(step.calls * scale),
                "prompt_tokens": round(step.prompt_tokens * scale),
                "completion_tokens": round(step.completion_tokens * scale),
                "gib": kept * step.stored / GIB,
                "device_hours": step.completion_tokens * scale / max(speed, 1e-9) / 3600,
                **_deciding(stage, step, taken, kept, known, asked["nodes"], asked["node_gib"] * GIB, encoding),
            }
        )
        known += kept if stage.output else 0.0
    totals = {key: sum(one[key] for one in told) for key in ("calls", "prompt_tokens", "completion_tokens", "gib")}
    hours = sum(one["device_hours"] for one in told)
    return {
        "pilot": pilot.url,
        "seeds": rows,
        "pilot_engine": pilot.engine,
        "pilot_settings": list(pilot.others),
        "stages": told,
        "totals": {"rows": round(known), **totals, "device_hours": hours, "hours": hours / asked["devices"]},
        "by": {
            "tokens_per_second": round(speed, 1),
            "texts_per_second": round(encoding, 1) or None,
            "devices": asked["devices"],
        },
    }


def _deciding(
    stage: Stage, step: Step, rows: float, kept: float, known: float, nodes: int, memory: float, encoding: float
) -> dict[str, Any]:
    """What a dedup takes beside its rows; {} for another stage."""
    if step.footprint is None:
        return {}
    size, shares = step.footprint.in_index, ceil(rows * step.footprint.in_memory / (memory * _INPUT))
    found: dict[str, Any] = {"index_gib": kept * size / GIB, "partitions": max(1, shares), "exchange_gib": 0.0}
    if stage.encodes:  # one process looks through all vectors
        return found | ({"device_hours": rows / encoding / 3600} if encoding else {})
    if nodes > 1 or shares > 1:
        # Written as segments once, and read once for buckets and once for the sets of candidates; the segments of what
        # was kept before are read, too.
        exchange = (3 * rows + 2 * known) * size / GIB
        found |= {"partitions": max(nodes, shares), "exchange_gib": exchange}
    return found


def notes(result: Mapping[str, Any]) -> Iterable[str]:
    """Sentences about the limits of a forecast."""
    if result["pilot_engine"] == "simulated":
        yield "forecast.pilot is a simulated run: its yields and tokens are no model's"
    if others := result["pilot_settings"]:
        yield f"forecast.pilot was made with other settings, and its figures are theirs: {', '.join(others)}"
    yield "yields are those of the pilot; the more rows there are, the fewer are new"
    large = [one for one in result["stages"] if one["kind"] == "dedup" and one.get("partitions", 1) > 1]
    if names := [one["name"] for one in large if "embedding" in one["name"]]:
        yield (
            f"{', '.join(names)}: vectors of more rows than a node's memory holds are searched from a file by one "
            "process, which takes longer than this table says"
        )


def render(result: Mapping[str, Any]) -> Table:
    """The forecast for a terminal."""
    table = Table(title=f"by {result['pilot']}, over {result['seeds']:,} seeds", title_justify="left")
    for column in (
        "stage",
        "rows",
        "kept",
        "calls",
        "tokens out",
        "GiB",
        "device hours",
        "index GiB",
        "exchange GiB",
        "partitions",
    ):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for one in result["stages"]:
        table.add_row(
            one["name"],
            f"{one['rows']:,}",
            f"{one['kept']:,}",
            f"{one['calls']:,}" if one["calls"] else "",
            f"{one['completion_tokens']:,}" if one["completion_tokens"] else "",
            f"{one['gib']:,.1f}",
            f"{one['device_hours']:,.1f}" if one["device_hours"] else "",
            f"{one['index_gib']:,.1f}" if "index_gib" in one else "",
            f"{one['exchange_gib']:,.1f}" if one.get("exchange_gib") else "",
            f"{one['partitions']:,}" if "partitions" in one else "",
        )
    return table
