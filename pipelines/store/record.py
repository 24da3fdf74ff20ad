"""Small files of a run directory that people read too: JSON, and YAML for the resolved configuration.

Each carries a checksum of its content (a last key in JSON, a last line in YAML), so that one which was changed by hand,
or by a disk, is told from one that a run wrote.
"""

from __future__ import annotations

import json
from typing import Any

import yaml

from pipelines.errors import Damaged
from pipelines.rows import canonical, digest
from pipelines.store.files import Folder

_LINE = "# checksum: "


def write_record(run: Folder, name: str, content: dict[str, Any]) -> None:
    """Write ``name`` (.json or .yaml) in one step."""
    run.replace(name, record(name, content))


def read_record(run: Folder, name: str) -> dict[str, Any]:
    """The content of a record; FileNotFoundError when there is none.

    Raises:
        Damaged: it is not as it was written.
    """
    return parsed(f"{run.url}/{name}", run.read(name))


def record(name: str, content: dict[str, Any]) -> bytes:
    """The bytes of a record; ``name`` tells JSON from YAML."""
    if not name.endswith(".yaml"):
        plain = json.loads(json.dumps(content))
        return json.dumps({**plain, "checksum": digest(canonical(plain))}, indent=1, ensure_ascii=False).encode(
            "utf-8", "surrogatepass"
        )
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    return f"{text}{_LINE}{digest(text)}\n".encode("utf-8", "surrogatepass")


def parsed(name: str, raw: bytes) -> dict[str, Any]:
    """The content of a record's bytes; ``name`` is for the message too.

    Raises:
        Damaged: they are not as they were written.
    """
    try:
        text = raw.decode("utf-8", "surrogatepass")
        if name.endswith(".yaml"):
            body, line, checksum = text.rpartition(_LINE)
            if line and digest(body) == checksum.strip():
                content: dict[str, Any] = yaml.safe_load(body)
                return content
        else:
            content = json.loads(text)
            checksum = content.pop("checksum", "")
            if digest(canonical(content)) == checksum:
                return content
    except (ValueError, AttributeError, TypeError, yaml.YAMLError):
        pass
    raise Damaged(f"{name} is damaged: its content has not the checksum that it carries; put a sound copy back")
