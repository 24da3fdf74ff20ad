"""What is committed in a run directory, as every verb that looks at a run needs it.

Costs two listings and one cached ledger a stage, however many rows the stage has. Nothing is written here, so a run can
be looked at while a driver works in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise, starmap

from pipelines.errors import RunStopped
from pipelines.store.dataset import Plan
from pipelines.store.files import Folder, base
from pipelines.store.ledger import Entry, entries_of
from pipelines.store.record import StageRecord, read_record, stage_records


@dataclass(frozen=True)
class StageNow:
    """A stage as it is now: its record, its frozen shards (None before it starts) and the entries of committed ones."""

    record: StageRecord
    plan: Plan | None
    entries: Mapping[int, Entry]

    @property
    def planned(self) -> int | None:
        """How many shards the stage has; None while that is not known."""
        if self.plan is None:
            return None
        # The seeds stage writes an empty plan once all of its shards are committed.
        return len(self.entries) if self.record.kind == "seeds" else len(self.plan.shards)

    @property
    def whole(self) -> bool:
        """Whether every planned shard is committed."""
        return self.planned is not None and self.planned == len(self.entries)


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
        except ValueError as error:
            raise RunStopped(
                f"stage {record.name}: a committed shard cannot be read ({error}); nightmill verify {run.url} names it"
            ) from error
        found.append(StageNow(record, Plan.load(record.folder), entries))
    return found


def finished(run: Folder, stages: list[StageNow]) -> bool:
    """Whether the run has reached its end.

    Every stage is whole and has taken up every shard of the one before, and ``data/`` shows what the last one kept.
    """
    if not complete(stages):
        return False
    try:
        published = read_record(run, "metadata.json")
    except FileNotFoundError:
        return False
    current = {stage.record.name: base(stage.record.folder) for stage in stages}
    kept = sum(entry.items_kept for entry in stages[-1].entries.values())
    return bool(published["stages"] == current and published["rows"] == kept)


def complete(stages: list[StageNow]) -> bool:
    """Whether every stage is whole and has taken up every shard of the one before."""
    return all(stage.whole for stage in stages) and all(starmap(_took_up, pairwise(stages)))


def _took_up(before: StageNow, stage: StageNow) -> bool:
    """Whether a stage's shards cover all of its input; a retry makes the input grow."""
    return stage.plan is not None and stage.plan.covered.issuperset(before.entries)
