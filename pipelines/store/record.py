"""Small files of a run directory that people read too: JSON, and YAML for the resolved configuration."""

from __future__ import annotations

import json
from typing import Any

import yaml

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
