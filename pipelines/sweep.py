"""A sweep: one run for every point of ``-m``, one after another, each in ``<output>/points/NNN``.

Hydra's own machinery makes the points (``hydra.main`` and its sweepers), our launcher runs them in this process, each
as ``nightmill run`` would: with engines of its own. Every point is composed and checked like a single run, all of them
before the first starts where the sweep can be listed. A point that fails is reported when it happens and the others go
on.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from pipelines.compose import compose
from pipelines.errors import Interrupted, RunStopped, UserError
from pipelines.face.asked import Mistakes, points_of
from pipelines.face.groups import conf_dir
from pipelines.face.hydra_home import LAUNCHER, register
from pipelines.face.overrides import quoted

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Point:
    """A point as Hydra's sweeper made it: its number, its overrides, and those that set it apart."""

    number: int
    overrides: tuple[str, ...]
    own: tuple[str, ...]


def sweep(overrides: Sequence[str], run: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    """Run every point of ``overrides``, whose values may be ``a,b``, ``range(1,4)``, ``choice(a,b)`` or ``glob(*)``.

    Returns ``{output, points: [{point, overrides, output, ok, result | error}], ok}``.

    Raises:
        UserError: a point does not compose; nothing has started then.
    """
    asked = [quoted(one, sweep=True) for one in overrides]
    outputs = [one for one in overrides if one.startswith("output=")]
    if not outputs:
        raise UserError("output is not set: a sweep needs output=DIR; its points go to DIR/points/000, 001, ...")
    root = outputs[-1].partition("=")[2]
    if "://" not in root and (Path(root) / "manifest.json").exists():
        raise UserError(f"output={root}: a run is there, and a sweep wants a root of its own; choose another output")
    if not any(one.startswith(("hydra/sweeper=", "hydra.sweeper.params")) for one in overrides):
        _check(asked)
    points: list[dict[str, Any]] = []

    def done(point: Any) -> None:
        points.append(_run_point(run, point))

    _register_launcher()
    with _arguments(asked, remote="://" in outputs[-1]):
        try:
            hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(done)()
        except (HydraException, OmegaConfBaseException) as error:
            raise UserError(f"the sweep cannot be made: {error}") from error
    return {"output": root, "points": points, "ok": all(point["ok"] for point in points)}


def render(result: dict[str, Any]) -> Any:
    """The points as a table, a finished one with its figures."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from pipelines.summary import plain

    table = Table(title=f"sweep {result['output']}", title_justify="left")
    for column in ("point", "settings", "rows in", "accepted", "failed", "tokens/s", "seconds", "ended"):
        table.add_column(column, justify="left" if column in ("point", "settings", "ended") else "right")
    for point in result["points"]:
        ended = "finished" if point["ok"] else point["error"].splitlines()[0]
        table.add_row(point["point"], Text(" ".join(point["overrides"])), *_figures(point), Text(plain(ended)))
    return Group(table, Text(f"each point is a run: nightmill status {result['output']}/points/000"))


def _figures(point: dict[str, Any]) -> Iterator[str]:
    """What a point came to, as far as its result says."""
    made = point.get("result", {})
    for key in ("rows_in", "rows_accepted", "rows_failed", "tokens_per_second", "seconds"):
        yield f"{made[key]:,}" if key in made else ""


def _check(asked: Sequence[str]) -> None:
    """Compose every point; all their mistakes are one error."""
    wrong: list[str] = []
    for point in points_of(asked):
        try:
            compose(point)
        except Mistakes as error:
            wrong.extend(error.lines)
    if wrong:
        raise Mistakes(wrong)


@contextmanager
def _arguments(asked: Sequence[str], *, remote: bool) -> Iterator[None]:
    """The command line as Hydra wants it, and its errors as exceptions instead of printed traces."""
    argv, full_error = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    with tempfile.TemporaryDirectory() as scratch:
        # Hydra makes the sweep's directory on the local disk, which for a URL would be a folder named after it.
        here = [f"hydra.sweep.dir={quoted(f'output={scratch}').partition('=')[2]}"] if remote else []
        sys.argv = ["nightmill", "--multirun", *asked, *here]
        os.environ["HYDRA_FULL_ERROR"] = "1"
        try:
            yield
        finally:
            sys.argv = argv
            os.environ.pop("HYDRA_FULL_ERROR")
            if full_error is not None:
                os.environ["HYDRA_FULL_ERROR"] = full_error


class Sequential(Launcher):  # type: ignore[misc]
    """Runs the points of a sweep one after another in this process."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what runs a point, and what all points share; each point composes its own configuration."""
        self._done = task_function
        asked = OverridesParser.create().parse_overrides(list(config.hydra.overrides.task))
        fixed = [one for one in asked if not one.is_sweep_override()]
        self._shared = {f"{one.get_key_element()}={one.get_value_element_as_str()}" for one in fixed}

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        """Run the points ``initial_job_idx`` and on."""
        for number, overrides in enumerate(job_overrides, start=initial_job_idx):
            own = [one for one in overrides if one not in self._shared]
            self._done(_Point(number, tuple(overrides), tuple(own)))
        return [JobReturn(overrides=overrides, status=JobStatus.COMPLETED) for overrides in job_overrides]


def _register_launcher() -> None:
    """Make the launcher known. Hydra instantiates plugins by a name in a package of its own, so it gets one there."""
    module, _, name = LAUNCHER.rpartition(".")
    sys.modules.setdefault(module, sys.modules[__name__])
    Sequential.__module__, Sequential.__qualname__ = module, name
    register()
    Plugins.instance().register(Sequential)


def _run_point(run: Callable[[dict[str, Any]], dict[str, Any]], point: _Point) -> dict[str, Any]:
    shown = " ".join(point.own)
    outcome: dict[str, Any] = {"point": f"{point.number:03d}", "overrides": list(point.own), "output": "", "ok": False}
    try:
        config = compose(point.overrides)
        config["output"] = outcome["output"] = f"{config['output'].rstrip('/')}/points/{point.number:03d}"
        log.info("point %03d: %s -> %s", point.number, shown, config["output"])
        return outcome | {"ok": True, "result": run(config)}
    except Interrupted:
        raise
    except (UserError, RunStopped) as error:
        log.error("point %03d failed: %s", point.number, error)
        return outcome | {"error": str(error)}
    except Exception as error:
        log.exception("point %03d failed", point.number)
        return outcome | {"error": f"{type(error).__name__}: {error}"}
