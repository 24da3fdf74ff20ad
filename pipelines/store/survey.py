"""What is committed in a run directory, as every verb that looks at a run needs it.

Costs two listings and one cached ledger a stage, however many rows the stage has. Nothing is written here, so a run can
be looked at while a driver works in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.errors import RunStopped, UserError
from pipelines.rows import digest
from pipelines.store.dataset import committed
from pipelines.store.files import Folder, base
from pipelines.store.ledger import Entry, entries_of
from pipelines.store.plan import Plan
from pipelines.store.record import read_record

#: Kinds of stage that decide over all of their rows before they apply what they decided; also the key of their node.
DECIDING = ("dedup", "select", "make")


@dataclass(frozen=True)
class StageRecord:
    """A stage of a run as its directory tells it: what was recorded of it, and its current shards.

    ``plan`` is None, and ``folder`` is empty or absent, while the stage has not started on its current input. The rest
    is as in ``stages.stage.Stage``.
    """

    number: int
    name: str
    kind: str
    fingerprint: str
    folder: Folder
    plan: Plan | None
    source: int
    take: tuple[int, int] | None
    output: bool
    draws: int = 1

    @property
    def born(self) -> bool:
        """Whether its rows come from no other stage."""
        return self.kind in ("seeds", "rows")

    @property
    def decides(self) -> bool:
        """Whether it saw all of its rows before it let any pass."""
        return self.kind in DECIDING


@dataclass(frozen=True)
class StageNow:
    """A stage as it is now: its record, and the entries of its committed shards."""

    record: StageRecord
    entries: Mapping[int, Entry]

    @property
    def plan(self) -> Plan | None:
        """The stage's frozen shards; None before it starts."""
        return self.record.plan

    @property
    def planned(self) -> int | None:
        """How many shards the stage has; None while that is not known."""
        return None if self.plan is None else len(self.plan.shards)

    @property
    def whole(self) -> bool:
        """Whether every planned shard is committed."""
        return self.planned is not None and self.planned == len(self.entries)


def stage_records(run: Folder) -> list[StageRecord]:
    """The stages of a run in order, each with the directory that reads what the stage before has now.

    Raises:
        UserError: the folder holds no run.
    """
    try:
        recorded = read_record(run, "stages.json")["stages"]
    except FileNotFoundError:
        points = run.sub("points").folders()
        raise UserError(
            f"{run.url} holds a sweep of {len(points)} runs; name one of them, such as {run.url}/points/{min(points)}"
            if points
            else f"{run.url} holds no run (there is no stages.json); name the folder that `output=` named"
        ) from None
    if not recorded:
        raise UserError(f"{run.url}/stages.json names no stage; run the command that made it again")
    stages = run.sub("stages")
    present = stages.folders()
    found: list[StageRecord] = []
    for entry in recorded:
        source = base(found[entry["source"]].folder) if found else None
        found.append(_current(stages, present, entry, source))
    return found


def _current(stages: Folder, present: Iterable[str], recorded: Mapping[str, Any], source: str | None) -> StageRecord:
    """A stage's latest generation over ``source``; one over an earlier generation of its input is no longer current."""
    number, name, fingerprint = recorded["number"], recorded["name"], recorded["fingerprint"]
    pattern = re.compile(rf"^{number}(?:\.(\d+))?-{re.escape(name)}-{fingerprint[:12]}$")
    generations = {int(m.group(1) or 0): m.group(0) for m in map(pattern.match, present) if m}
    for _, folder in sorted(generations.items(), reverse=True):
        plan = Plan.load(stages.sub(folder))
        # Shards without a plan are current too: verify says that it is missing.
        if committed(stages.sub(folder)) if plan is None else source in (None, plan.source):
            return _record(recorded, stages.sub(folder), plan)
    following = max(generations, default=-1) + 1
    folder = f"{number}.{following}-{name}-{fingerprint[:12]}" if following else f"{number}-{name}-{fingerprint[:12]}"
    return _record(recorded, stages.sub(folder), None)


def _record(recorded: Mapping[str, Any], place: Folder, plan: Plan | None) -> StageRecord:
    take = tuple(recorded["take"]) if recorded["take"] else None
    names = ("number", "name", "kind", "fingerprint", "source", "output", "draws")
    return StageRecord(
        folder=place, plan=plan, take=take, **{name: recorded[name] for name in names if name in recorded}
    )


def survey(run: Folder) -> list[StageNow]:
    """The stages of a run in order.

    Raises:
        UserError: the folder holds no run.
        RunStopped: a committed shard cannot be read.
    """
    found: list[StageNow] = []
    for record in stage_records(run):
        try:
            entries = entries_of(run, record.folder)
        except ValueError as error:  # a cache is no proof; a footer is
            raise RunStopped(
                f"stage {record.name}: a committed shard cannot be read ({error}); nightmill verify {run.url} names it"
            ) from error
        found.append(StageNow(record, entries))
    return found


def finished(run: Folder, stages: list[StageNow]) -> bool:
    """Whether the run has reached its end.

    Every stage is whole and has taken up every shard of the one before, ``data/`` shows what the last one kept, and
    its files are all there.
    """
    if not complete(stages):
        return False
    try:
        published = read_record(run, "metadata.json")
    except FileNotFoundError:
        return False
    return bool(published["state"] == state_now(stages)) and all_there(run, published["files"])


def state_of(stages: Iterable[tuple[str, Folder, Mapping[int, Entry]]]) -> str:
    """What is committed in all stages, as one word: name, directory and every shard's attempt."""
    return digest(
        [
            (name, base(place), [entry.attempt for _, entry in sorted(entries.items())])
            for name, place, entries in stages
        ]
    )


def state_now(stages: Iterable[StageNow]) -> str:
    """``state_of`` stages as they are surveyed."""
    return state_of((stage.record.name, stage.record.folder, stage.entries) for stage in stages)


def all_there(run: Folder, files: Mapping[str, Iterable[str]]) -> bool:
    """Whether the files that each of some folders had when it was published are still in it."""
    return all(set(names) <= set(run.sub(name).names()) for name, names in files.items())


def complete(stages: list[StageNow]) -> bool:
    """Whether every stage is whole and has taken up every shard of the one before."""
    return all(stage.whole and (stage.record.born or _took_up(source_of(stages, stage), stage)) for stage in stages)


def source_of(stages: Sequence[StageNow], stage: StageNow) -> StageNow:
    """The stage whose rows a stage takes."""
    return stages[stage.record.source]


def outputs(stages: Iterable[StageNow]) -> list[StageNow]:
    """The stages whose rows are the run's result, in order."""
    return [stage for stage in stages if stage.record.output]


def _took_up(before: StageNow, stage: StageNow) -> bool:
    """Whether a stage's shards cover all of its input that it is to take; a retry makes the input grow."""
    return stage.plan is not None and (stage.record.take is not None or stage.plan.covered.issuperset(before.entries))
