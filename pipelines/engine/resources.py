"""How many copies of a model fit, what each reserves, and whether the settings can fill them. Pure arithmetic.

From a run's configuration and the cluster's CPUs and GPUs to a ``Placement``; says in a sentence, with the numbers and
the setting, what would leave an engine idle or not fit its memory. Imports neither Ray nor vLLM.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipelines import settings
from pipelines.errors import UserError

GIB = 2**30
_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
#: Share of its context that a KV cache on a CPU holds for every sequence at once: few sequences are as long.
_TYPICAL_SHARE = 0.25
#: Shards that an actor has in flight at least.
LEAST_SHARDS = 4
#: Tokens of a KV cache block on a CPU, the fewest that its kernels take: prompts share whole blocks, and at vLLM's own
#: 128 two of 300 tokens that end unlike share 256 at most. A sequence may leave its last one almost empty.
CPU_BLOCK = 32


@dataclass(frozen=True)
class Placement:
    """Where a run's actors go.

    Attributes:
        actors: processes that run flows, one a copy of the model.
        gpus_per_actor: GPUs that an actor itself reserves; 0 where its workers sit in ``bundles`` of their own.
        shards_in_flight: shards that all actors together work on at once.
        rows_in_flight: rows of those shards.
        requests_in_flight: sequences that all copies together decode at once.
        bundles: placement group that each actor needs; empty when its own reservation is enough.
        strategy: of that placement group.
        warnings: sentences about settings that leave an engine idle or cannot work.
    """

    actors: int
    gpus_per_actor: int = 0
    shards_in_flight: int = 0
    rows_in_flight: int = 0
    requests_in_flight: int = 0
    bundles: tuple[Mapping[str, float], ...] = ()
    strategy: str = ""
    warnings: tuple[str, ...] = ()


def place(
    config: Mapping[str, Any],
    *,
    cpus: int,
    gpus: int,
    engine: bool = True,
    nodes: Sequence[int] = (),
    gpu_memory_gib: float | None = None,
) -> Placement:
    """The placement of a run's actors.

    Args:
        config: a run's configuration: ``model``, ``engine`` and ``io``.
        cpus: logical CPUs of the cluster.
        gpus: its GPUs.
        engine: false where the recipe asks no model: then one actor a CPU.
        nodes: GPUs of each node; empty takes all GPUs to be on one.
        gpu_memory_gib: memory of one GPU, where known.

    Raises:
        UserError: as many copies as fit are asked for, and none fits.
    """
    io, chosen = config["io"], config["engine"]
    if not engine:
        shards = max(1, cpus) * (io["shards_in_flight"] or LEAST_SHARDS)
        return Placement(max(1, cpus), shards_in_flight=shards, rows_in_flight=shards * io["shard_rows"])
    found = Placement(max(1, chosen["replicas"]))
    if chosen["kind"] == "vllm" and chosen["device"] == "gpu":
        found = _on_gpus(
            settings.Model(**config["model"]), settings.VllmEngine(**chosen), tuple(nodes) or (gpus,), gpu_memory_gib
        )
    name = "max_num_seqs" if "max_num_seqs" in chosen else "max_concurrent"
    # A shard ends with its slowest row: with two rows for every slot, the next shards fill what its tail leaves empty.
    each = io["shards_in_flight"] or max(LEAST_SHARDS, -(-2 * chosen[name] // io["shard_rows"]))
    shards = found.actors * each
    return replace(
        found,
        shards_in_flight=shards,
        rows_in_flight=shards * io["shard_rows"],
        requests_in_flight=found.actors * chosen[name],
        warnings=(*found.warnings, *_idle(f"engine.{name}", chosen[name], each, io["shard_rows"])),
    )


def place_readers(node: Mapping[str, Any], gpus: int) -> Placement | None:
    """Where the actors go that encode texts, or rerank; None where the run's own do it, one a CPU or an engine.

    Args:
        node: the settings of the stage: ``device`` and, where it has one, ``encoder``.
        gpus: GPUs of the cluster that nobody holds.
    """
    device = str(node.get("device") or "cuda")
    if not gpus or node.get("encoder") == "simulated" or not device.startswith("cuda"):
        return None
    # Ray shows an actor that holds a GPU no other, so one that was chosen by number is left to a single actor.
    return Placement(gpus, gpus_per_actor=1) if device == "cuda" else Placement(1)


def gpus_per_copy(model: settings.Model, engine: settings.VllmEngine) -> int:
    """GPUs that one copy of the model is spread over."""
    return model.tensor_parallel_size * int(engine.engine_kwargs.get("pipeline_parallel_size", 1))


def memory_problem(model: settings.Model, engine: settings.VllmEngine, gpu_memory_gib: float) -> str | None:
    """Why the model does not fit its GPUs, with the setting to change; None when it does.

    Weights must leave a tenth of what vLLM may use, for the KV cache and activations. Quantised weights are not judged.
    """
    if "quantization" in engine.engine_kwargs:
        return None
    gpus = gpus_per_copy(model, engine)
    weights = model.parameters * 1e9 * _bytes(model, engine) / GIB
    usable = gpu_memory_gib * engine.gpu_memory_utilization
    if weights / gpus <= 0.9 * usable:
        return None
    needed = gpus
    while weights / needed > 0.9 * usable:
        needed *= 2
    return (
        f"model.parameters={model.parameters:g} billion take {weights:.0f} GiB, {weights / gpus:.0f} GiB on each of "
        f"{gpus} GPUs (model.tensor_parallel_size={model.tensor_parallel_size}), and engine.gpu_memory_utilization="
        f"{engine.gpu_memory_utilization:g} of {gpu_memory_gib:.0f} GiB gives vLLM {usable:.0f} GiB; set "
        f"model.tensor_parallel_size={model.tensor_parallel_size * needed // gpus}, or choose a smaller model"
    )


def kv_cache_bytes(model: settings.Model, engine: settings.VllmEngine, per_token: int, free: int) -> int:
    """Bytes of a CPU engine's KV cache: ``engine.kv_cache_gib``, or what it can use of half of what is free.

    Args:
        model: its ``context`` bounds a sequence, its ``parameters`` the memory of the weights.
        engine: ``max_num_seqs`` sequences, a quarter of the context long, are as much as it can usually use.
        per_token: bytes of keys and values of one token, all layers together.
        free: bytes that can be had.

    Raises:
        UserError: not even one sequence of ``model.context`` tokens fits.
    """
    one = (model.context + 2 * CPU_BLOCK) * per_token
    weights = int(model.parameters * 1e9 * _bytes(model, engine))
    room = max(0, free - weights)
    if engine.kv_cache_gib is not None:
        asked = int(engine.kv_cache_gib * GIB)
        if asked > room:
            raise UserError(
                f"engine.kv_cache_gib={engine.kv_cache_gib:g}: {room / GIB:.1f} GiB are free beside the weights "
                f"({weights / GIB:.1f} GiB); lower it, or set it to null to take what is free"
            )
        if asked < one:
            raise UserError(
                f"engine.kv_cache_gib={engine.kv_cache_gib:g}: one sequence of model.context={model.context} tokens "
                f"takes {one / GIB:.2f} GiB; raise the first or lower the second"
            )
        return asked
    if one > room // 2:
        raise UserError(
            f"model.context={model.context}: one sequence of it takes {one / GIB:.1f} GiB of KV cache, and "
            f"{room / GIB:.1f} GiB are free beside the weights ({weights / GIB:.1f} GiB), half of which may be taken; "
            "lower it, set engine.kv_cache_gib, or choose a smaller model"
        )
    typical = int(_TYPICAL_SHARE * engine.max_num_seqs * one)
    return min(max(one, typical), room // 2)


def _on_gpus(
    model: settings.Model, engine: settings.VllmEngine, nodes: tuple[int, ...], gpu_memory_gib: float | None
) -> Placement:
    each, gpus = gpus_per_copy(model, engine), sum(nodes)
    spread = each > max(nodes)
    fit = gpus // each if spread else sum(count // each for count in nodes)
    if engine.replicas == 0 and gpus == 0:
        raise UserError(
            f"engine.device=gpu: the cluster has no GPU, and a copy of {model.name} needs {each}; start where Ray sees "
            "GPUs, use engine=vllm_cpu for a small model or engine=endpoint, or set engine.replicas if GPUs will join"
        )
    if engine.replicas == 0 and fit == 0:
        raise UserError(
            f"model.tensor_parallel_size={model.tensor_parallel_size}: a copy of {model.name} needs {each} GPUs, and "
            f"the cluster has {gpus}; lower it, use engine=vllm_cpu for a small model, or set engine.replicas if GPUs "
            "will join"
        )
    problem = memory_problem(model, engine, gpu_memory_gib) if gpu_memory_gib is not None else None
    waiting = (
        f"engine.replicas={engine.replicas} need {engine.replicas * each} GPUs and the cluster holds {fit} of them; "
        "the others wait until it grows"
    )
    # Across nodes vLLM's Ray executor puts a worker in each bundle; the actor sits in the first and reserves no GPU.
    bundles = ({"CPU": 1.0, "GPU": 1.0}, *({"GPU": 1.0} for _ in range(each - 1))) if spread else ()
    return Placement(
        actors=engine.replicas or fit,
        gpus_per_actor=0 if spread else each,
        bundles=bundles,
        strategy="PACK" if spread else "",
        warnings=(*([problem] if problem else []), *([waiting] if engine.replicas > fit else [])),
    )


def _idle(name: str, slots: int, shards: int, shard_rows: int) -> tuple[str, ...]:
    """A warning when one copy has fewer rows in flight than it can answer at once."""
    rows = shards * shard_rows
    if rows >= slots:
        return ()
    return (
        f"io.shards_in_flight={shards} x io.shard_rows={shard_rows} keeps {rows} rows in flight on a copy, and "
        f"{name}={slots} can be answered at once; raise io.shards_in_flight to {-(-slots // shard_rows)}, or set it to "
        "null",
    )


def _bytes(model: settings.Model, engine: settings.VllmEngine) -> int:
    """Bytes of one parameter; ``auto`` is float32 on a CPU, where it is the faster, and 16 bits on a GPU."""
    return _BYTES.get(str(model.dtype), 4 if engine.device == "cpu" else 2)
