"""One process beside the driver that does all of a run's work, where no model is asked and no cluster is named.

Ray would take longer to start and end than many such runs to do: a million rows are deduplicated in the time. The
process is started with the command (``ahead.py``), so that what it imports is there when it is needed, and uses every
CPU: kernels and Arrow leave Python's lock alone. It speaks with the driver over a socket, and ends when that closes,
however the driver died.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from multiprocessing.connection import Connection
from typing import Any

from pipelines.dedup import memory
from pipelines.errors import RunStopped
from pipelines.stages.ahead import taken
from pipelines.stages.delivery import Delivery
from pipelines.stages.stage import Job, Stage
from pipelines.store.dataset import Shard
from pipelines.store.held import up_to

#: Share of the memory that is free in which parts wait for the next stage.
_HELD = 1 / 16
#: Seconds between looks at whether the run is asked to end.
_LOOK_EVERY_S = 0.5


class Alone:
    """The process, with what a run asks of those who work for it (as ``together.Together`` has them on Ray)."""

    def __init__(self) -> None:
        self._started = taken()
        self._process = self._started.process
        self._connection = Connection(self._started.socket.detach())
        self._draining = False

    #: CPU threads of an actor; here one process has them all.
    threads = len(os.sched_getaffinity(0))
    #: Those that copies of a model hold: none is asked.
    devices = 1

    def pool(self, *, load: Callable[[], None] | None = None) -> Alone:
        """What waves of shards are handed to."""
        return self

    def nodes(self, memory_gib: float | None) -> None:
        """There is one."""

    def apart(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        meanwhile: Callable[[], None] | None = None,
        gpu: bool = False,
    ) -> Any:
        """Call what sees all rows; ``meanwhile`` is called now and then, and what it raises ends the process."""
        [result] = self._asked("call", function, arguments, meanwhile)
        return result

    def stream(self, function: Callable[..., Iterator[Any]], *arguments: Any) -> Iterator[Any]:
        """What a generator yields."""
        yield from self._asked("stream", function, arguments)

    def wave(self, job: Job, shards: Sequence[Shard]) -> Iterator[Delivery]:
        """Have every shard done; deliveries come as shards commit, in no order."""
        left = list(shards)
        under_way = 0
        while under_way or (left and not self._draining):
            while left and under_way < self.threads and not self._draining:
                self._send(("shard", job, left.pop(0)))
                under_way += 1
            yield self._received()
            under_way -= 1
        for shard in left:
            yield Delivery(shard.index)

    def readers(self, stage: Stage) -> AbstractContextManager[Alone]:
        """The same process."""
        return nullcontext(self)

    def drain(self) -> None:
        """Have no more shards begun."""
        self._draining = True

    def progress(self) -> dict[str, int]:
        """No engine, no gauges."""
        return {}

    def rest(self) -> None:
        """There is no engine."""

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        self._started.end()

    def _asked(
        self, kind: str, function: Callable[..., Any], arguments: Any, meanwhile: Callable[[], None] | None = None
    ) -> Iterator[Any]:
        self._send((kind, function, arguments))
        while True:
            while meanwhile is not None and not self._connection.poll(_LOOK_EVERY_S):
                meanwhile()
            more, value = self._received()
            if not more:
                return
            yield value

    def _send(self, message: Any) -> None:
        with self._its_death():
            self._connection.send(message)

    def _received(self) -> Any:
        with self._its_death():
            kind, value = self._connection.recv()
        if kind == "error":
            raise value
        return value

    @contextmanager
    def _its_death(self) -> Iterator[None]:
        """An end of the connection as an early end of the run."""
        try:
            yield
        except (EOFError, ConnectionError):
            raise RunStopped(
                f"the process that does the work ended ({self._process.wait()}), of too little memory perhaps; "
                "dedup.memory_gib bounds what deciding takes; run the same command again"
            ) from None


def serve() -> None:
    """The process: do what is asked until the driver is gone."""
    connection = Connection(int(sys.argv[1]))
    up_to(_HELD * memory.free())
    threading.Thread(target=_ready, daemon=True).start()
    sending = threading.Lock()

    def answer(kind: str, value: Any) -> None:
        with sending, suppress(OSError):
            connection.send((kind, value))

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        while True:
            try:
                message = connection.recv()
            except (EOFError, OSError):
                os._exit(0)  # whatever is under way is not committed, and is done again
            pool.submit(_done, answer, *message)


def _ready() -> None:
    """Import and load what is needed soon, while the driver is still reading its settings."""
    import pipelines.stages.actor
    import pipelines.stages.execute
    import pipelines.stages.ingest  # noqa: F401
    from pipelines.dedup.minhash import prepare

    prepare()


def _done(answer: Callable[[str, Any], None], kind: str, what: Any, arguments: Any) -> None:
    try:
        if kind == "shard":
            answer("value", _shard(what, arguments))
        elif kind == "call":
            answer("value", (True, what(*arguments)))
            answer("value", (False, None))
        else:
            for value in what(*arguments):
                answer("value", (True, value))
            answer("value", (False, None))
    except BaseException as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            error = RuntimeError(f"{type(error).__name__}: {error}")
        answer("error", error)


def _shard(job: Job, shard: Shard) -> Delivery:
    from pipelines.stages.actor import ShardActor

    try:
        return Delivery(shard.index, entry=asyncio.run(ShardActor().work(job, shard.to_json())))
    except Exception as error:
        return Delivery.of_error(shard.index, error)
