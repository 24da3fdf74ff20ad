"""Small files of a run directory that people read too: JSON, and YAML for the resolved configuration."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import yaml

from pipelines.errors import UserError
from pipelines.store.files import Folder


def write_record(run: Folder, name: str, content: dict[str, Any]) -> None:
    """Write ``name`` (.json or .yaml) in one step."""
    text = (
        yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
        if name.endswith(".yaml")
        else json.dumps(content, indent=1, ensure_ascii=False)
    )
    run.replace(name, text.encode("utf-8", "surrogatepass") + b"\n")


def read_record(run: Folder, name: str) -> dict[str, Any]:
    """The content of a record; FileNotFoundError when there is none."""
    raw = run.read(name)
    record: dict[str, Any] = yaml.safe_load(raw) if name.endswith(".yaml") else json.loads(raw)
    return record


@dataclass(frozen=True)
class StageRecord:
    """A stage of a run as its directory tells it: what was recorded of it, and where its current shards are."""

    number: int
    name: str
    kind: str
    fingerprint: str
    folder: Folder
    started: bool


def stage_records(run: Folder) -> list[StageRecord]:
    """The stages of a run in order, each with the directory of its latest generation.

    Raises:
        UserError: the folder holds no run.
    """
    try:
        recorded = read_record(run, "stages.json")["stages"]
    except FileNotFoundError:
        raise UserError(
            f"{run.url} holds no run (there is no stages.json); name the folder that `output=` named"
        ) from None
    stages = run.sub("stages")
    present = stages.folders()
    found: list[StageRecord] = []
    for entry in recorded:
        name = re.compile(rf"^{entry['number']}(?:\.(\d+))?-{re.escape(entry['name'])}-{entry['fingerprint'][:12]}$")
        generations = {int(m.group(1) or 0): m.group(0) for m in map(name.match, present) if m}
        folder = (
            generations[max(generations)]
            if generations
            else f"{entry['number']}-{entry['name']}-{entry['fingerprint'][:12]}"
        )
        found.append(
            StageRecord(
                entry["number"],
                entry["name"],
                entry["kind"],
                entry["fingerprint"],
                stages.sub(folder),
                bool(generations),
            )
        )
    return found
