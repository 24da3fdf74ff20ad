"""When too many rows fail, a run ends before a night is burnt: the arithmetic of ``max_failed``."""

from __future__ import annotations

from collections import Counter

from pipelines.errors import RunStopped
from pipelines.store.ledger import Entry

#: Rows from which the share of failed ones is judged: fewer say nothing.
MIN_ROWS_JUDGED = 100


class FailureLimit:
    """Stops a run in which too many rows fail, so that a night is not burnt. Rejections never stop it.

    Counts what one start delivers of one stage: failures that an earlier start left behind say nothing of this one.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._rows = self._failed = 0
        self._kinds: Counter[str] = Counter()

    def reached(self, entry: Entry) -> RunStopped | None:
        """The end of the run, if this shard makes it too many; None otherwise."""
        self._rows += entry.rows_in
        self._failed += entry.rows_failed
        self._kinds.update(entry.failed)
        if self._rows < MIN_ROWS_JUDGED or self._failed <= self._limit * self._rows:
            return None
        kind, count = self._kinds.most_common(1)[0]
        return RunStopped(
            f"max_failed={self._limit}: {self._failed:,} of {self._rows:,} rows failed "
            f"({self._failed / self._rows:.0%}), most often by {kind} ({count:,}); mend the cause, then run the same "
            "command with retry=failed, or raise max_failed"
        )
