"""The process that works on shards: it reads a shard's rows, does the stage's work on them and commits the outcome.

With an engine it runs flows, many shards at once on one event loop; without one it filters and applies decisions.
It outlives waves and stages, and asks first whether a shard is already committed. Ray makes it an actor; nothing here
imports Ray.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import inspect
import logging
import os
from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.bound import beside, bind
from pipelines.engine.kinds import open_engine
from pipelines.engine.llm import Engine
from pipelines.errors import EngineDead, RunStopped, UserError
from pipelines.report.sample import evenly
from pipelines.rows import python_rows
from pipelines.stages.flow import FlowWork, flow_work
from pipelines.stages.sift import decided, encoded, filtered, given, mapped
from pipelines.stages.stage import Job, Stage
from pipelines.store.commit import Outcome, commit
from pipelines.store.dataset import Shard, committed, part_name, read_part, read_shard, rows_of
from pipelines.store.decisions import decisions_for
from pipelines.store.files import Folder, folder
from pipelines.store.ledger import Entry, read_entry
from pipelines.store.made import made

log = logging.getLogger(__name__)

#: Trouble with a store that waiting does not mend: full, read-only, not permitted.
_STAYS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
#: Seconds between tries to commit, doubling up to this: about a minute in all.
_LONGEST_WAIT_S = 32.0
#: Seconds beyond its own limit that an engine gets to say why it did not start.
_GRACE_S = 15.0
#: What ``work`` answers for a shard that was not begun because the run drains.
DRAINED = None


class ShardActor:
    """Works on shards of any job; ``engine`` and ``model`` are the configuration's nodes, or None for no engine."""

    def __init__(
        self, model: Mapping[str, Any] | None = None, engine: Mapping[str, Any] | None = None, seed: int = 0
    ) -> None:
        self._engine: Engine | None = None
        self._settings = (model, engine, seed)
        self._starting = asyncio.Lock()
        self._draining = False
        self._flows: dict[str, FlowWork] = {}
        self._progress: Counter[str] = Counter()
        # Several steps of a flow leave gaps; twice the engine's slots keeps every slot filled through them.
        self._in_flight = asyncio.Semaphore(
            2 * engine.get("max_num_seqs", engine.get("max_concurrent", 64)) if engine else 1
        )

    async def start(self) -> int:
        """Load the engine, if there is one; returns this process's id."""
        await self._ready()
        # Thousands of rows in flight are many short-lived objects; a full collection over an engine's own helps none.
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        return os.getpid()

    async def work(self, job: Job, plain: Mapping[str, Any]) -> str | None:
        """Do one shard and commit it; the entry that counts, as JSON, or ``DRAINED``."""
        if self._draining:
            return DRAINED
        shard = Shard.from_json(dict(plain))
        stages = folder(job.run).sub("stages")
        target = stages.sub(job.target)
        done = await asyncio.to_thread(_already, target, shard.index)
        if done is not None:
            return done.to_json()
        outcome = await self._outcome(job, stages, shard)
        return (await _committed(target, outcome)).to_json()

    def drain(self) -> None:
        """Begin no more shards; those under way are finished and committed."""
        self._draining = True

    def resume(self) -> None:
        """Begin shards again: another run has taken this actor over."""
        self._draining = False

    async def let_go(self, stage: Stage) -> None:
        """Free what a dedup's encoding has loaded here."""
        if (release := beside(stage.node["dedup"], "release")) is not None:
            await asyncio.to_thread(release)

    async def progress(self) -> dict[str, int]:
        """Counts since the start: rows, kept, failed, and the engine's own gauges."""
        gauges = getattr(self._engine, "gauges", dict)
        return {**self._progress, **gauges()}

    async def stop(self) -> None:
        """Let go of the engine's device."""
        if self._engine is not None:
            await self._engine.stop()

    async def _ready(self) -> Engine | None:
        model, engine, seed = self._settings
        if engine is None or model is None:
            return None
        async with self._starting:
            if self._engine is None:
                made = open_engine(model, engine, seed)
                # The engine keeps the limit itself and can say what it waited for; this is for one that hangs.
                await asyncio.wait_for(made.start(), engine["start_timeout_s"] + _GRACE_S)
                self._engine = made
        return self._engine

    async def _outcome(self, job: Job, stages: Folder, shard: Shard) -> Outcome:
        stage = job.stage
        if stage.kind == "rows":
            return given(stage, shard)
        table = await asyncio.to_thread(read_shard, stages.sub(job.source), shard)
        if stage.kind == "flow":
            return await self._through_flow(await self._flow(job), shard, table)
        if stage.kind == "vectors":
            return await asyncio.to_thread(encoded, stage, shard, table, job.threads)
        if stage.kind == "filter":
            rules = {reason: bind(node) for reason, node in stage.node["filters"].items()}
            return await asyncio.to_thread(filtered, stage.name, stage.fingerprint, shard, table, rules)
        if stage.kind == "map":
            change = bind(stage.node["map"])
            offered: dict[str, Any] = {name: made(stages.sub(place).url) for name, place in job.uses.items()}
            if "threads" in inspect.signature(change).parameters:
                offered["threads"] = job.threads
            change = partial(change, **offered)
            return await asyncio.to_thread(mapped, stage.name, stage.fingerprint, shard, table, change)
        decisions = await asyncio.to_thread(decisions_for, stages.sub(job.target), shard.index)
        return await asyncio.to_thread(decided, stage.name, stage.fingerprint, shard, table, decisions)

    async def _through_flow(self, work: FlowWork, shard: Shard, table: Any) -> Outcome:
        try:
            return await work.run(shard, table)
        except* EngineDead as group:
            # Every shard in flight here is lost with the engine. Ending the process makes Ray replace the actor, and
            # the shards are handed out again; a live actor with a dead engine would fail every row it was given.
            log.error("engine of pid %d is dead: %s", os.getpid(), group.exceptions[0])
            os._exit(70)

    async def _flow(self, job: Job) -> FlowWork:
        engine = await self._ready()
        if engine is None:
            raise RunStopped(f"stage {job.stage.name} asks a model, but its actor has no engine")
        key = f"{job.run}/{job.target}"
        if key not in self._flows:
            run, most = folder(job.run), job.stage.node.get("uses_most")
            used = {name: await asyncio.to_thread(_rows, run, stage, most) for name, stage in job.uses.items()}
            for name, rows in used.items():
                if not rows:
                    raise UserError(f"stage {job.stage.name}: {name} come from {job.uses[name]}, which kept none")
            self._flows[key] = flow_work(job.config, job.stage, engine, self._in_flight, self._progress, used)
        return self._flows[key]


async def _committed(target: Folder, outcome: Outcome) -> Entry:
    """Commit, again and again while the store is in trouble: what was generated is worth more than a minute's wait."""
    wait = 1.0
    while True:
        try:
            return await asyncio.to_thread(commit, target, outcome)
        except OSError as error:
            if error.errno in _STAYS or wait > _LONGEST_WAIT_S:
                raise
            log.warning(
                "shard %d could not be committed (%s); trying again in %.0f s", outcome.entry.shard, error, wait
            )
        await asyncio.sleep(wait)
        wait *= 2


def _rows(run: Folder, stage: str, most: int | None) -> list[dict[str, Any]]:
    """All rows of a stage, or ``most`` of them, evenly apart."""
    place = run.sub("stages").sub(stage)
    parts = committed(place)
    if most is None:
        return [row for part in parts for row in python_rows(read_part(place, part))]
    ends = np.cumsum([rows_of(place, part) for part in parts])
    places = evenly(int(ends[-1]) if parts else 0, most)
    rows: list[dict[str, Any]] = []
    for part, start, end in zip(parts, [0, *ends], ends, strict=False):
        here = places[(places >= start) & (places < end)] - start
        if len(here):
            rows += python_rows(read_part(place, part).take(pa.array(here)))
    return rows


def _already(target: Folder, index: int) -> Entry | None:
    try:
        return read_entry(target, index)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UserError(
            f"{target.url}/{part_name(index)} is damaged ({error}); delete it and run the same command again"
        ) from error
