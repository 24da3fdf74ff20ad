"""A training in several processes, each with a GPU where there are any; Ray Train ties them together."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipelines.errors import RunStopped, UserError
from pipelines.retrieval.training import take_threads

#: What Ray Train keeps of a training while it runs, in the folder of what is made.
_STATE = "ray"
#: In it, a file that a process looks for, to know that it sees the folder.
_SEEN = "seen"
#: What ends a training for a reason that its user can do something about.
_OURS = (RunStopped, UserError)


def together(fit: Callable[[str], list[float]], made: str, workers: int, device: str | None) -> list[float]:
    """Call ``fit(made)`` in this process or in ``workers`` that train one model; what the first of them returns.

    Args:
        fit: trains; where there are several processes, torch's process group is there when it is called.
        made: a folder that every process sees.
        workers: processes. One is this one, unless the cluster has GPUs: then it goes where they are.
        device: cpu, cuda, ...; None gives each process a GPU where the cluster has any.

    Raises:
        UserError: there are fewer GPUs than processes.
        RunStopped: a process does not see the folder, or died; or what ``fit`` raised.
    """
    gpus = _gpus() if device != "cpu" else 0
    if workers == 1 and not gpus:
        take_threads(None)
        return fit(made)
    if gpus and gpus < workers:
        raise UserError(f"recipe.workers={workers}: the cluster has {gpus} GPUs, one for each; lower it")
    from ray.train import RunConfig, ScalingConfig, TrainingFailedError, WorkerGroupError
    from ray.train.torch import TorchConfig, TorchTrainer

    state = Path(made).absolute() / _STATE
    state.mkdir(exist_ok=True)  # a kill leaves it
    (state / _SEEN).touch()
    trainer = TorchTrainer(
        _work,
        train_loop_config={"fit": fit, "made": made},
        torch_config=TorchConfig(backend="nccl" if gpus else "gloo"),
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=bool(gpus)),
        run_config=RunConfig(storage_path=str(state), name="training"),
    )
    try:
        found: list[float] = trainer.fit().return_value
    except TrainingFailedError as error:
        failures = error.worker_failures if isinstance(error, WorkerGroupError) else {}
        for one in failures.values():
            if isinstance(one, _OURS):
                raise one from None
        first = next(iter(failures.values()), error)
        raise RunStopped(f"training in {workers} processes: {first!r}; run the same command again") from None
    finally:
        shutil.rmtree(state, ignore_errors=True)
    return found


def _gpus() -> int:
    import ray

    return int(ray.cluster_resources().get("GPU", 0)) if ray.is_initialized() else 0


def _work(config: Mapping[str, Any]) -> list[float]:
    """What each process does."""
    made = config["made"]
    if not (Path(made) / _STATE / _SEEN).exists():
        raise RunStopped(
            f"the machine {socket.gethostname()} does not see {made}, where a model is trained together; choose an "
            "output on a disk that all machines share, or recipe.workers=1"
        )
    found: list[float] = config["fit"](made)
    return found
