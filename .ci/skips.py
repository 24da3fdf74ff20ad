"""Fail when a test was skipped for a reason that is not on the list: skips.py REPORT.xml ALLOWED.

A line of the list is a reason as the test gives it, or its beginning followed by ``*``. Lines under a heading such as
``[without root]`` excuse nothing where the heading is not true: as root, the tests that need root must run.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection, Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]


def headings() -> set[str]:
    """The headings that are true here."""
    data = Path(os.environ.get("NIGHTMILL_TEST_DATA") or ROOT.parent / "shared" / "data")
    return {
        name
        for name, true in {"[without root]": os.geteuid() != 0, "[without real data]": not data.is_dir()}.items()
        if true
    }


def allowed(lines: Iterable[str], true: Collection[str]) -> list[str]:
    """The patterns in force: those under no heading, and those under a heading in ``true``."""
    patterns, heading = [], ""
    for line in map(str.strip, lines):
        if re.fullmatch(r"\[.*\]", line):
            heading = line
        elif line and not line.startswith("#") and (not heading or heading in true):
            patterns.append(line)
    return patterns


def skips(report: Path) -> Iterator[tuple[str, str]]:
    """Name and reason of every skipped test (expected failures included), or of a whole file that was skipped."""
    for case in ElementTree.parse(report).iter("testcase"):
        for skipped in case.findall("skipped"):
            reason = skipped.get("message") or ""
            whole_file = re.search(r"Skipped: (.*)'\)", skipped.text or "", re.S)
            if reason == "collection skipped" and whole_file:
                reason = whole_file[1]
            yield f"{case.get('classname')}::{case.get('name')}", reason


def main(report: str, listed: str) -> int:
    """Print what was skipped and why; 1 when any of it is not excused."""
    patterns = allowed(Path(listed).read_text().splitlines(), headings())
    found = list(skips(Path(report)))
    refused = [(test, reason) for test, reason in found if not any(fnmatchcase(reason, p) for p in patterns)]
    print(f"[ci] skipped {len(found)}, of which not excused {len(refused)}")
    for test, reason in refused:
        print(f"[ci]   {test}: {reason}")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
