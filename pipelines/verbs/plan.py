"""What a run would take, counted before it starts: rows, model calls, tokens, shards, and what is committed already.

The first flow is tried on a sample of real seeds with a stand-in that records each prompt and answers with nothing,
others on rows made up; no engine is started. What cannot be known so is said in ``notes`` and left out (None), never
guessed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import ceil
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from pipelines.bound import bind
from pipelines.recipe import stages_of
from pipelines.rows import canonical
from pipelines.settings.target import aims
from pipelines.stages.columns import refuse_absent
from pipelines.stages.stage import Stage
from pipelines.store.files import folder
from pipelines.store.ledger import totals
from pipelines.store.manifest import Manifest
from pipelines.store.survey import StageNow, survey
from pipelines.summary import SIMULATED, answering, counted, plain
from pipelines.verbs.forecast import forecast
from pipelines.verbs.forecast import notes as scale_notes
from pipelines.verbs.forecast import render as scaled_table
from pipelines.verbs.sample import first_flow, made_up, manifest_of, spread_seeds, way_to
from pipelines.verbs.trial import Trial, try_flow

#: Seeds that the first flow is tried on.
SAMPLE = 64
#: What a stage takes of the model.
AMOUNTS = ("calls", "prompt_tokens", "completion_tokens_at_most")


def plan(config: Mapping[str, Any]) -> dict[str, Any]:
    """Count what ``run`` would do with this configuration; ``rows`` asks for another size than the input's.

    Returns:
        ``input``: files, and rows within ``limit``; ``rows``: what is planned for; ``stages``: for each ``name``,
        ``kind``, ``rows`` (``rows_known`` False where one item a row was assumed), ``calls``, ``prompt_tokens``,
        ``completion_tokens_at_most``, ``shards``, ``shards_committed``; ``totals`` of calls and tokens; ``tokens_by``:
        how prompts were measured; ``sampled`` seeds; ``notes``: what is not known, in sentences; ``forecast``: what a
        pilot says of this size, or None (``verbs/forecast.py``); ``target``: ``rows`` wanted, seeds ``given``, and
        seeds ``needed`` by the pilot (None where it is not known), or None without a target: ``stages`` are then one
        pass over the seeds given.

    Raises:
        UserError: a mistake in the settings or the input.
    """
    manifest = manifest_of(config)
    stages = stages_of(config, manifest.fingerprint)
    refuse_absent(stages, manifest)
    notes: list[str] = []
    now = _committed(config, stages, notes)
    trials = _trials(config, manifest, stages)
    for trial in trials.values():
        notes += [note for note in trial.notes if note not in notes]
    made: dict[int, tuple[int, bool]] = {0: (config["rows"] or manifest.rows, True)}
    planned: list[dict[str, Any]] = []
    io = config["io"]
    bulk_rows = io["bulk_rows"] or manifest.bulk_rows
    for stage in stages:
        rows, known = made[stage.source]
        if stage.kind == "rows":
            rows, known = len(bind(stage.node["rows"])()), True
        found = trials.get(_flow(stage)) if stage.kind == "flow" else None
        done = now.get(stage.name)
        planned.append(_stage(stage.shard_rows(io["shard_rows"], bulk_rows), stage, rows, known, found, done))
        if stage.kind == "flow" and found is None:
            notes.append(f"{stage.name}: its prompts hold what earlier stages make; calls and tokens are not known yet")
        if done is not None and done.whole:
            made[stage.number] = totals(done.entries.values()).items_kept, known
        else:
            most = stage.node.get("select", {}).get("rows")
            rows = round(rows * found.items) if found is not None else min(rows, most or rows)
            made[stage.number] = rows, known and stage.kind in ("seeds", "rows", "map")
    if not all(known for _, known in made.values()):
        notes.append("rows marked ~ assume that every answer gives one item and that none is lost on the way")
    if aims(config):
        notes.append("target: run goes in rounds through these stages until it is reached; the first table is one pass")
    scaled = forecast(config, stages, config["rows"] or manifest.rows) if config["forecast"]["pilot"] else None
    notes += scale_notes(scaled) if scaled else ()
    sums = {key: sum(stage[key] or 0 for stage in planned) for key in AMOUNTS}
    if scaled is None:
        notes += _hours(config["forecast"], sums["completion_tokens_at_most"])
    first = next(iter(trials.values()), None)
    return {
        "ok": True,
        "recipe": config["recipe"]["name"],
        "model": config["model"]["name"],
        "engine": config["engine"]["kind"],
        "input": {"files": len(manifest.files), "rows": manifest.rows, "limit": config["limit"]},
        "rows": config["rows"] or manifest.rows,
        "stages": planned,
        "totals": sums,
        "tokens_by": first.tokens_by if first else None,
        "sampled": first.rows if first else 0,
        "notes": notes,
        "forecast": scaled,
        "target": _target(config, manifest.rows, scaled) if aims(config) else None,
    }


def _target(config: Mapping[str, Any], given: int, scaled: Mapping[str, Any] | None) -> dict[str, Any]:
    rows = config["target"]["rows"]
    known = scaled is not None and rows is not None and not config["rows"]
    return {"rows": rows, "given": given, "needed": scaled["seeds"] if scaled and known else None}


def _hours(asked: Mapping[str, Any], tokens: int) -> Iterator[str]:
    """What a speed that was given without a pilot says: the longest that the tokens out which are known can take."""
    if speed := asked["tokens_per_second"]:
        hours = tokens / speed / asked["devices"] / 3600
        yield (
            f"at forecast.tokens_per_second={speed:,} on {counted(asked['devices'], 'device')}, {tokens:,} tokens out "
            f"take {hours:,.1f} hours; forecast.pilot=RUN tells what is written of them"
        )


def _flow(stage: Stage) -> str:
    """What tells flows apart whose calls are alike: those of all hops are one."""
    return canonical(stage.node["flow"])


def _trials(config: Mapping[str, Any], manifest: Manifest, stages: Sequence[Stage]) -> dict[str, Trial]:
    """Each flow tried: the first one on seeds, others on rows made up as the flow before them would give."""
    found: dict[str, Trial] = {}
    first = first_flow(stages)
    for stage in stages:
        if stage.kind != "flow" or _flow(stage) in found:
            continue
        if stage is first or (not stage.asks and way_to(stages, stage)):
            rows = spread_seeds(manifest, SAMPLE, way_to(stages, stage))
        elif (made := made_up(stages, stage)) is None:
            continue
        else:
            rows = made
        found[_flow(stage)] = try_flow(config, stages, stage, rows, made_up=stage is not first and stage.asks)
    return found


def _stage(
    shard_rows: int, stage: Stage, rows: int, known: bool, trial: Trial | None, done: StageNow | None
) -> dict[str, Any]:
    frozen = done.planned if done else None
    nothing = None if stage.kind == "flow" else 0
    return {
        "name": stage.name,
        "kind": stage.kind,
        "rows": rows,
        "rows_known": known,
        **(trial.scaled(rows) if trial else dict.fromkeys(AMOUNTS, nothing)),
        "shards": max(1, ceil(rows / shard_rows)) if frozen is None else frozen,
        "shards_committed": len(done.entries) if done else 0,
    }


def _committed(config: Mapping[str, Any], stages: Sequence[Stage], notes: list[str]) -> dict[str, StageNow]:
    """Stages of the run in ``output`` that ``run`` would go on with, by name; none where another size is asked."""
    if not config["output"] or config["rows"] or aims(config):  # rounds are other stages than those of one pass
        return {}
    place = folder(config["output"])
    if "stages.json" not in place.names():
        return {}
    found = {stage.record.name: stage for stage in survey(place)}
    prints = {name: stage.record.fingerprint for name, stage in found.items()}
    same = {stage.name: found[stage.name] for stage in stages if prints.get(stage.name) == stage.fingerprint}
    if other := [stage.name for stage in stages if stage.name not in same]:
        notes.append(
            f"output={config['output']} holds a run with other settings or another input, so run would refuse it; "
            f"to be redone: {', '.join(other)}"
        )
    return same


def render(result: Mapping[str, Any]) -> Group:
    """The counts for a terminal: a row a stage, sums, and what is not known."""
    target = result["target"]
    seeds = counted(result["rows"], "seed") + (", those given" if result["rows"] == result["input"]["rows"] else "")
    table = Table(title=f"one pass over {seeds}" if target else None, title_justify="left")
    for column in ("stage", "kind", "rows", "calls", "tokens in", "tokens out at most", "shards", "committed"):
        table.add_column(column, justify="left" if column in ("stage", "kind") else "right")
    for stage in result["stages"]:
        calls, tokens_in, tokens_out = (stage[key] for key in AMOUNTS)
        table.add_row(
            Text(stage["name"]),
            stage["kind"],
            f"{'' if stage['rows_known'] else '~'}{stage['rows']:,}",
            _shown(calls),
            _shown(_about(tokens_in)),
            _shown(tokens_out),
            f"{stage['shards']:,}",
            f"{stage['shards_committed']:,}" if stage["shards_committed"] else "",
        )
    given, sums = result["input"], result["totals"]
    asks = any(stage["kind"] == "flow" for stage in result["stages"])
    lines = [
        f"{result['recipe']} over {counted(result['rows'], 'row')}"
        + (f", {_by(result['model'], result['engine'])}" if asks else ", without a model")
        + f"; the input has {counted(given['rows'], 'row')} in {counted(given['files'], 'file')}"
        + (f" within limit={given['limit']:,}" if given["limit"] else "")
    ]
    if asks:
        lines.append(
            f"{sums['calls']:,} calls, about {_about(sums['prompt_tokens']):,} tokens in, at most "
            f"{sums['completion_tokens_at_most']:,} out"
        )
    if result["tokens_by"]:
        lines.append(f"prompts measured on {counted(result['sampled'], 'seed')}, by {result['tokens_by']}")
    if target and target["rows"] is not None:
        lines.append(_needs(target))
    if scaled := result["forecast"]:
        totals, by = scaled["totals"], scaled["by"]
        lines.append(
            f"by the pilot: {totals['rows']:,} rows of {counted(scaled['seeds'], 'seed')}, "
            f"{totals['completion_tokens']:,} tokens out, {totals['gib']:,.0f} "
            f"GiB, {totals['device_hours']:,.1f} device hours, {totals['hours']:,.1f} hours on {by['devices']:,} "
            f"({by['tokens_per_second']:,} tokens a second each)"
        )
    lines += [f"note: {note}" for note in result["notes"]]
    if asks and result["engine"] == "simulated":
        lines.append(SIMULATED)
    tables = [table, scaled_table(scaled)] if scaled else [table]
    return Group(*tables, Text(plain("\n".join(lines), 10_000)))


def _needs(target: Mapping[str, Any]) -> str:
    """Seeds given against those that a target of rows needs."""
    given, needed = counted(target["given"], "seed") + " given", target["needed"]
    if needed is None:
        return f"target.rows={target['rows']:,}: {given}; forecast.pilot=RUN, without rows, tells how many it needs"
    if needed <= target["given"]:
        return f"target.rows={target['rows']:,}: {given}, about {needed:,} needed by the pilot"
    return (
        f"target.rows={target['rows']:,}: {given}, about {needed:,} needed by the pilot; once those given are asked, "
        "they are asked again for other samples, of which fewer are new"
    )


def _by(model: str, engine: str) -> str:
    who = answering(model, engine)
    return f"{who} on {engine}" if who == model else who


def _shown(amount: int | None) -> str:
    return "?" if amount is None else f"{amount:,}" if amount else ""


def _about(amount: int | None) -> int | None:
    """An estimate to three digits: a sample knows no more."""
    return round(amount, 3 - len(str(amount))) if amount else amount
