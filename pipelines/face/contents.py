"""Files that a recipe compares with: found when the configuration is composed, which then holds what is in them."""

from __future__ import annotations

from typing import Any

from pipelines.errors import UserError


def contents(given: Any, at: str) -> tuple[list[dict[str, str]], list[str]]:
    """Each file that ``given`` names (a path, a folder, a glob, a URL or a list) with a digest of its content.

    A file that changes is another setting then: what was compared with it is done again. Files that are given with
    their digests, as a composed configuration has them, are taken as they are.
    """
    from pipelines.rows import digest
    from pipelines.store.inputs.find import find
    from pipelines.store.inputs.source import content_digest

    found: list[dict[str, str]] = []
    for one in given if isinstance(given, list) else [given]:
        if isinstance(one, dict):
            found.append(one)
            continue
        try:
            files = find(str(one)).files
            sums = [file.digest or content_digest(file.path, file.size) for file in files]
        except (UserError, OSError) as error:
            return [], [f"{at}={one}: {str(error).removeprefix('input=')}"]
        found.append({"path": str(one), "digest": digest(*sums)})
    return found, []
