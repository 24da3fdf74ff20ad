"""What trainings share: their settings, going on from a checkpoint, and saying how far they are."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines.errors import RunStopped, UserError, first_line
from pipelines.store.made import SAID

#: Where in the folder of what a stage has made a trained model lies.
MODEL = "model"
#: Checkpoints of a training, in the folder of what it makes while it is at work.
CHECKPOINTS = "checkpoints"
#: Share of the steps in which the learning rate rises.
_WARM_UP = 0.1


def arguments(
    made: str,
    batch: int,
    steps: int,
    learning_rate: float,
    checkpoint_steps: int,
    seed: int,
    device: str | None,
    steady: bool = False,
    at_once: int | None = None,
) -> dict[str, Any]:
    """Settings of a trainer of sentence-transformers, as keyword arguments.

    ``batch`` is that of all processes that train together; one of more than ``at_once`` examples a process is taken in
    pieces, the gradients of which are added up. The rate rises and falls, by AdamW; ``steady``: it stays as
    it is, by Adafactor, as T5 rerankers are trained (papers.md 4.3).
    """
    from sentence_transformers.util import get_world_size

    own = batch // get_world_size()
    most = own if at_once is None else max(1, at_once)
    pieces = next(n for n in range(1, own + 1) if own % n == 0 and own // n <= most)
    return {
        "output_dir": str(Path(made) / CHECKPOINTS),
        "per_device_train_batch_size": own // pieces,
        "gradient_accumulation_steps": pieces,
        "max_steps": steps,
        "learning_rate": learning_rate,
        "warmup_steps": 0 if steady else math.ceil(_WARM_UP * steps),
        "lr_scheduler_type": "constant" if steady else "linear",
        "optim": "adafactor" if steady else "adamw_torch_fused",
        "save_strategy": "steps",
        "save_steps": checkpoint_steps,
        "save_total_limit": 1,
        "logging_steps": 1,
        "disable_tqdm": True,
        "report_to": [],
        "seed": seed,
        "use_cpu": device == "cpu",
        "dataloader_pin_memory": False,
        "dataloader_drop_last": True,
    }


@contextmanager
def loaded(setting: str, name: str) -> Iterator[None]:
    """A model that cannot be loaded as a UserError that names the setting which names it."""
    try:
        yield
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        raise UserError(f"{setting}={name}: cannot be loaded ({first_line(error)})") from error


def on_one_device(settings: Any) -> Any:
    """A trainer's settings such that a process trains on one GPU: transformers would take a batch for each it sees."""
    settings._n_gpu = min(1, settings.n_gpu)
    return settings


def shared(batch: int, workers: int) -> int:
    """The batch that so many processes share alike: no larger than ``batch``.

    Raises:
        RunStopped: there is less than one example for each.
    """
    if batch < workers:
        raise RunStopped(
            f"training: recipe.workers={workers}, and a batch has {batch:,} examples at most; set recipe.workers to no "
            "more, or loosen the filters before"
        )
    return batch // workers * workers


def model_of(made: str | None, name: str) -> str:
    """The model that a stage has trained (``made``, the folder of what it made), or the one of that name."""
    return name if made is None else str(Path(made) / MODEL)


def take_threads(threads: int | None) -> None:
    """Let torch use so many CPU threads, or all that there are: Ray gives a process that reserves one CPU one."""
    import torch

    torch.set_num_threads(threads or len(os.sched_getaffinity(0)))


def last_checkpoint(made: str) -> str | None:
    """The last whole checkpoint that an earlier start left, or None; one that a kill cut off is taken away."""
    from sentence_transformers.util import get_rank

    found = sorted(
        (path for path in (Path(made) / CHECKPOINTS).glob("checkpoint-*")), key=lambda path: -int(path.name[11:])
    )
    for path in found:
        if (path / "trainer_state.json").exists():  # written last
            return str(path)
        if get_rank() == 0:
            shutil.rmtree(path)
    return None


def fitted(trainer: Any, made: str) -> list[float]:
    """Train to the end, from the last checkpoint where there is one, and leave the model in the folder ``made``.

    Returns:
        Mean losses of the first and the last tenth of the steps.

    Raises:
        RunStopped: the loss is no number any more, or there was no batch.
    """
    from transformers import TrainerCallback

    steps = trainer.args.max_steps

    class Saying(TrainerCallback):  # type: ignore[misc]
        """Says how far the training is, and ends one that went astray."""

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **more: Any) -> None:
            loss = (logs or {}).get("loss")
            if loss is not None:
                if state.is_world_process_zero:
                    (Path(made) / SAID).write_text(f"step {state.global_step:,} of {steps:,}, loss {float(loss):.4f}")
                control.should_training_stop = control.should_training_stop or not math.isfinite(float(loss))

    trainer.add_callback(Saying())
    trainer.train(resume_from_checkpoint=last_checkpoint(made))
    losses = [float(one["loss"]) for one in trainer.state.log_history if "loss" in one]
    if not losses:
        raise RunStopped(f"training: there are fewer examples than {trainer.args.train_batch_size}, those of a batch")
    if not all(map(math.isfinite, losses)):
        raise RunStopped(
            f"training: the loss was no number at step {len(losses):,} of {steps:,}; lower recipe.learning_rate"
        )
    if trainer.is_world_process_zero():
        trainer.model.save_pretrained(model_of(made, ""))
        shutil.rmtree(Path(made) / CHECKPOINTS, ignore_errors=True)
    tenth = max(1, len(losses) // 10)
    return [round(sum(some) / len(some), 4) for some in (losses[:tenth], losses[-tenth:])]
