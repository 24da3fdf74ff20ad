"""Files that a recipe compares with: found when the configuration is composed, which then holds what is in them."""

from __future__ import annotations

import os
from typing import Any

from pipelines.errors import UserError


def contents(given: Any, at: str) -> tuple[list[dict[str, str]], list[str]]:
    """Each file that ``given`` names (a path, a folder, a glob, a URL or a list) with a digest of its content.

    Paths are absolute: processes that stand elsewhere read the files. A file that changes is another setting then: what
    was compared with it is done again. Files that are given with their digests, as a composed configuration has them,
    must be as they were. All that is wrong is said, a line each: a file that is missing, cannot be read or holds no
    text.
    """
    found: list[dict[str, str]] = []
    wrong: list[str] = []
    for one in given if isinstance(given, list) else [given]:
        known = one if isinstance(one, dict) else {"path": one}
        path = str(known.get("path", ""))
        try:
            digest = _digest(path)
        except (UserError, OSError) as error:
            wrong.append(f"{at}={path}: {str(error).removeprefix(f'input={path}: ').removeprefix('input: ')}")
            continue
        if known.get("digest", digest) != digest:
            wrong.append(f"{at}={path}: is not as it was; put it back, or name the file without its digest")
        found.append({"path": _absolute(path), "digest": digest})
    return ([] if wrong else found), wrong


def _absolute(path: str) -> str:
    from pipelines.store.inputs.source import is_remote

    return path if is_remote(path) else os.path.abspath(os.path.expanduser(path.removeprefix("file://")))


def _digest(path: str) -> str:
    from pipelines.store.inputs.find import find
    from pipelines.store.inputs.nested import digest_of, holds_text

    listing = find(path)
    if not holds_text(listing):
        raise UserError("holds no text to compare with; name another file")
    return digest_of(listing)
