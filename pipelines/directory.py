"""A run directory and the configuration that asks for it: what a first start writes there, and what is refused.

A directory takes one recipe over one input. ``settle_input`` and ``settle_recipe`` are a start's first acts;
``refuse_others`` says the same refusals without writing anything.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import datetime
from itertools import takewhile
from typing import Any

from pipelines.dedup.index import home
from pipelines.errors import RunStopped, UserError
from pipelines.recipe import Round, changed_stages, recorded, stages_of
from pipelines.settings.target import aims
from pipelines.stages.stage import Stage, chains
from pipelines.store.dataset import committed
from pipelines.store.files import Folder
from pipelines.store.freeze import check, freeze, settings_of
from pipelines.store.inputs.find import holds
from pipelines.store.lease import Lease, acquire, holder
from pipelines.store.manifest import Manifest
from pipelines.store.record import read_record, write_record
from pipelines.store.survey import stage_records


@contextmanager
def storage_trouble(output: str) -> Iterator[None]:
    """A full disk or a store that refuses ends a run with a message; what is committed stays."""
    try:
        yield
    except OSError as error:
        raise RunStopped(f"output={output}: {error}; mend that and run the same command again") from error


def refuse_place(place: Folder, config: Mapping[str, Any]) -> None:
    """Refuse a folder that holds something and is no run's, or that the input reads, before anything is written."""
    output = config["output"]
    if around := holds(config["input"], output):
        raise UserError(
            f"output={output}: lies inside input={around}, so that a run would read its own files; choose a place "
            "outside, or an input that leaves it out"
        )
    present = [*place.names(), *place.folders()]
    strangers = [name for name in present if name != "lease"]
    if "points" in strangers and "manifest.json" not in present:
        raise UserError(f"output={output}: a sweep is there, one run a point in points/; choose another output")
    if strangers and "manifest.json" not in present:
        shown = ", ".join(strangers[:3])
        raise UserError(f"output={output}: the folder holds {shown}, which no run wrote; choose another output")


def settle_input(place: Folder, config: Mapping[str, Any]) -> Manifest:
    """The run's manifest: frozen at the first start, compared by name at every later one."""
    old = _checked_input(place, config)
    if old is None:
        old = freeze(config["input"], **settings_of(config))
        write_record(place, "manifest.json", old.to_json())
    return old


def rounds_in(place: Folder, config: Mapping[str, Any], manifest_fingerprint: str) -> list[Round] | None:
    """The rounds towards a target that a run has decided on; None for a run without one.

    With ``redo=changed`` only those before the first that a changed setting concerns: what the others were decided
    by, earlier rounds' yields, is to be made again.
    """
    if not aims(config):
        return None
    try:
        record = read_record(place, "stages.json")
    except FileNotFoundError:
        return []
    every = [Round(**{**one, "take": tuple(one["take"])}) for one in record.get("rounds") or ()]
    known = len(chains(config["recipe"]))
    rounds = list(takewhile(lambda one: one.chain < known, every))
    if config["redo"] != "changed":
        return rounds
    made = {one["fingerprint"] for one in record["stages"]}
    same = takewhile(lambda stage: stage.fingerprint in made, stages_of(config, manifest_fingerprint, rounds))
    return rounds[: sum(stage.output for stage in same)]


def deadline_in(place: Folder, asked: str | None) -> datetime | None:
    """The time that a run's earlier starts took ``target.deadline`` for, where they were ``asked`` for the same."""
    try:
        recorded = read_record(place, "stages.json").get("deadline")
    except FileNotFoundError:
        return None
    return datetime.fromisoformat(recorded["at"]) if recorded and recorded["asked"] == asked else None


def settle_recipe(
    place: Folder,
    config: Mapping[str, Any],
    stages: list[Stage],
    lease: Lease,
    rounds: Sequence[Round] = (),
    deadline: datetime | None = None,
) -> None:
    """Record the recipe's stages; refuse another recipe, and unless ``redo=changed``, to leave anything made behind.

    ``rounds`` are those that a run towards a target has decided on, ``deadline`` is what it takes
    ``target.deadline`` for: a time of day is that of the first start, not of each.
    """
    _check_recipe(place, config, stages)
    lease.check()
    write_record(place, "config.yaml", dict(config))
    # Last: a folder with it holds a run.
    try:
        run = read_record(place, "stages.json")["run"]
    except FileNotFoundError:
        run = uuid.uuid4().hex
    write_record(
        place,
        "stages.json",
        {
            "recipe": config["recipe"]["name"],
            "run": run,
            "stages": recorded(stages),
            "rounds": [asdict(one) for one in rounds],
            "deadline": {"asked": config["target"]["deadline"], "at": deadline.isoformat()} if deadline else None,
        },
    )


@contextmanager
def indexes_held(stages: Sequence[Stage]) -> Iterator[None]:
    """Hold the standing indexes that stages check against: nobody else may change them meanwhile."""
    with ExitStack() as stack:
        for against in sorted({stage.index for stage in stages if stage.index}):
            try:
                stack.enter_context(acquire(home(against)))
            except UserError as error:
                raise UserError(f"dedup.against={against}: in use ({error})") from error
        yield


def refuse_others(place: Folder, config: Mapping[str, Any]) -> bool:
    """Whether ``place`` holds a run that ``config`` would go on with; False for a place where nothing is yet.

    Raises:
        UserError: what a start would raise: a stranger's folder, a run at work, another input, recipe or setting.
    """
    refuse_place(place, config)
    if (busy := holder(place)) is not None:
        raise UserError(f"output={config['output']}: pid {busy.owner.pid} on {busy.owner.host} is running in it")
    manifest = _checked_input(place, config)
    if manifest is not None:
        rounds = rounds_in(place, config, manifest.fingerprint)
        _check_recipe(place, config, stages_of(config, manifest.fingerprint, rounds))
    return manifest is not None


def _checked_input(place: Folder, config: Mapping[str, Any]) -> Manifest | None:
    """The manifest that the directory has, after a look at whether the input is still the same; None without one."""
    try:
        old = Manifest.from_json(read_record(place, "manifest.json"))
    except FileNotFoundError:
        return None
    check(old, config["input"], **settings_of(config))
    return old


def _check_recipe(place: Folder, config: Mapping[str, Any], stages: list[Stage]) -> None:
    name = config["recipe"]["name"]
    try:
        old = read_record(place, "stages.json")
    except FileNotFoundError:
        return
    if old["recipe"] != name:
        raise UserError(
            f"output={config['output']} holds a run of recipe {old['recipe']!r}, not {name!r}; choose another"
        )
    changes = changed_stages(old["stages"], stages)
    current = {stage.fingerprint for stage in stages}
    made = any(committed(r.folder) for r in stage_records(place) if r.fingerprint not in current) if changes else False
    if made and config["redo"] != "changed":
        raise UserError(
            f"output={config['output']}: settings that decide what the data is have changed. To be redone:\n  "
            + "\n  ".join(changes)
            + "\nAdd redo=changed to redo them (the earlier results stay in stages/ until you delete them), "
            "or choose another output."
        )
