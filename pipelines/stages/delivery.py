"""What comes back for a shard that was handed out."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.errors import RunStopped, UserError


@dataclass(frozen=True)
class Delivery:
    """What came back for one shard: the entry that counts as JSON, None when the run drains, or an error.

    ``fault`` is the user's message when the shard could not be done by anyone; ``user`` tells a user's mistake.
    """

    shard: int
    entry: str | None = None
    fault: str | None = None
    user: bool = False

    @staticmethod
    def of_error(shard: int, error: BaseException) -> Delivery:
        """A shard whose work raised."""
        if isinstance(error, UserError | RunStopped):
            fault = str(error)
        elif isinstance(error, TimeoutError):
            fault = "engine.start_timeout_s: a replaced engine was not ready in that time; raise it"
        elif isinstance(error, OSError):
            fault = f"shard {shard} could not be read or committed: {error}; mend that and run the same command again"
        else:
            fault = f"shard {shard}: {type(error).__name__}: {error}"
        return Delivery(shard, fault=fault, user=isinstance(error, UserError))
