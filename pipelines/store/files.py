"""A folder that a run lives in: local disk, or s3:// and gs:// through fsspec, behind ten verbs.

The verb that matters is ``create``: it publishes a whole file if and only if no file of that name exists, and tells
which. Locally that is a hard link from a temporary name, on object stores a conditional PUT. Trouble of any store is
an OSError. Nothing here knows what the bytes mean.
"""

from __future__ import annotations

import mmap
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from pipelines.errors import UserError

#: What a file is to hold.
Content = bytes | memoryview
#: Bytes between two pieces of an object below which one request fetches both.
_GAP = 65_536
REMOTE = ("s3://", "s3a://", "gs://", "gcs://")


class Folder(Protocol):
    """A directory of a run; names are relative and use forward slashes."""

    url: str

    def sub(self, name: str) -> Folder:
        """The folder ``name`` inside this one; it need not exist."""

    def create(self, name: str, content: Content) -> bool:
        """Publish ``content`` under ``name`` unless that name exists; whether it is now ours."""

    def replace(self, name: str, content: Content) -> None:
        """Write ``content`` under ``name`` in one step; readers see the old or the new, never a part."""

    def read(self, name: str) -> bytes:
        """The whole file; FileNotFoundError when it does not exist."""

    def open(self, name: str) -> BinaryIO:
        """The file, seekable, for reading."""

    def pieces(self, name: str, starts: Sequence[int], sizes: Sequence[int]) -> list[bytes]:
        """Some byte ranges of a file, in the order given; a piece beyond its end is short."""

    def names(self) -> list[str]:
        """Names of the files directly in this folder, sorted; temporary ones are left out; [] when it is absent."""

    def folders(self) -> list[str]:
        """Names of the folders directly in this folder, sorted."""

    def remove(self, name: str) -> None:
        """Delete a file; no error when it does not exist."""

    def clear(self) -> None:
        """Delete this folder and all that is in it; no error when it does not exist."""


def folder(url: str) -> Folder:
    """The folder at a path or URL. ``hf://`` is refused: it is for input and export only."""
    if url.startswith("hf://"):
        raise UserError(
            f"output={url}: hf:// can be read and exported to, but cannot hold a run; use a disk, s3:// or gs://"
        )
    if url.startswith(REMOTE):
        if not url.partition("://")[2].strip("/"):
            raise UserError(f"{url}: names no bucket; give it as {url.partition('://')[0]}://BUCKET/PATH")
        return ObjectFolder(url.rstrip("/"))
    url = url.removeprefix("file://")
    if "://" in url:
        raise UserError(f"output={url}: unknown scheme {url.partition('://')[0]}://; use a disk, s3:// or gs://")
    return LocalFolder(os.path.abspath(os.path.expanduser(url)))


def base(place: Folder) -> str:
    """Name of a folder inside the one that holds it."""
    return place.url.rstrip("/").rsplit("/", 1)[-1]


class LocalFolder:
    """A directory on a disk that has hard links (any POSIX file system that clusters mount)."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._path = Path(url)

    def __repr__(self) -> str:
        return f"LocalFolder({self.url!r})"

    def sub(self, name: str) -> LocalFolder:
        return LocalFolder(str(self._path / name))

    def create(self, name: str, content: Content) -> bool:
        temporary = self._written(name, content)
        try:
            os.link(temporary, self._path / name)
        except FileExistsError:
            return False
        finally:
            temporary.unlink(missing_ok=True)
        self._sync()
        return True

    def replace(self, name: str, content: Content) -> None:
        os.replace(self._written(name, content), self._path / name)
        self._sync()

    def read(self, name: str) -> bytes:
        return (self._path / name).read_bytes()

    def open(self, name: str) -> BinaryIO:
        return open(self._path / name, "rb")

    def pieces(self, name: str, starts: Sequence[int], sizes: Sequence[int]) -> list[bytes]:
        with open(self._path / name, "rb") as file:
            if not os.fstat(file.fileno()).st_size:
                return [b""] * len(starts)
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole:
                return [whole[start : start + size] for start, size in _plain(starts, sizes)]

    def names(self) -> list[str]:
        return sorted(e.name for e in self._entries() if e.is_file() and not e.name.startswith("."))

    def folders(self) -> list[str]:
        return sorted(e.name for e in self._entries() if e.is_dir() and not e.name.startswith("."))

    def remove(self, name: str) -> None:
        (self._path / name).unlink(missing_ok=True)

    def clear(self) -> None:
        with suppress(FileNotFoundError):
            shutil.rmtree(self._path)

    def _entries(self) -> Iterator[os.DirEntry[str]]:
        try:
            with suppress(FileNotFoundError), os.scandir(self._path) as found:
                yield from found
        except NotADirectoryError:
            raise UserError(f"{self.url} is a file, and a folder is needed; choose another") from None

    def _written(self, name: str, content: Content) -> Path:
        """A durable temporary file beside ``name``; removed again when the disk is full."""
        self._path.mkdir(parents=True, exist_ok=True)
        temporary = self._path / f".{name}.{uuid.uuid4().hex[:12]}.tmp"
        try:
            with open(temporary, "wb") as out:
                out.write(content)
                out.flush()
                os.fsync(out.fileno())
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return temporary

    def _sync(self) -> None:
        """Make the directory entry durable, so that a commit survives a power cut."""
        handle = os.open(self._path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


class ObjectFolder:
    """A prefix in an object store. A PUT shows a whole object or none, so no temporary names are needed.

    Credentials and the endpoint come from the environment that s3fs and gcsfs read (AWS_*, GOOGLE_*), never from a
    configuration, so that they cannot land in a file.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        scheme, _, self._root = url.partition("://")
        self._scheme = {"s3a": "s3", "gcs": "gs"}.get(scheme, scheme)

    def __repr__(self) -> str:
        return f"ObjectFolder({self.url!r})"

    def sub(self, name: str) -> ObjectFolder:
        return ObjectFolder(f"{self.url}/{name}")

    def create(self, name: str, content: Content) -> bool:
        try:
            with _trouble(self.url):
                self._fs.pipe_file(self._key(name), bytes(content), mode="create")
        except OSError:
            # Refused because the name is taken (stores say so in different words), or because the answer to our own
            # PUT was lost and it was sent again: what is there now tells.
            try:
                return self.read(name) == content
            except FileNotFoundError:
                pass
            raise
        return True

    def replace(self, name: str, content: Content) -> None:
        with _trouble(self.url):
            self._fs.pipe_file(self._key(name), bytes(content))

    def read(self, name: str) -> bytes:
        with _trouble(self.url):
            return cast(bytes, self._fs.cat_file(self._key(name)))

    def open(self, name: str) -> BinaryIO:
        with _trouble(self.url):
            return cast(BinaryIO, self._fs.open(self._key(name), "rb"))

    def pieces(self, name: str, starts: Sequence[int], sizes: Sequence[int]) -> list[bytes]:
        with _trouble(self.url):
            keys = [self._key(name)] * len(starts)
            ends = [start + size for start, size in _plain(starts, sizes)]
            return list(self._fs.cat_ranges(keys, [int(start) for start in starts], ends, max_gap=_GAP))

    def names(self) -> list[str]:
        return sorted(self._base(e) for e in self._listed() if e["type"] == "file" and self._base(e))

    def folders(self) -> list[str]:
        return sorted(self._base(e) for e in self._listed() if e["type"] == "directory")

    def remove(self, name: str) -> None:
        with suppress(FileNotFoundError), _trouble(self.url):
            self._fs.rm_file(self._key(name))

    def clear(self) -> None:
        with suppress(FileNotFoundError), _trouble(self.url):
            self._fs.rm(self._root, recursive=True)

    @property
    def _fs(self) -> Any:
        import fsspec

        try:
            # No listings cache: another process may have committed a shard a moment ago.
            return fsspec.filesystem(self._scheme, use_listings_cache=False)
        except ImportError as error:
            raise UserError(
                f"{self.url} needs a package that is not installed: {error}; install nightmill[{self._scheme}]"
            ) from error

    def _key(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _base(self, entry: dict[str, Any]) -> str:
        return cast(str, entry["name"]).rstrip("/")[len(self._root) + 1 :]

    def _listed(self) -> list[dict[str, Any]]:
        try:
            with _trouble(self.url):
                return cast("list[dict[str, Any]]", self._fs.ls(self._root, detail=True, refresh=True))
        except FileNotFoundError:
            return []


def _plain(starts: Sequence[int], sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Starts and sizes as Python's own numbers, whatever they come as."""
    return zip(map(int, starts), map(int, sizes), strict=True)


@contextmanager
def _trouble(url: str) -> Iterator[None]:
    """Errors of a store's client library as OSError: botocore's and aiohttp's own are no such thing."""
    try:
        yield
    except (OSError, UserError):
        raise
    except Exception as error:
        raise OSError(f"{url}: {type(error).__name__}: {error}") from error
