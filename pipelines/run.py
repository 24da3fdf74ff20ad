"""The main path: run a recipe in a run directory. Read this first.

A row's way: ``manifest`` freezes the input; the seeds stage gives each row its id (``stages/ingest``); each further
stage reads the dataset before it shard by shard (``stages/execute`` plans, ``stages/pool`` hands out through Ray Data,
``stages/actor`` does the work, ``store/commit`` publishes); ``publish`` gathers the last stage's rows in ``data/``.
Starting the same command again goes on from what is committed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from rich.console import Console

from pipelines.dedup.found import Segment
from pipelines.directory import (
    deadline_in,
    indexes_held,
    refuse_place,
    rounds_in,
    settle_input,
    settle_recipe,
    storage_trouble,
)
from pipelines.errors import Damaged, Interrupted, RunStopped, UserError
from pipelines.failures import FailureLimit, failures_of
from pipelines.interrupt import Interrupt, interruptible
from pipelines.progress import Progress
from pipelines.publish import publish
from pipelines.recipe import stages_of
from pipelines.settings.target import aims
from pipelines.stages.before import Kept, remember_stage, settle_segments, vectors_in
from pipelines.stages.execute import (
    decide_stage,
    make_stage,
    pending,
    refuse_unready,
    settle_plan,
    settle_retries,
    settle_vectors,
    waves,
)
from pipelines.stages.hands import Hands, Waves, hands_of
from pipelines.stages.ingest import ingest, settle_seeds
from pipelines.stages.stage import Job, Stage
from pipelines.store.dataset import Dataset, part_name
from pipelines.store.decisions import decided_already
from pipelines.store.files import Folder, base, folder
from pipelines.store.lease import Lease, acquire
from pipelines.store.ledger import Entry, counts_of, entries_of, totals, write_cache
from pipelines.store.made import how_far
from pipelines.store.manifest import Manifest
from pipelines.store.survey import state_of
from pipelines.summary import render, summary
from pipelines.towards import Towards, refuse_target

__all__ = ["render", "run"]


def run(config: Mapping[str, Any]) -> dict[str, Any]:
    """Run the composed ``config`` to its end, or on from where an earlier start stopped; returns the summary.

    Raises:
        UserError: a mistake in the settings, the input or the directory (exit code 2).
        RunStopped: the run ended before its end; what is committed stays (exit code 1).
    """
    if config["rows"] is not None:
        raise UserError(
            f"rows={config['rows']}: only plan and preview take it; a run over the first rows is limit={config['rows']}"
        )
    place = folder(config["output"])
    started = time.monotonic()
    refuse_place(place, config)
    if aims(config):
        refuse_target(config, begun="stages.json" in place.names())
    with storage_trouble(config["output"]), acquire(place) as lease, Progress(Console(stderr=True)) as progress:
        if lease.took_over:
            progress.say(lease.took_over)
        with interruptible(progress.say) as interrupt, hands_of(config, progress.say) as hands:
            manifest = settle_input(place, config)
            rounds = rounds_in(place, config, manifest.fingerprint)
            deadline = deadline_in(place, config["target"]["deadline"])
            towards = None if rounds is None else Towards(config, manifest.fingerprint, rounds, deadline)
            stages = stages_of(config, manifest.fingerprint, rounds)
            once = stages_of(config, manifest.fingerprint)
            refuse_unready(once, manifest)
            settle_recipe(place, config, stages, lease, rounds or (), towards.deadline if towards else None)
            night = Night(config, place, hands, lease, progress, interrupt)
            with indexes_held(once):
                night.seeds(stages[0], manifest)
                for stage in stages[1:] if towards is None else night.rounds(towards):
                    if stage.kind == "make" and not any(one.asks for one in stages[stage.number :]):
                        hands.rest()  # what trains needs the memory that engines hold
                    night.stage(stage)
                lease.check()
                # Before the record that says the run is finished.
                night.remember()
                publish(place, config, night.made, hands.apart, towards.told if towards else None)
    took = {"seconds": time.monotonic() - started, "tokens_per_second": night.tokens_per_second}
    return summary(place, config, night.made, **took) | ({"target": towards.told} if towards else {})


class Night:
    """One start of a run: its actors, and what each stage has made so far (``made``)."""

    def __init__(
        self,
        config: Mapping[str, Any],
        place: Folder,
        hands: Hands,
        lease: Lease,
        progress: Progress,
        interrupt: Interrupt,
    ) -> None:
        self.made: dict[str, tuple[Stage, Folder, dict[int, Entry]]] = {}
        self._config, self._place, self._lease = config, place, lease
        self._progress, self._interrupt, self._hands = progress, interrupt, hands
        self._tokens, self._generating = 0, 0.0
        self._bulk_rows = 0

    @property
    def tokens_per_second(self) -> float:
        """Completion tokens a second of this start, over the time in which flows were at work."""
        return self._tokens / self._generating if self._generating else 0.0

    def seeds(self, stage: Stage, manifest: Manifest) -> None:
        """The seeds stage: read the input once, give ids, commit."""
        target = self._place.sub("stages").sub(stage.folder())
        self._bulk_rows = self._config["io"]["bulk_rows"] or manifest.bulk_rows
        plan = settle_seeds(target, manifest.rows, self._bulk_rows)
        entries = entries_of(self._place, target)
        if pending(plan, entries):
            self._progress.say("seeds: reading the input")
            self._hands.pool()  # an engine that has no place here is refused before anything is read
            rows = plan.shards[0].rows
            for text in self._hands.stream(ingest, manifest.to_json(), target.url, stage.fingerprint, rows):
                entry = Entry.from_json(text)
                entries[entry.shard] = entry
                self._stop_if_asked()
        self._finished(stage, target, entries)

    def rounds(self, towards: Towards) -> Iterator[Stage]:
        """The stages of a run towards a target, as its rounds are decided."""
        yield from towards.stages(self.made, self._place, self._lease, self._hands.pool().devices, self._progress.say)

    def stage(self, stage: Stage) -> None:
        """Any other stage: plan, decide if it must, hand out the shards that are not committed."""
        self._lease.check()
        made = list(self.made.values())
        source = Dataset.of(made[stage.source][1], counts_of(made[stage.source][2]))
        before = [made[number] for number in stage.so_far]
        so_far = [state_of([(one.name, place, entries)]) for one, place, entries in before]
        uses = {argument: base(made[number][1]) for argument, number in stage.uses}
        # A sample is work like a row.
        shard_rows = stage.shard_rows(self._config["io"]["shard_rows"], self._bulk_rows)
        target, plan = settle_plan(self._place.sub("stages"), stage, source, shard_rows, so_far, uses)
        entries = entries_of(self._place, target)
        retrying, retried = self._config["retry"] == "failed", 0
        if retrying:
            plan, retried = settle_retries(target, plan, source.folder, entries, shard_rows)
            if retried:
                self._progress.say(f"{stage.name}: retrying {retried:,} failed rows")
        if strange := sorted(set(entries) - {shard.index for shard in plan.shards}):
            raise Damaged(f"{target.url}/{part_name(strange[0])} is not in the stage's plan; take it away")
        # A start that retries them gives failed rows another chance; any other counts them from the beginning.
        most = self._config["max_failed"]
        limit = FailureLimit(most) if retrying else failures_of(most, stage, entries, self.made)
        limit.check()
        if stage.kind == "make" and decided_already(target) is None:
            self._make(stage, target, source, uses)
        left = pending(plan, entries)
        if left:
            # Without shards that are gone: one that is made again would be told by its old entry after a kill.
            write_cache(self._place, target, entries)
            if stage.decides and stage.kind != "make":
                self._decide(stage, target, source, so_far)
            self._progress.begin(stage.name, sum(s.rows for s in plan.shards), list(entries.values()))
            loading = self._progress.loading(self._config["engine"], self._stop_if_asked)
            pool = self._hands.pool(load=loading if stage.kind == "flow" else None)
            job = Job(self._place.url, stage, base(source.folder), base(target), self._config, uses=uses)
            self._hand_out(pool, job, left, entries, limit, cached=target)
        self._finished(stage, target, entries)
        done = self.made[stage.name][2]
        if retried:
            self._progress.say(f"{stage.name}: of {retried:,} rows {totals(done.values()).rows_failed:,} failed again")
        failures_of(most, stage, done, self.made).check()

    def remember(self) -> None:
        """Add what the run kept to the standing indexes that it was checked against."""
        stages = list(self.made.values())
        kept = [(target.url, counts_of(entries)) for stage, target, entries in stages if stage.output]
        state = state_of((stage.name, target, found) for stage, target, found in stages)
        for stage, target, _ in stages:
            if stage.index:
                self._hands.apart(remember_stage, stage, target.url, kept, state, self._vectors(stage))

    def _hand_out(
        self, pool: Waves, job: Job, left: Any, entries: dict[int, Entry], limit: FailureLimit, *, cached: Folder | None
    ) -> None:
        """Have shards done in waves; those of a stage with a model of its own by actors with a GPU each."""
        with pool.readers(job.stage) as those:
            for wave in waves(left, self._config["io"]["wave_shards"]):
                self._wave(those, replace(job, threads=those.threads), wave, entries, limit)
                if cached is not None:
                    write_cache(self._place, cached, entries)
                self._stop_if_asked()

    def _wave(self, pool: Waves, job: Job, wave: Any, entries: dict[int, Entry], limit: FailureLimit) -> None:
        """Have a wave's shards done. Whatever ends the run early lets those under way be finished and committed."""
        begun = time.monotonic()
        end: UserError | RunStopped | None = None
        with self._progress.live(pool.progress, self._interrupt, pool.drain):
            for delivery in pool.wave(job, wave):
                found = None
                if delivery.fault is not None:
                    found = (UserError if delivery.user else RunStopped)(delivery.fault)
                elif delivery.entry is not None:
                    entry = Entry.from_json(delivery.entry)
                    entries[entry.shard] = entry
                    self._tokens += entry.completion_tokens
                    self._progress.add(entry)
                    limit.add(entry)
                    found = limit.exceeded()
                if found is not None and end is None:
                    end = found
                    self._progress.say(f"finishing the shards under way, then stopping: {end}")
                    pool.drain()
        if job.stage.kind == "flow":
            self._generating += time.monotonic() - begun
        if end is not None:
            raise end
        if not self._interrupt and any(shard.index not in entries for shard in wave):
            raise RunStopped("shards came back undone though nobody asked the run to end; run the same command again")

    def _encode(self, pool: Waves, stage: Stage, target: Folder, source: Dataset) -> None:
        """Have the vectors made that a stage compares, shard by shard: a kill costs at most the shards under way."""
        place, plan, entries = settle_vectors(target, source)
        if left := pending(plan, entries):
            self._progress.begin(f"{stage.name}: encoding", source.rows, list(entries.values()))
            encoding, where = replace(stage, kind="vectors"), f"{base(target)}/{base(place)}"
            job = Job(self._place.url, encoding, base(source.folder), where, self._config)
            self._hand_out(pool, job, left, entries, FailureLimit(1.0), cached=None)

    def _decide(self, stage: Stage, target: Folder, source: Dataset, so_far: list[str]) -> None:
        if decided_already(target) is None and stage.encodes:
            self._encode(self._hands.pool(), stage, target, source)
        self._lease.check()
        self._progress.waiting(f"{stage.name}: comparing {source.rows:,} rows")
        counts = dict(zip(source.parts, source.counts, strict=True))
        nodes = self._hands.nodes(stage.node["dedup"].get("memory_gib")) if stage.kind == "dedup" else None
        before = [list(self.made.values())[number] for number in stage.so_far]
        kept: list[Kept] = [(place.url, counts_of(entries)) for _, place, entries in before]
        segments = self._before(stage, so_far, kept) if stage.kind == "dedup" else []
        hop = stage.called.hop
        alike = [one for one, (made, *_) in zip(kept, before, strict=True) if made.called.hop == hop]
        arguments = (target.url, source.folder.url, counts, stage, nodes, so_far, segments, kept, alike)
        ledger = json.loads(self._hands.apart(decide_stage, *arguments, meanwhile=self._stop_if_asked))
        if unmet := ledger["stats"].get("unmet"):
            if not aims(self._config):
                raise RunStopped(unmet)
            self._progress.say(f"{stage.name}: {unmet}")  # a round of few rows; later ones may have what it lacks

    def _make(self, stage: Stage, target: Folder, source: Dataset, uses: Mapping[str, str]) -> None:
        """Have a stage make its index or model, in a process of its own, and say now and then how far it is."""

        def meanwhile() -> None:
            self._progress.waiting(f"{stage.name}: {how_far(target)}")
            self._stop_if_asked()

        self._lease.check()
        arguments = (target.url, source.folder.url, dict(zip(source.parts, source.counts, strict=True)), stage, uses)
        self._hands.apart(make_stage, *arguments, meanwhile=meanwhile, gpu=stage.has_gpu_apart)

    def _before(self, stage: Stage, so_far: list[str], every: list[Kept]) -> list[Segment]:
        """The segments of all that the run has kept before a dedup stage; ``so_far`` is a word for each of them."""
        segments: list[Segment] = []
        for kept, state, after, last in zip(every, so_far, (0, *stage.so_far), stage.so_far, strict=False):
            vectors = self._vectors(stage, after, last)
            segments += self._hands.apart(settle_segments, stage, kept, state, vectors, meanwhile=self._stop_if_asked)
        return segments

    def _vectors(self, stage: Stage, after: int = 0, last: int | None = None) -> list[str]:
        """Where the vectors lie that the run has made as a dedup stage makes them, by stages ``after`` to ``last``."""
        made = list(self.made.values())[after + 1 : None if last is None else last + 1]
        same = [(one, target) for one, target, _ in made if one.node == stage.node and stage.encodes]
        return [url for one, target in same for url in vectors_in(target, one)]

    def _finished(self, stage: Stage, target: Folder, entries: dict[int, Entry]) -> None:
        entries = entries_of(self._place, target, entries)
        write_cache(self._place, target, entries)
        self.made[stage.name] = (stage, target, entries)

    def _stop_if_asked(self) -> None:
        if self._interrupt:
            raise Interrupted("stopped by a signal; run the same command to go on from what is committed")
