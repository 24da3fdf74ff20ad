"""When too many rows fail, a run ends before a night is burnt: the arithmetic of ``max_failed``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from pipelines.errors import RunStopped
from pipelines.stages.stage import Stage
from pipelines.store.ledger import Entry

#: Rows from which the share of failed ones is judged: fewer say nothing.
MIN_ROWS_JUDGED = 100


class FailureLimit:
    """Stops a run in which too many of a stage's rows fail. Rejections never stop it.

    ``before`` are the shards whose failures count from the start: those that are committed, so that starting again
    does not pass over them; none for a start that retries them.
    """

    def __init__(self, limit: float, before: Iterable[Entry] = ()) -> None:
        self._limit = limit
        self._rows = self._failed = 0
        self._kinds: Counter[str] = Counter()
        self._known: set[int] = set()
        for entry in before:
            self.add(entry)

    def add(self, entry: Entry) -> None:
        """A shard was committed; rows that it takes out of an earlier shard's quarantine count once."""
        self._known.add(entry.shard)
        self._rows += entry.rows_in
        self._failed += entry.rows_failed
        self._kinds.update(entry.failed)
        if entry.settles and all(int(home) in self._known for home in entry.settles):
            settled = sum(len(ids) for ids in entry.settles.values())
            self._rows -= settled
            self._failed -= settled
            self._kinds.subtract(entry.settled)

    def join(self, entries: Iterable[Entry]) -> None:
        """Count the shards of another stage, too: the same step in an earlier round."""
        other = FailureLimit(self._limit, entries)
        self._rows += other._rows
        self._failed += other._failed
        self._kinds.update(other._kinds)

    def exceeded(self) -> RunStopped | None:
        """The end of the run, if too many of the rows so far failed; None otherwise."""
        if self._rows < MIN_ROWS_JUDGED or self._failed <= self._limit * self._rows:
            return None
        kind, count = self._kinds.most_common(1)[0]
        return RunStopped(
            f"max_failed={self._limit}: {self._failed:,} of {self._rows:,} rows failed "
            f"({self._failed / self._rows:.0%}), most often by {kind} ({count:,}); mend the cause, then run the same "
            "command with retry=failed, or raise max_failed"
        )

    def check(self) -> None:
        """RunStopped if too many of the rows so far failed."""
        if (end := self.exceeded()) is not None:
            raise end


def failures_of(
    most: float, stage: Stage, entries: Mapping[int, Entry], made: Mapping[str, tuple[Stage, Any, Mapping[int, Entry]]]
) -> FailureLimit:
    """Those of a stage, and of the same step in earlier rounds: a round alone may have too few rows to judge by."""
    limit = FailureLimit(most, entries.values())
    for name, (one, _, earlier) in made.items():
        if name != stage.name and one.called.step == stage.called.step:
            limit.join(earlier.values())
    return limit
