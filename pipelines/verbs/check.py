"""One check of the doctor, and those on places: input, output, disks, the run that may be there, and its target."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.directory import refuse_others
from pipelines.engine.resources import GIB
from pipelines.engine.weights import cache_dir
from pipelines.errors import UserError
from pipelines.recipe import stages_of
from pipelines.settings.target import AIMS, aims
from pipelines.stages.columns import refuse_absent
from pipelines.store.files import REMOTE, Folder, folder
from pipelines.store.manifest import Manifest
from pipelines.summary import counted
from pipelines.towards import refuse_target
from pipelines.verbs.sample import manifest_of

#: Bytes below which a disk is called full: shards, their prompts and answers, and Ray's spill all want room.
_LEAST_DISK = GIB


@dataclass(frozen=True)
class Check:
    """One thing that was looked at; ``fix`` says what to type or change when it is not ok."""

    name: str
    ok: bool
    seen: str
    fix: str = ""


def checks_of_places(config: Mapping[str, Any]) -> Iterator[Check]:
    """Whether the input can be read, the output written, and whether the run directory takes this run."""
    found = [*_input(config), *_output(config)]
    yield from found
    yield from _target(config)
    if all(check.ok for check in found):
        yield from _run_there(config)


def _input(config: Mapping[str, Any]) -> Iterator[Check]:
    if config["input"] is None:
        return
    try:
        manifest = manifest_of(config)
    except UserError as error:
        yield Check("input", False, str(config["input"]), str(error))
    else:
        where = f"{counted(manifest.rows, 'row')} in {counted(len(manifest.files), 'file')} of {manifest.format}"
        seen = f"{where}, texts in column {manifest.text_column}"
        yield Check("input", True, seen)
        if config["recipe"] is not None:
            yield _columns(config, manifest)


def _columns(config: Mapping[str, Any], manifest: Manifest) -> Check:
    """Whether the rows of the recipe's stages will have the columns that they are compared by."""
    try:
        refuse_absent(stages_of(config, manifest.fingerprint), manifest)
    except UserError as error:
        return Check("columns", False, f"{config['recipe']['name']}, text_column={manifest.text_column}", str(error))
    return Check("columns", True, "there will be all that rows are compared by")


def _target(config: Mapping[str, Any]) -> Iterator[Check]:
    """Whether the recipe can go towards the target."""
    if config["recipe"] is None or not aims(config):
        return
    shown = ", ".join(f"target.{key}={config['target'][key]}" for key in AIMS if config["target"][key] is not None)
    try:
        begun = config["output"] is not None and "stages.json" in folder(config["output"]).names()
    except UserError:
        begun = False
    try:
        refuse_target(config, begun=begun)
    except UserError as error:
        yield Check("target", False, shown, str(error))
    else:
        yield Check("target", True, shown)


def _run_there(config: Mapping[str, Any]) -> Iterator[Check]:
    """Whether the run directory takes this run."""
    if None in (config["recipe"], config["input"], config["output"]):
        return
    try:
        there = refuse_others(folder(config["output"]), config)
    except UserError as error:
        yield Check("run directory", False, str(config["output"]), str(error))
    else:
        yield Check("run directory", True, "holds this run, which goes on" if there else "holds nothing yet")


def _output(config: Mapping[str, Any]) -> Iterator[Check]:
    if config["output"] is None:
        return
    output: str = config["output"]
    if output.startswith((*REMOTE, "hf://")):
        try:
            yield _creates(output, folder(output).sub(f".doctor-{uuid.uuid4().hex}"))
        except UserError as error:
            yield Check("output", False, output, str(error))
        return
    ancestor = Path(output).expanduser().absolute()
    while not ancestor.exists():
        ancestor = ancestor.parent
    try:
        with tempfile.TemporaryDirectory(prefix=".nightmill-doctor-", dir=ancestor) as scratch:
            yield _creates(output, folder(scratch))
    except OSError as error:
        yield Check("output", False, f"{ancestor}: {error.strerror}", "choose a folder that you may write to")
        return
    for name, place_of in (("disk of output", ancestor), ("disk of the model cache", _existing(cache_dir()))):
        free = shutil.disk_usage(place_of).free
        fix = "" if free > _LEAST_DISK else f"free some space in {place_of}"
        yield Check(name, free > _LEAST_DISK, f"{free / GIB:.1f} GiB free in {place_of}", fix)


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def _creates(output: str, scratch: Folder) -> Check:
    """Whether a file can be published if and only if it is absent: what a commit rests on."""
    try:
        first, second = scratch.create("probe", b"1"), scratch.create("probe", b"2")
        scratch.remove("probe")
    except Exception as error:
        fix = "the place must allow hard links (a disk) or conditional PUTs (an object store), and let you write"
        return Check("output", False, f"{output}: {type(error).__name__}: {error}", fix)
    if (first, second) != (True, False):
        return Check(
            "output", False, f"{output}: a second writer was not refused", "use a store that refuses If-None-Match"
        )
    return Check("output", True, f"{output} can be written, and a second writer is refused")
