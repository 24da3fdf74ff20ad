"""Write a finished run's rows elsewhere: JSON lines or Parquet, or the layout of a published dataset (``layouts.py``).

One file, or a folder with its dataset card; a layout is a folder.

Rows are streamed; a file appears whole or not at all. A folder gets ``data/part-00000.jsonl ...``, ``README.md`` and
``.nightmill-export.json``, which says what is in it. What already lies at the target is replaced only if it is an
earlier export of the same run: nothing else is ever overwritten.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from rich.text import Text

from pipelines.errors import RunStopped, UserError
from pipelines.rows import python_rows
from pipelines.store.dataset import committed, named, part_name
from pipelines.store.files import Folder, folder
from pipelines.store.record import read_record
from pipelines.store.survey import finished, survey
from pipelines.summary import counted, plain
from pipelines.verbs.layouts import LAYOUTS, Layout
from pipelines.verbs.target import Target

#: Endings that make ``to`` one file, by format; the first is that of the files in a folder.
ENDINGS = {"jsonl": (".jsonl", ".jsonl.gz"), "parquet": (".parquet",)}
#: Endings that say "a file" without being one of an export's.
_FILE_ENDINGS = (".csv", ".tsv", ".json", ".txt", ".gz", ".zst", ".arrow", ".feather", ".xlsx", ".zip")
#: What ``datasets.load_dataset`` calls a format.
_LOADERS = {"jsonl": "json", "parquet": "parquet"}
#: Rows that are in memory at once.
_BATCH = 4096
#: Folders of a run that hold its own files and nothing else.
_OWN = ("data", "removed", "stages", "ledger", "lease", "index")
#: Hidden, so that an exported folder can be an input: those leave hidden files out.
_MARKER = ".nightmill-export.json"


def export(run: str, format: str | None = None, to: str | None = None, no_provenance: bool = False) -> dict[str, Any]:
    """Write the rows of ``data/`` elsewhere.

    Args:
        run: a finished run directory.
        format: ``jsonl`` (one object a line), ``parquet``, or a layout (``layouts.LAYOUTS``); None takes what the
            ending of ``to`` says, else jsonl.
        to: a file (.jsonl, .jsonl.gz, .parquet) or a folder, on disk or at a URL that fsspec knows (s3://...); None
            writes one file beside the run's ``data/``, a layout to a folder there.
        no_provenance: leave out the column ``provenance``.

    Returns:
        ``to``, ``format``, ``rows``, ``files`` (as written) and ``bytes``.

    Raises:
        UserError: the run is not finished, the target is taken by something else, or its ending is of another format.
        RunStopped: the target could not be written.
    """
    place = folder(run)
    if not finished(place, survey(place)):
        raise UserError(f"{place.url} is not finished, or data/ is not complete; run the same command to its end first")
    format = format or next((name for name, ends in ENDINGS.items() if to and to.endswith(ends)), "jsonl")
    if format not in (*ENDINGS, *LAYOUTS):
        raise UserError(f"--format {format}: not a format; use one of {', '.join((*ENDINGS, *LAYOUTS))}")
    target = Target(to or f"{place.url}/{format if format in LAYOUTS else f'data{ENDINGS[format][0]}'}")
    _refuse(place, target, format)
    dropped = ("provenance",) if no_provenance else ()
    source = place.sub("data")
    published = read_record(place, "metadata.json")
    parts = committed(source)
    try:
        with target.scratch() as scratch:
            if format in LAYOUTS:
                layout = LAYOUTS[format](published["columns"])
                files = _as_layout(place, parts, target, scratch, format, layout)
            elif target.url.endswith(ENDINGS[format]):
                files = [_as_one_file(source, parts, target, scratch, dropped)]
            else:
                files = _as_folder(place, parts, target, scratch, format, dropped)
    except (UserError, RunStopped):
        raise
    except Exception as error:  # each store has its own, of no common ancestor
        raise RunStopped(
            f"--to {target.url}: could not be written ({error}); mend that or choose another place, and export again"
        ) from error
    return {
        "ok": True,
        "run": place.url,
        "to": target.url,
        "format": format,
        "rows": published["rows"],
        "files": [name for name, _ in files],
        "bytes": sum(size for _, size in files),
    }


def _refuse(place: Folder, target: Target, format: str) -> None:
    """UserError for a target that would mix with the run's own files, or that contradicts the format."""
    if any(f"{target.url}/".startswith(f"{place.url}/{name}/") for name in _OWN) or target.url == place.url:
        raise UserError(f"--to {target.url}: that folder holds the run's own files; choose another place")
    other = [name for name, ends in ENDINGS.items() if name != format and target.url.endswith(ends)]
    ending = Path(target.url).suffix
    if format in LAYOUTS and ending in (".jsonl", ".parquet", *_FILE_ENDINGS):
        raise UserError(f"--to {target.url}: the layout {format} is a folder; name one")
    if ending in _FILE_ENDINGS and not target.is_file() and not target.url.endswith(ENDINGS.get(format, ())):
        raise UserError(
            f"--to {target.url}: an export is JSON lines or Parquet, no {ending}; end it in "
            f"{', '.join(end for ends in ENDINGS.values() for end in ends)}, or name a folder"
        )
    if other:
        raise UserError(f"--to {target.url} is named as {other[0]} and --format is {format}; make them agree")


def _as_one_file(
    source: Folder, parts: list[int], target: Target, scratch: str, dropped: tuple[str, ...]
) -> tuple[str, int]:
    """Everything in one file; one that is there already stays if it is the same, byte for byte."""
    if target.names():
        raise UserError(f"--to {target.url}: a folder of that name has files in it; choose another name")
    made = Path(scratch) / target.url.rpartition("/")[2]
    _write(made, source, parts, dropped)
    if target.is_file():
        with made.open("rb") as new, target.open() as old:
            there, same = bool(old.read(1)), _checksum(new)
            old.seek(0)
            if there and _checksum(old) != same:
                raise UserError(
                    f"--to {target.url}: a file is there that is not this export; delete it or choose another name"
                )
    return target.publish(made)


def _checksum(file: BinaryIO) -> str:
    return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()  # type: ignore[arg-type]


def _as_folder(
    place: Folder, parts: list[int], target: Target, scratch: str, format: str, dropped: tuple[str, ...]
) -> list[tuple[str, int]]:
    """A file for each file of ``data/``, the dataset card, and what the folder holds."""
    identity = {"run": place.url, "format": format, "provenance": not dropped}
    before = _earlier(target, identity)
    # First, so that an export which was interrupted can be told from a stranger's files.
    _put(target, scratch, _MARKER, json.dumps({**identity, "files": before}).encode())
    source, written, files = place.sub("data"), [], []
    for part in parts:
        name = f"data/{Path(part_name(part)).stem}{ENDINGS[format][0]}"
        made = Path(scratch) / Path(name).name
        _write(made, source, [part], dropped)
        files.append(target.publish(made, name))
        written.append(name)
    files.append(_put(target, scratch, "README.md", card(place.read("README.md").decode(), format, dropped).encode()))
    for name in set(before) - set(written):
        target.remove(name)
    files.append(_put(target, scratch, _MARKER, json.dumps({**identity, "files": written}, indent=1).encode()))
    return files


def _as_layout(
    place: Folder, parts: list[int], target: Target, scratch: str, format: str, layout: Layout
) -> list[tuple[str, int]]:
    """A file for each name that a layout gives, beside what the folder holds."""
    identity = {"run": place.url, "format": format, "provenance": False}
    before = _earlier(target, identity)
    _put(target, scratch, _MARKER, json.dumps({**identity, "files": before}).encode())
    source, columns = place.sub("data"), [name for name in read_record(place, "metadata.json")["columns"]]
    with ExitStack() as stack:
        opened: dict[str, BinaryIO] = {}
        for batch in _batches(source, parts, [name for name in columns if name != "provenance"]):
            for row in python_rows(batch):
                name, record = layout(row)
                if name not in opened:
                    opened[name] = stack.enter_context((Path(scratch) / f"{name}.jsonl").open("wb"))
                opened[name].write(orjson.dumps(record, default=_in_json, option=orjson.OPT_APPEND_NEWLINE))
    files = [target.publish(Path(scratch) / f"{name}.jsonl", f"{name}.jsonl") for name in sorted(opened)]
    for name in set(before) - {f"{name}.jsonl" for name in opened}:
        if "/" not in name:
            target.remove(name)
    marker = json.dumps({**identity, "files": [name for name, _ in files]}, indent=1).encode()
    return [*files, _put(target, scratch, _MARKER, marker)]


def _earlier(target: Target, identity: Mapping[str, Any]) -> list[str]:
    """Data files that an earlier export of the same left in a folder; UserError where something else is in it."""
    if target.is_file():
        raise UserError(
            f"--to {target.url}: a file of that name is there; choose another, or end it in .jsonl or .parquet"
        )
    names = target.names()
    if not names:
        return []
    if _MARKER in names:
        with target.open(_MARKER) as file:
            marker = json.load(file)
        if all(marker.get(key) == value for key, value in identity.items()):
            return list(marker["files"])
    raise UserError(f"--to {target.url}: the folder has files in it that are no earlier export of this; choose another")


def _put(target: Target, scratch: str, name: str, content: bytes) -> tuple[str, int]:
    made = Path(scratch) / name
    made.write_bytes(content)
    return target.publish(made, name)


def card(text: str, format: str, dropped: tuple[str, ...]) -> str:
    """The run's dataset card, fitted to the files of the export."""
    _, front, body = text.split("---\n", 2)
    files = f"data/*{ENDINGS[format][0]}"
    meta = {**yaml.safe_load(front), "configs": [{"config_name": "default", "data_files": files}]}
    body = body.replace('"parquet", data_files="data/*.parquet"', f'"{_LOADERS[format]}", data_files="{files}"')
    left_out = f"\nThis export leaves out `{'`, `'.join(dropped)}`.\n" if dropped else ""
    return f"---\n{yaml.safe_dump(meta, sort_keys=False, allow_unicode=True)}---\n{body}{left_out}"


def _write(file: Path, source: Folder, parts: list[int], dropped: tuple[str, ...]) -> None:
    """Stream parts into a file of the format that its ending names."""
    with named(f"{source.url}/{part_name(parts[0])}"), source.open(part_name(parts[0])) as opened:
        schema = pq.read_schema(opened).remove_metadata()
    schema = pa.schema([field for field in schema if field.name not in dropped])
    with ExitStack() as stack:
        if file.name.endswith(ENDINGS["parquet"]):
            parquet = stack.enter_context(pq.ParquetWriter(file, schema, compression="zstd", write_page_checksum=True))
            for batch in _batches(source, parts, schema.names):
                parquet.write_batch(batch)
            return
        out: Any = stack.enter_context(file.open("wb"))
        if file.name.endswith(".gz"):
            out = stack.enter_context(gzip.GzipFile("", "wb", fileobj=out, mtime=0))
        for batch in _batches(source, parts, schema.names):
            for row in python_rows(batch):
                out.write(orjson.dumps(row, default=_in_json, option=orjson.OPT_APPEND_NEWLINE))


def _batches(source: Folder, parts: list[int], columns: list[str]) -> Iterator[pa.RecordBatch]:
    """The rows of parts, some at a time."""
    for part in parts:
        with named(f"{source.url}/{part_name(part)}"), source.open(part_name(part)) as opened:
            parquet = pq.ParquetFile(opened, page_checksum_verification=True)
            for batch in parquet.iter_batches(_BATCH, columns=columns):
                yield batch.replace_schema_metadata(None)


def _in_json(value: object) -> str:
    """A value that JSON has no type for: bytes in base64, anything else (a decimal, a duration) as text."""
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


def render(result: Mapping[str, Any]) -> Text:
    """One sentence: how many rows lie where."""
    seen = [name for name in result["files"] if not name.endswith(_MARKER)]
    return Text(
        plain(
            f"{counted(result['rows'], 'row')} as {result['format']}, {counted(len(seen), 'file')}: {result['to']}",
            4000,
        )
    )
