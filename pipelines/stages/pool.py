"""The run's actors on Ray, and waves of shards handed to them through Ray Data.

Ray Data ends its pool's actors with every execution, and an engine takes minutes to load; so the actors that hold
engines are named ones of ours, got or made by the fingerprint of their configuration. Ray Data streams shard
descriptors to one light courier (no CPU of its own), which awaits the least busy of them. Only this file, ``courier``
and ``cluster`` talk to Ray.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from threading import Thread
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from pipelines.engine.resources import Placement, place, place_readers
from pipelines.errors import RunStopped, UserError, first_line
from pipelines.rows import digest
from pipelines.stages.actor import ShardActor
from pipelines.stages.cluster import logs
from pipelines.stages.courier import Courier
from pipelines.stages.delivery import Delivery
from pipelines.stages.stage import Job, Stage
from pipelines.store.dataset import Shard

#: Shards of stages that ask no model that an actor has at once: one is read while another is written.
_BULK_AHEAD = 2
#: Shards that one courier awaits at once; an event loop holds thousands, and a wave has one courier.
_MAX_AWAITED = 4096


class Pool:
    """The run's actors: one a replica of the engine, or one a CPU where the recipe asks no model."""

    def __init__(self, config: Mapping[str, Any], *, engine: bool, placement: Placement | None = None) -> None:
        total = ray.cluster_resources()
        nodes = [int(node["Resources"].get("GPU", 0)) for node in ray.nodes() if node["Alive"]]
        self.placement: Placement = placement or place(
            config, cpus=int(total.get("CPU", 1)), gpus=int(total.get("GPU", 0)), nodes=nodes, engine=engine
        )
        #: CPU threads that an actor may use beside the others of a node.
        self.threads = max(1, int(total.get("CPU", 1)) // self.placement.actors)
        each = self.placement.gpus_per_actor + sum(int(one.get("GPU", 0)) for one in self.placement.bundles)
        #: Devices that the copies of the model hold together; a copy on a CPU has one.
        self.devices = self.placement.actors * max(1, each)
        self._config = config
        self._engine = engine
        self._name = "actor" if placement is None else "reader"
        self._groups: list[Any] = []
        self._actors = [self._actor(i) for i in range(self.placement.actors)]

    @contextmanager
    def readers(self, stage: Stage) -> Iterator[Pool]:
        """These actors; of a stage that runs a model of its own some with a GPU each, where GPUs are free.

        At the end they are let go, and so are the GPUs, and what a dedup's encoding has loaded here.
        """
        if stage.own_model is None:
            yield self
            return
        each = self.placement.gpus_per_actor + sum(int(one.get("GPU", 0)) for one in self.placement.bundles)
        # An actor of this run that is not placed yet holds nothing so far.
        unplaced = ray.cluster_resources().get("GPU", 0) - each * self.placement.actors
        free = min(unplaced, ray.available_resources().get("GPU", 0))
        placement = place_readers(stage.own_model, int(free))
        if placement is not None:
            pool = Pool(self._config, engine=False, placement=placement)
            try:
                yield pool
            finally:
                pool.close()
            return
        try:
            yield self
        finally:
            if stage.encodes:
                with suppress(RayError, GetTimeoutError):
                    ray.get([actor.let_go.remote(stage) for actor in self._actors], timeout=30)

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
                f"an engine's process died while it was loading ({first_line(error)}); see {logs()}"
            ) from None

    def wave(self, job: Job, shards: Sequence[Shard]) -> Iterator[Delivery]:
        """Have every shard done; deliveries come as shards commit, in no order."""
        tries = 1 + (self._config["engine"]["max_restarts"] if self._engine else 1)
        if job.stage.kind != "flow":
            yield from self._bulk(Courier(self._actors, job, tries), shards)
            return
        at_once = job.stage.shards_at_once(self.placement.shards_in_flight, self._config["io"]["shard_rows"])
        awaited = min(len(shards), at_once, _MAX_AWAITED)
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

    def _bulk(self, courier: Courier, shards: Sequence[Shard]) -> Iterator[Delivery]:
        """Shards that take less time each than Ray Data takes to begin; the driver hands them out itself.

        Their rows are columns of large tables: reading many ahead costs memory and hides nothing.
        """
        arrived: SimpleQueue[Delivery | BaseException] = SimpleQueue()

        async def all_of_them() -> None:
            slots = asyncio.Semaphore(_BULK_AHEAD * len(self._actors))

            async def one(shard: Shard) -> None:
                async with slots:
                    arrived.put(await courier.deliver(shard.to_json()))

            async with asyncio.TaskGroup() as group:
                for shard in shards:
                    group.create_task(one(shard))

        def work() -> None:
            try:
                asyncio.run(all_of_them())
            except BaseException as error:
                arrived.put(error)

        Thread(target=work, name="bulk", daemon=True).start()
        for _ in shards:
            delivery = arrived.get()
            if isinstance(delivery, BaseException):
                raise delivery
            yield delivery

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
        for group in self._groups:
            remove_placement_group(group)

    def _actor(self, index: int) -> Any:
        config, place_ = self._config, self.placement
        model, engine = (config["model"], config["engine"]) if self._engine else (None, None)
        # The job's id: another command on the same cluster has actors of its own, which end with it.
        job = ray.get_runtime_context().get_job_id()
        name = f"nightmill-{job}-{self._name}-{digest(model, engine, config['seed'])[:16]}-{index}"
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
            self._groups.append(group)
            options["scheduling_strategy"] = PlacementGroupSchedulingStrategy(
                group, placement_group_bundle_index=0, placement_group_capture_child_tasks=True
            )
        actor = ray.remote(ShardActor).options(**options).remote(model, engine, config["seed"])
        actor.resume.remote()
        return actor


def _courier_options() -> dict[str, Any]:
    """Ray Data would restart a courier without bound; a run whose courier died is started again by its user."""
    return {"max_restarts": 0}
