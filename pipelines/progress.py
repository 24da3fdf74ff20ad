"""What a person sees while a run goes on: committed and kept rows, tokens a second, time left; on stderr.

A live line in a terminal, plain lines elsewhere (one every ``PLAIN_EVERY_S``). The rate is that of the recent window,
so that a slow start does not haunt the forecast.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import Any

from rich.console import Console

from pipelines.interrupt import Interrupt
from pipelines.store.ledger import Entry

#: Seconds between plain lines where stderr is no terminal.
PLAIN_EVERY_S = 15.0
#: Seconds between looks at the actors for the live display.
LOOK_EVERY_S = 1.0
#: Seconds that the rate and the time left are measured over.
WINDOW_S = 120.0


class Progress:
    """Counts of the stage under way; ``show`` is called every second or so."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status = console.status("starting") if console.is_terminal else None
        self._stage = ""
        self._rows = self._committed = self._kept = self._failed = 0
        self._running = 0
        # Rows committed since the stage began here; finished but not committed; and what actors had counted before it.
        self._since = self._finished = 0
        self._before: int | None = None
        self._shown = 0.0
        self._window: deque[tuple[float, int, int]] = deque()

    def __enter__(self) -> Progress:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def say(self, text: str) -> None:
        """A line that stays."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def begin(self, stage: str, rows: int, done: list[Entry]) -> None:
        """A stage starts: ``rows`` in all, of which ``done`` are committed already."""
        self._stage, self._rows = stage, rows
        self._committed = sum(e.rows_in for e in done)
        self._kept = sum(e.items_kept for e in done)
        self._failed = sum(e.rows_failed for e in done)
        self._since, self._finished, self._before = 0, 0, None
        self._window.clear()
        already = f", {self._committed:,} committed before" if self._committed else ""
        self.say(f"{stage}: {rows:,} rows{already}")
        self._shown = time.monotonic()

    def add(self, entry: Entry) -> None:
        """A shard was committed."""
        self._committed += entry.rows_in
        self._kept += entry.items_kept
        self._failed += entry.rows_failed
        self._since += entry.rows_in

    def show(self, live: Mapping[str, int]) -> None:
        """Draw the state; ``live`` are the actors' own counts (rows finished but not committed yet, tokens)."""
        now = time.monotonic()
        rows = live.get("rows", 0)
        if self._window and rows == self._window[0][1] and len(self._window) > 1:
            self._window.popleft()  # no row is finished yet: loading and the first answers say nothing of the rate
        self._window.append((now, rows, live.get("tokens", 0)))
        while now - self._window[0][0] > WINDOW_S:
            self._window.popleft()
        self._running = live.get("running", 0)
        finished = rows + live.get("failed", 0)
        if self._before is None:
            self._before = finished - self._since
        self._finished = max(0, finished - self._before - self._since)
        self._draw(self._line())

    @contextmanager
    def live(
        self, counts: Callable[[], Mapping[str, int]], asked: Interrupt, drain: Callable[[], None]
    ) -> Iterator[None]:
        """Show ``counts`` again and again, and ``drain`` once the run is ``asked`` to end.

        From a thread: the main one waits for deliveries.
        """
        over = Event()

        def look() -> None:
            drained = False
            while not over.wait(LOOK_EVERY_S):
                if asked and not drained:
                    drain()
                    drained = True
                with suppress(OSError):  # a terminal that is gone ends neither the run nor its way to be asked to end
                    self.show(counts())

        thread = Thread(target=look, name="watch", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def waiting(self, what: str) -> None:
        """Something other than rows is under way."""
        self._draw(what)

    def loading(self, engine: Mapping[str, Any], look: Callable[[], None]) -> Callable[[], None]:
        """What is to be called while engines load: it says for how long, and looks up whether the run is to end."""
        begun = time.monotonic()
        what = f"waiting for {engine['base_url']}" if engine["kind"] == "endpoint" else "loading the model"

        def waiting() -> None:
            self.waiting(f"{what} ({time.monotonic() - begun:.0f} s)")
            look()

        return waiting

    def _draw(self, line: str) -> None:
        if self._status is not None:
            self._status.update(line)
        elif time.monotonic() - self._shown >= PLAIN_EVERY_S:
            self._shown = time.monotonic()
            self.say(line)

    def _line(self) -> str:
        (then, rows0, tokens0), (now, rows1, tokens1) = self._window[0], self._window[-1]
        seconds = max(now - then, 1e-9)
        parts = [f"{self._stage}: {self._committed:,}/{self._rows:,} rows committed", f"{self._kept:,} kept"]
        if self._failed:
            parts.append(f"{self._failed:,} failed")
        if self._finished:
            parts.append(f"{self._finished:,} more answered")
        if self._running:
            parts.append(f"{self._running:,} answers under way")
        if tokens1 > tokens0:
            parts.append(f"{(tokens1 - tokens0) / seconds:,.0f} tokens/s")
        rate = (rows1 - rows0) / seconds
        if rate > 0 and self._committed < self._rows:
            parts.append(f"about {duration((self._rows - self._committed) / rate)} left")
        return " · ".join(parts)


def duration(seconds: float) -> str:
    """Seconds in words."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
