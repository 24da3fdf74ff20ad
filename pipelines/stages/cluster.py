"""Ray as a run uses it beside Ray Data: joining or starting it, and work in processes of its own."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psutil
import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.annotations import RayDeprecationWarning

from pipelines.errors import RunStopped, UserError, first_line

NAMESPACE = "nightmill"
#: Seconds within which a cluster's address answers.
_ANSWERS_S = 10.0
#: Seconds in which actors that were ended give their GPUs back.
_GIVES_BACK_S = 10.0
#: Seconds that Ray's workers get to end by themselves; one was seen to deadlock in Ray's exit handler.
_WORKERS_END_S = 5.0


def connect(cluster: Mapping[str, Any]) -> bool:
    """Join the Ray cluster that the settings or the surrounding job name, or start one on this machine.

    Returns False where this process is connected already; whoever connected it then also disconnects.
    """
    if ray.is_initialized():
        return False
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    address = cluster["address"] or os.environ.get("RAY_ADDRESS") or "local"
    _refuse_silent(address)
    own = (
        {}
        if address != "local"
        else {
            "num_cpus": cluster["num_cpus"] or max(2, os.cpu_count() or 1),
            "object_store_memory": int(cluster["object_store_gib"] * 2**30),
            "include_dashboard": False,
        }
    )
    try:
        with _own_sigterm():
            ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR, **own)
    except ConnectionError as error:
        raise UserError(
            f"cluster.address={address}: no Ray cluster answers there ({error}); start one with `ray start --head`"
        ) from error
    except Exception as error:
        # Ray's own word for a node that is not up within 30 s is a bare Exception, and so are others of its start.
        place = "Ray did not start on this machine" if address == "local" else f"cluster.address={address}: not joined"
        raise RunStopped(
            f"{place} ({first_line(error)}); where that is busy with other work, run the same command again: it goes "
            "on from what is committed"
        ) from error
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # It counts finished tasks only, so one long shard would trip it.
    context.execution_no_progress_timeout_s = -1
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    # Ray Data 2.60 has no other way to bound a courier's restarts than the one it warns of.
    warnings.filterwarnings("ignore", message=".*ray_remote_args_fn", category=RayDeprecationWarning)
    return True


def _refuse_silent(address: str) -> None:
    """UserError where nothing listens at ``host:port``: Ray itself would try for minutes without a word."""
    host, colon, port = address.rpartition(":")
    if not colon or "/" in address or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=_ANSWERS_S).close()
    except (OSError, OverflowError) as error:
        raise UserError(
            f"cluster.address={address}: nothing answers there ({error}); start a cluster with `ray start --head`, or "
            "mend the address"
        ) from error


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Ray takes SIGTERM for itself when it starts, in Python and below it, and then aborts on it; a run drains on it.

    Its handler in Python is not let in. Its library's, set late in the start, is replaced right after: between the two
    lies about a tenth of a second in which the signal still aborts (a dead owner's lease is free, nothing is lost).
    """
    handle, ours = signal.signal, signal.getsignal(signal.SIGTERM)

    def but_sigterm(number: int, handler: Any) -> Any:
        return ours if number == signal.SIGTERM else handle(number, handler)

    signal.signal = but_sigterm  # type: ignore[assignment]
    try:
        yield
    finally:
        signal.signal = handle
        if ours is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, ours)


def disconnect() -> None:
    """Leave the cluster; a Ray that ``connect`` started ends with it, and so do workers that hang in their own end."""
    workers = [process for process in psutil.Process().children(recursive=True) if _is_worker(process)]
    ray.shutdown()
    _, left = psutil.wait_procs(workers, timeout=_WORKERS_END_S)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _is_worker(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return bool(process.name().startswith("ray::"))
    return False


def apart(
    function: Callable[..., Any],
    *arguments: Any,
    meanwhile: Callable[[], None] = lambda: None,
    gpu: bool = False,
) -> Any:
    """Call what sees all rows in a process of its own, so that the driver's memory does not grow with them.

    ``meanwhile`` is called every second; what it raises ends the process. With ``gpu`` it has one that is free.
    """
    task = ray.remote(num_cpus=1, num_gpus=_free_gpu() if gpu else 0, max_retries=0)(function)
    reference = task.remote(*arguments)
    with _its_errors(function):
        while not ray.wait([reference], timeout=1.0)[0]:
            try:
                meanwhile()
            except BaseException:
                ray.cancel(reference, force=True)
                raise
        return ray.get(reference)


def _free_gpu() -> int:
    """1 where a GPU is free, or comes to be so soon: an engine that has just been ended gives its own back."""
    if not ray.cluster_resources().get("GPU", 0):
        return 0
    until = time.monotonic() + _GIVES_BACK_S
    while ray.available_resources().get("GPU", 0) < 1:
        if time.monotonic() > until:
            return 0
        time.sleep(0.2)  # how often Ray is asked: it says nothing when a GPU comes free
    return 1


@dataclass(frozen=True)
class Nodes:
    """The CPUs of several nodes, as a deduplication asks them (``dedup.workers.Workers``); ``memory`` is one node's."""

    nodes: int
    per_node: int
    memory: float

    @staticmethod
    def several(memory_gib: float | None) -> Nodes | None:
        """The nodes that are there; None where there is one."""
        alive = [node["Resources"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
        if len(alive) < 2:
            return None
        memory = min(node["memory"] for node in alive) / 2 if memory_gib is None else memory_gib * 2**30
        return Nodes(len(alive), max(1, int(min(node["CPU"] for node in alive))), memory)

    def each(self, function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
        """Results of tasks on any node, in any order; a task whose node dies is done again elsewhere."""
        task = ray.remote(num_cpus=1, max_retries=3, scheduling_strategy="SPREAD")(function)
        left, waiting = deque(tasks), set[Any]()
        while left or waiting:
            while left and len(waiting) < 2 * self.nodes * self.per_node:
                waiting.add(task.remote(*left.popleft()))
            done, _ = ray.wait(list(waiting))
            waiting.difference_update(done)
            for reference in done:
                with _its_errors(function):
                    result = ray.get(reference)
                yield result


def stream(function: Callable[..., Iterator[Any]], *arguments: Any) -> Iterator[Any]:
    """Run a generator in a process of its own and yield what it yields."""
    with _its_errors(function):
        for reference in ray.remote(num_cpus=1, max_retries=0, num_returns="streaming")(function).remote(*arguments):
            yield ray.get(reference)


@contextmanager
def _its_errors(function: Callable[..., Any]) -> Iterator[None]:
    """What a function in another process raises, as if it had been called here; its death as an early end."""
    try:
        yield
    except RayTaskError as error:
        raise error.cause from None
    except RayError as error:
        raise RunStopped(
            f"the process for {function.__name__} died ({first_line(error)}), of too little memory perhaps; run the "
            f"same command again; see {logs()}"
        ) from None


def logs() -> str:
    """Where Ray writes the logs of actors: the place to look when one dies."""
    with suppress(Exception):
        return f"{ray._private.worker.global_worker.node.get_logs_dir_path()}"
    return "Ray's logs"
