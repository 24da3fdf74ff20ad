"""The run's actors on Ray, and waves of shards handed to them through Ray Data.

Ray Data ends its pool's actors with every execution, and an engine takes minutes to load; so the actors that hold
engines are named ones of ours, got or made by the fingerprint of their configuration. Ray Data streams shard
descriptors to one light courier (no CPU of its own), which awaits the least busy of them. This file and no other
talks to Ray.
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError, GetTimeoutError, RayError, RayTaskError
from ray.util.annotations import RayDeprecationWarning
from ray.util.placement_group import placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from pipelines.engine.resources import Placement, place
from pipelines.errors import RunStopped, UserError
from pipelines.rows import digest
from pipelines.stages.actor import ShardActor
from pipelines.stages.stage import Job
from pipelines.store.dataset import Shard

log = logging.getLogger(__name__)

NAMESPACE = "nightmill"
#: Shards that one courier awaits at once; an event loop holds thousands, and a wave has one courier.
_MAX_AWAITED = 4096


@dataclass(frozen=True)
class Delivery:
    """What came back for one shard: the entry that counts as JSON, None when the run drains, or an error.

    ``fault`` is the user's message when the shard could not be done by any actor; ``user`` tells a user's mistake.
    """

    shard: int
    entry: str | None = None
    fault: str | None = None
    user: bool = False


def connect(cluster: Mapping[str, Any]) -> bool:
    """Join the Ray cluster that the settings or the surrounding job name, or start one on this machine.

    Returns False where this process is connected already; whoever connected it then also disconnects.
    """
    if ray.is_initialized():
        return False
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    address = cluster["address"] or os.environ.get("RAY_ADDRESS")
    own = (
        {}
        if address
        else {
            "num_cpus": cluster["num_cpus"] or max(2, os.cpu_count() or 1),
            "object_store_memory": int(cluster["object_store_gib"] * 2**30),
            "include_dashboard": False,
        }
    )
    try:
        ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR, **own)
    except ConnectionError as error:
        raise UserError(
            f"cluster.address={address}: no Ray cluster answers there ({error}); start one with `ray start --head`"
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


def disconnect() -> None:
    """Leave the cluster; a Ray that ``connect`` started ends with it."""
    ray.shutdown()


class Pool:
    """The run's actors: one a replica of the engine, or one a CPU where the recipe asks no model."""

    def __init__(self, config: Mapping[str, Any], *, engine: bool) -> None:
        total = ray.cluster_resources()
        nodes = [int(node["Resources"].get("GPU", 0)) for node in ray.nodes() if node["Alive"]]
        self.placement: Placement = place(
            config, cpus=int(total.get("CPU", 1)), gpus=int(total.get("GPU", 0)), nodes=nodes, engine=engine
        )
        self._config = config
        self._engine = engine
        self._actors = [self._actor(i) for i in range(self.placement.actors)]

    def load(self, waiting: Callable[[], None]) -> None:
        """Load the engines, calling ``waiting`` every second; UserError or RunStopped when one cannot start."""
        pending = [actor.start.remote() for actor in self._actors]
        try:
            while pending:
                done, pending = ray.wait(pending, num_returns=len(pending), timeout=1.0)
                ray.get(done)
                waiting()
        except RayTaskError as error:
            cause = error.cause
            if isinstance(cause, UserError | RunStopped):
                raise cause from None
            if isinstance(cause, TimeoutError):
                limit = self._config["engine"]["start_timeout_s"]
                raise RunStopped(
                    f"engine.start_timeout_s={limit}: the engine was not ready in that time; raise it, or see {logs()}"
                ) from None
            raise RunStopped(f"the engine could not start: {cause!r}; see {logs()}") from None
        except RayError as error:
            raise RunStopped(
                f"an engine's process died while it was loading ({_first_line(error)}); see {logs()}"
            ) from None

    def wave(self, job: Job, shards: Sequence[Shard]) -> Iterator[Delivery]:
        """Have every shard done; deliveries come as shards commit, in no order."""
        awaited = min(len(shards), self.placement.shards_in_flight, _MAX_AWAITED)
        tries = 1 + (self._config["engine"]["max_restarts"] if self._engine else 1)
        deliveries = ray.data.from_items(
            [{"shard": json.dumps(s.to_json())} for s in shards], override_num_blocks=len(shards)
        ).map_batches(
            Courier,
            fn_constructor_args=(self._actors, job, tries),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(
                size=1, max_concurrent_calls_per_actor=awaited, max_tasks_in_flight_per_actor=awaited
            ),
            num_cpus=0,
            ray_remote_args_fn=_courier_options,
        )
        for batch in deliveries.iter_batches(batch_size=None, prefetch_batches=0):
            for text in batch["delivery"]:
                yield Delivery(**json.loads(str(text)))

    def drain(self) -> None:
        """Have no more shards begun."""
        for actor in self._actors:
            actor.drain.remote()

    def progress(self) -> dict[str, int]:
        """Live counts, added up over the actors that answer within a second."""
        totals: dict[str, int] = {}
        pending = [actor.progress.remote() for actor in self._actors]
        done, _ = ray.wait(pending, num_returns=len(pending), timeout=1.0)
        for reference in done:
            with suppress(RayError):
                for name, count in ray.get(reference).items():
                    totals[name] = totals.get(name, 0) + count
        return totals

    def close(self) -> None:
        """End every actor; an engine first lets go of its device and its child processes."""
        with suppress(RayError, GetTimeoutError):
            ray.get([actor.stop.remote() for actor in self._actors], timeout=30)
        for actor in self._actors:
            ray.kill(actor)

    def _actor(self, index: int) -> Any:
        config, place_ = self._config, self.placement
        model, engine = (config["model"], config["engine"]) if self._engine else (None, None)
        name = f"nightmill-{digest(model, engine, config['seed'])[:16]}-{index}"
        options: dict[str, Any] = {
            "name": name,
            "get_if_exists": True,
            "num_cpus": 0,
            "max_restarts": engine["max_restarts"] if engine else 3,
            "max_concurrency": _MAX_AWAITED,
            "scheduling_strategy": "SPREAD",
        }
        if place_.gpus_per_actor:
            options["num_gpus"] = place_.gpus_per_actor
        if place_.bundles:
            group = placement_group([dict(b) for b in place_.bundles], strategy=place_.strategy, name=f"{name}-gpus")
            options["scheduling_strategy"] = PlacementGroupSchedulingStrategy(
                group, placement_group_bundle_index=0, placement_group_capture_child_tasks=True
            )
        actor = ray.remote(ShardActor).options(**options).remote(model, engine, config["seed"])
        actor.resume.remote()
        return actor


class Courier:
    """Ray Data's light actor: hands each shard to the least busy of our actors and waits for it."""

    def __init__(self, actors: Sequence[Any], job: Job, tries: int) -> None:
        self._actors = list(actors)
        self._busy = [0] * len(self._actors)
        self._job = job
        self._tries = tries

    async def __call__(self, batch: dict[str, Any]) -> Any:
        delivered = [await self._deliver(json.loads(str(text))) for text in batch["shard"]]
        yield {"delivery": [json.dumps(vars(d)) for d in delivered]}

    async def _deliver(self, shard: dict[str, Any]) -> Delivery:
        index, last = shard["index"], ""
        for _ in range(self._tries):
            chosen = self._busy.index(min(self._busy))
            self._busy[chosen] += 1
            try:
                return Delivery(index, entry=await self._actors[chosen].work.remote(self._job, shard))
            except (ActorDiedError, ActorUnavailableError) as error:
                last = _first_line(error)
            except RayTaskError as error:
                return Delivery(index, fault=_fault(error, index), user=isinstance(error.cause, UserError))
            finally:
                self._busy[chosen] -= 1
        return Delivery(
            index,
            fault=f"shard {index}: its actor died {self._tries} times ({last}); the setting engine.max_restarts bounds "
            f"this. If it was killed for memory, lower engine.kv_cache_gib or engine.max_num_seqs; see {logs()}",
        )


def _courier_options() -> dict[str, Any]:
    """Ray Data would restart a courier without bound; a run whose courier died is started again by its user."""
    return {"max_restarts": 0}


def decide(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call an all-row decision in a process of its own, so that the driver's memory does not grow with rows."""
    reference = ray.remote(num_cpus=1, max_retries=0)(function).remote(*arguments)
    try:
        while True:
            done, _ = ray.wait([reference], timeout=1.0)
            if done:
                return ray.get(reference)
    except RayTaskError as error:
        raise error.cause from None
    except RayError as error:
        raise RunStopped(f"the process that decides died ({_first_line(error)}); see {logs()}") from None


def stream(function: Callable[..., Iterator[Any]], *arguments: Any) -> Iterator[Any]:
    """Run a generator in a process of its own and yield what it yields."""
    try:
        for reference in ray.remote(num_cpus=1, max_retries=0, num_returns="streaming")(function).remote(*arguments):
            yield ray.get(reference)
    except RayTaskError as error:
        raise error.cause from None


def logs() -> str:
    """Where Ray writes the logs of actors: the place to look when one dies."""
    with suppress(Exception):
        return f"{ray._private.worker.global_worker.node.get_logs_dir_path()}"
    return "Ray's logs"


def _fault(error: RayTaskError, shard: int) -> str:
    cause = error.cause
    if isinstance(cause, UserError | RunStopped):
        return str(cause)
    if isinstance(cause, OSError):
        return f"shard {shard} could not be read or committed: {cause}; mend that and run the same command again"
    return f"shard {shard}: {type(cause).__name__}: {cause}"


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
