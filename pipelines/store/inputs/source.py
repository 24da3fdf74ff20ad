"""One input file: where it is, what it is known by, how it is opened, and what a format's reader gives of it.

A file is on local disk or behind a URL that fsspec knows; keys and endpoints of object stores come from the standard
environment variables (``AWS_*``, ``GOOGLE_*``), never from a setting. Whatever breaks while a file is read becomes a
``UserError`` that names the file.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TextIO, TypeVar, cast

import fsspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.errors import UserError

#: Files up to this size are known by all of their bytes, larger ones by their ends and their time of change.
WHOLE_BYTES = 256 << 20
SAMPLE_BYTES = 4 << 20
#: Ends of file names of compressed files, and what Arrow calls the compression.
COMPRESSED = {".gz": "gzip", ".zst": "zstd"}
#: A chunk has at most this many rows, and ends after this many bytes: what is held in memory at a time.
CHUNK_ROWS, CHUNK_BYTES = 16_384, 16 << 20

_REMOTE = re.compile(r"^(?!file:)[a-z][a-z0-9+.-]*://")
_SERVED_BY = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "hf": "huggingface_hub"}
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file as the manifest knows it.

    Attributes:
        path: absolute path, or URL.
        name: the path below the folder or glob that was asked for; what texts from files are labelled with.
        size: bytes.
        digest: what the content is recognised by, with the way it was made: ``etag:``, ``blake2b:`` or ``sampled:``.
        rows: rows of the file; None when ``limit`` was reached before its end.
        row_groups: rows of each row group (Parquet only).
    """

    path: str
    name: str
    size: int
    digest: str = ""
    rows: int | None = None
    row_groups: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Described:
    """What a format's reader says of a file before its rows are read; ``rows`` is None when not all were looked at."""

    schema: pa.Schema
    rows: int | None
    row_groups: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows of one file, in order; ``faults`` maps the place of a row that could not be read to (reason, detail).

    ``stays`` says of each row whether it is taken; None where all are. A row that is passed over still counts where
    rows are numbered.
    """

    table: pa.Table
    faults: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    stays: NDArray[np.bool_] | None = None

    @property
    def rows(self) -> int:
        """Rows that are taken."""
        return self.table.num_rows if self.stays is None else int(self.stays.sum())

    def first(self, count: int) -> Chunk:
        """The chunk up to the ``count``-th row that is taken."""
        end = count if self.stays is None else int(np.flatnonzero(self.stays)[count - 1]) + 1
        faults = {place: fault for place, fault in self.faults.items() if place < end}
        return Chunk(self.table.slice(0, end), faults, None if self.stays is None else self.stays[:end])


def is_remote(path: str) -> bool:
    """Whether ``path`` is a URL and not a file of this machine."""
    return bool(_REMOTE.match(path))


def filesystem(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL and the URL's key in it.

    Raises:
        UserError: no such scheme, or the package that serves it is not installed.
    """
    scheme = url.partition("://")[0]
    try:
        # No listings cache: a file may have changed since an earlier run of this process looked.
        place = fsspec.filesystem(scheme, use_listings_cache=False)
    except ImportError as error:
        package = _SERVED_BY.get(scheme, scheme)
        raise UserError(f"{url}: {scheme}:// needs a package that is absent; pip install {package}") from error
    except ValueError as error:
        raise UserError(f"{url}: unknown scheme {scheme}://; s3://, gs:// and hf:// are known") from error
    return place, cast(str, place._strip_protocol(url))


def open_bytes(path: str, ahead: bool = True) -> pa.NativeFile:
    """A file, seekable, for reading bytes; ``ahead`` fetches more of a remote file than is asked for."""
    if not is_remote(path):
        try:
            return pa.OSFile(path)
        except UnicodeEncodeError:  # a name that is not UTF-8
            return pa.PythonFile(open(path, "rb"), mode="r")
    place, key = filesystem(path)
    cache = "readahead" if ahead else "none"
    return pa.PythonFile(place.open(key, "rb", block_size=8 << 20, cache_type=cache), mode="r")


@contextmanager
def reading(file: InputFile) -> Iterator[None]:
    """Turn whatever breaks while ``file`` is read into a UserError that names it."""
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(f"input: {file.path} is gone; put it back, or leave it out of input=") from error
    except (OSError, EOFError, pa.ArrowException) as error:
        raise UserError(
            f"input: {file.path} cannot be read (damaged, cut off or not permitted): {error}; mend it, or leave it out"
        ) from error


@contextmanager
def open_text(file: InputFile, newline: str = "\n") -> Iterator[TextIO]:
    """A file as UTF-8, unpacked, a byte-order mark taken off; bytes that are not UTF-8 read as U+FFFD."""
    with reading(file), open_bytes(file.path) as raw:
        packing = COMPRESSED.get(os.path.splitext(file.path.lower())[1])
        stream = io.BufferedReader(pa.CompressedInputStream(raw, packing) if packing else raw, 1 << 20)
        if stream.peek(2)[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise UserError(f"input: {file.path} is UTF-16; convert it first: iconv -f UTF-16 -t UTF-8")
        with io.TextIOWrapper(stream, encoding="utf-8-sig", errors="replace", newline=newline) as text:
            yield text


def content_digest(path: str, size: int) -> str:
    """What the content of a file is recognised by where no object store gives an ETag.

    Of a file above WHOLE_BYTES only both ends are read; its time of change then stands for what lies between.
    """
    with open_bytes(path) as file:
        if size <= WHOLE_BYTES:
            return f"blake2b:{hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()}"
        ends = hashlib.blake2b(file.read(SAMPLE_BYTES), digest_size=16)
        file.seek(max(0, size - SAMPLE_BYTES))
        ends.update(file.read(SAMPLE_BYTES))
    changed = 0 if is_remote(path) else os.stat(path).st_mtime_ns
    return f"sampled:{ends.hexdigest()}:{changed}"


def bounded(items: Iterable[_T], bytes_of: Callable[[_T], int]) -> Iterator[list[_T]]:
    """``items`` in lists of at most CHUNK_ROWS that end once they hold CHUNK_BYTES."""
    batch: list[_T] = []
    held = 0
    for item in items:
        batch.append(item)
        held += bytes_of(item)
        if held >= CHUNK_BYTES or len(batch) >= CHUNK_ROWS:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


def excerpt(text: str, limit: int = 200) -> str:
    """The first ``limit`` characters, for a message."""
    return repr(text if len(text) <= limit else text[:limit] + "...")
