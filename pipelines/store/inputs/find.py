"""From ``input=`` to files in order: a path, a glob, a URL, a folder, or a list of these.

A folder is read whole and recursively; files whose names begin with a dot are hidden and stay out. Within a folder or
glob the order is that of the sorted paths, within a list the order given. A path that exists is never a glob, whatever
characters it has. Two formats in one input are refused, and so is a file named twice.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pipelines.errors import UserError
from pipelines.store.inputs.formats import SUPPORTED, format_of
from pipelines.store.inputs.source import InputFile, filesystem, is_remote

#: Where object stores keep what names an object's content, the surest first (gs, s3, hf).
_TAGS = ("md5Hash", "ETag", "blob_id", "etag")


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of an input in order, their one format, and names of files beside them that no format reads."""

    files: tuple[InputFile, ...]
    format: str
    ignored: tuple[str, ...]


def find(wanted: str | os.PathLike[str] | Sequence[str]) -> Listing:
    """The files that ``input=`` names.

    Raises:
        UserError: nothing found, an ending that is not read, two formats, or a file named twice.
    """
    parts = [wanted] if isinstance(wanted, (str, os.PathLike)) else list(wanted)
    if not parts:
        raise UserError("input=[]: the list is empty; name a file, a folder, a glob or a URL")
    files: list[InputFile] = []
    ignored: list[str] = []
    for part in parts:
        if not isinstance(part, (str, os.PathLike)) or not str(part).strip():
            raise UserError(f"input={part!r}: a path, a glob or a URL is expected")
        found = files_of(os.fspath(part))
        readable = [file for file in found if format_of(file.path)]
        if not readable:
            names = ", ".join(file.name for file in found[:3])
            raise UserError(f"input={part}: no format reads {names}; endings that are read: {SUPPORTED}")
        files += readable
        ignored += [file.path for file in found if not format_of(file.path)]
    return Listing(tuple(_once(files)), _one_format(files), tuple(ignored))


def holds(wanted: str | os.PathLike[str] | Sequence[str], output: str) -> str | None:
    """The part of an input that would read a run directory at ``output`` too: a folder around it, or a ``**`` glob."""
    target = _settled(output)
    for part in [wanted] if isinstance(wanted, (str, os.PathLike)) else wanted:
        path = _settled(os.fspath(part))
        base = path.partition("**")[0].rpartition("/")[0] if "**" in path else path
        if f"{target}/".startswith(f"{base}/") and ("**" in path or is_remote(path) or os.path.isdir(path)):
            return str(part)
    return None


def _settled(place: str) -> str:
    """A place as it can be compared: links and relative steps of a path resolved, a URL without its last slash."""
    if is_remote(place):
        return place.rstrip("/")
    return os.path.realpath(os.path.expanduser(place.removeprefix("file://")))


def _once(files: list[InputFile]) -> list[InputFile]:
    seen: dict[str, str] = {}
    for file in files:
        real = file.path if is_remote(file.path) else os.path.realpath(file.path)
        before = seen.setdefault(real, file.path)
        if before is not file.path:
            again = f"{file.path} is named twice" if before == file.path else f"{before} and {file.path} are one file"
            raise UserError(f"input: {again}; its rows would be read twice. Name it once")
    return files


def _one_format(files: list[InputFile]) -> str:
    examples: dict[str, str] = {}
    for file in files:
        examples.setdefault(format_of(file.path) or "", file.path)
    if len(examples) > 1:
        seen = ", ".join(f"{name} ({path})" for name, path in examples.items())
        raise UserError(f"input mixes formats: {seen}; choose one with a glob such as input='FOLDER/**/*.parquet'")
    return next(iter(examples))


def files_of(part: str) -> list[InputFile]:
    """The files of one part of the input, sorted by path; at least one."""
    if is_remote(part):
        try:
            found = _remote(part)
        except UserError:
            raise
        except Exception as error:  # each object store has its own exceptions, of no common ancestor
            raise UserError(
                f"input={part}: cannot be listed: {type(error).__name__}: {error}; keys and endpoint come from "
                "the environment (s3: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL; "
                "gs: GOOGLE_APPLICATION_CREDENTIALS; hf: HF_TOKEN)"
            ) from error
    else:
        found = _local(part.removeprefix("file://"))
    if not found:
        raise UserError(f"input={part}: {_why_nothing(part)}")
    return sorted(found, key=lambda file: file.path)


def _why_nothing(part: str) -> str:
    if is_remote(part) or glob.has_magic(part):
        return "no file is there, or none matches"
    path = os.path.abspath(os.path.expanduser(part))
    if os.path.isdir(path):
        return f"the folder holds no file; endings that are read: {SUPPORTED}"
    if os.path.exists(path):
        return "neither a file nor a folder; a pipe or a device cannot be read twice, and a run reads its input again"
    parent, name = os.path.split(path)
    near = get_close_matches(name, os.listdir(parent), 1) if os.path.isdir(parent) else []
    return "no such file or folder" + (f"; did you mean {os.path.join(parent, near[0])}?" if near else "")


def _local(part: str) -> list[InputFile]:
    path = os.path.abspath(os.path.expanduser(part))
    if os.path.isfile(path):
        base, names = os.path.split(path)[0], [os.path.basename(path)]
    elif os.path.isdir(path):
        base, names = path, list(_walked(path))
    else:
        base, pattern = _split(path, os.path.exists)
        names = glob.glob(pattern, root_dir=base, recursive=True)
    paths = [(os.path.join(base, name), name) for name in names]
    for path, _ in paths:
        if format_of(path) and not os.path.exists(path):
            raise UserError(f"input: {path} is a link to nothing; mend it, or take it away")
    return [InputFile(path, name, os.path.getsize(path)) for path, name in paths if os.path.isfile(path)]


def _walked(root: str) -> Iterator[str]:
    """Names below ``root`` that are not hidden; linked folders are followed, each real folder is read once."""
    seen: set[str] = set()
    for folder, folders, names in os.walk(root, onerror=_refuse, followlinks=True):
        real = os.path.realpath(folder)
        folders[:] = sorted(name for name in folders if name[0] != ".") if real not in seen else []
        if real not in seen:
            yield from (os.path.relpath(os.path.join(folder, name), root) for name in names if name[0] != ".")
        seen.add(real)


def _refuse(error: OSError) -> None:
    raise UserError(f"input: {error.filename} cannot be listed: {error.strerror}; leave it out, or allow it") from error


def _remote(part: str) -> list[InputFile]:
    place, key = filesystem(part)
    scheme = part.partition("://")[0]
    if place.isfile(key):
        return [_object(scheme, key, key.rpartition("/")[2], place.info(key))]
    if place.isdir(key):
        base, found = key.rstrip("/"), place.find(key, detail=True)
    else:
        base, pattern = _split(key, place.exists)
        found = place.glob(f"{glob.escape(base)}/{pattern}", detail=True) if pattern else {}
    files = [(key, key.removeprefix(base).lstrip("/"), info) for key, info in found.items()]
    # Stores show a "folder" that someone made by hand as an object whose key ends in a slash.
    shown = [f for f in files if f[2]["type"] == "file" and not f[0].endswith("/") and "/." not in f"/{f[1]}"]
    return [_object(scheme, key, name, info) for key, name, info in shown]


def _object(scheme: str, key: str, name: str, info: dict[str, Any]) -> InputFile:
    tag = next((f"etag:{str(info[field]).strip(chr(34))}" for field in _TAGS if info.get(field)), "")
    return InputFile(key if is_remote(key) else f"{scheme}://{key}", name, int(info.get("size") or 0), tag)


def _split(path: str, exists: Callable[[str], bool]) -> tuple[str, str]:
    """``path`` as (existing folder, glob below it); the glob is empty when ``path`` has no wildcard left."""
    steps = path.split("/")
    for place, step in enumerate(steps):
        if glob.has_magic(step) and not exists("/".join(steps[: place + 1])):
            return "/".join(steps[:place]) or "/", "/".join(steps[place:])
    return path, ""
