"""The few kinds of trouble Nightmill tells apart, and nothing else.

A ``UserError`` is the user's mistake: it names the setting, the value seen and the fix, and ends the command with
exit code 2 and no traceback. A ``RunStopped`` ends a run before its end (exit code 1). A ``RowFailed`` concerns one
row, which goes to quarantine while the run goes on. An ``EngineDead`` concerns every row of an engine: it must never
be caught per row.
"""

from __future__ import annotations


class UserError(Exception):
    """A mistake in a setting, an input or a command line; the message says which, what was seen and the fix."""


class RunStopped(Exception):
    """The run ended before its end; finished shards are committed and the same command goes on from there."""


class Damaged(RunStopped, ValueError):
    """A file of a run is missing or not as it was written; the message names it, and ``verify`` names all of them."""


class Interrupted(RunStopped):
    """The user asked for the end (Ctrl-C); a sweep starts no further point."""


class RowFailed(Exception):
    """One row could not be done; ``kind`` is the short name that quarantine and the ledger count it under."""

    kind = "error"


class PromptTooLong(RowFailed):
    """A prompt and its answer do not fit the model's context, even after what the recipe allows to be trimmed."""

    kind = "prompt_too_long"

    def __init__(self, prompt_tokens: int, limit: int) -> None:
        super().__init__(
            f"the prompt has {prompt_tokens} tokens and at most {limit} fit beside sampling.max_tokens in "
            "model.context; set recipe.overlong=trim, raise model.context or lower sampling.max_tokens"
        )
        self.prompt_tokens = prompt_tokens
        self.limit = limit


class CallFailed(RowFailed):
    """A model call broke: the endpoint refused it, ran out of retries or out of time."""

    kind = "call_failed"


class EngineDead(Exception):
    """The engine behind an actor is gone; every row in flight on it is taken up again by its replacement."""


def first_line(error: Exception) -> str:
    """The first line of what an error says, or its name."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
