"""The run's accounts: one entry a shard, two equations for every shard and stage.

``rows_in = rows_kept + rows_rejected + rows_failed`` and ``items_made = items_kept + sum(items_rejected)``, where
``rows_kept`` counts input rows with at least one kept item. An entry lives in the footer of the shard's kept part;
``ledger/<stage>.parquet`` is a cache of them that can be rebuilt from the footers at any time.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field

import pyarrow as pa
import pyarrow.json as pj
import pyarrow.parquet as pq

from pipelines.rows import canonical, digest
from pipelines.store.dataset import committed, part_name
from pipelines.store.files import Folder, base

#: Key of the entry in a Parquet footer.
FOOTER = b"nightmill"

#: Columns of the cache: some of an entry to look at, and all of it.
_COUNTED = ("rows_in", "rows_kept", "rows_rejected", "rows_failed", "items_made", "items_kept")
_CACHED = pa.schema(
    [
        ("shard", pa.int64()),
        ("attempt", pa.string()),
        *((name, pa.int64()) for name in _COUNTED),
        ("entry", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class SideFile:
    """A rejected, failed or calls file of an attempt: its name, rows, bytes and BLAKE2b checksum."""

    name: str
    rows: int
    size: int
    checksum: str


@dataclass(frozen=True, slots=True)
class Entry:
    """The accounts of one committed shard. ``failed`` and ``items_rejected`` count by named reason.

    ``settles`` names, for a retry shard, the rows that it took out of each earlier shard's quarantine, and ``settled``
    counts the errors that they waited there for.
    Tokens and calls include those of rows that were rejected or failed.
    """

    stage: str
    fingerprint: str
    shard: int
    attempt: str
    rows_in: int
    rows_kept: int
    rows_rejected: int
    rows_failed: int
    items_made: int
    items_kept: int
    items_rejected: Mapping[str, int] = field(default_factory=dict)
    failed: Mapping[str, int] = field(default_factory=dict)
    settles: Mapping[str, list[str]] = field(default_factory=dict)
    settled: Mapping[str, int] = field(default_factory=dict)
    calls: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    finished_at: str = ""
    files: Mapping[str, SideFile] = field(default_factory=dict)

    def balanced(self) -> str | None:
        """None when both equations hold, else the one that does not, with its figures."""
        if self.rows_in != self.rows_kept + self.rows_rejected + self.rows_failed:
            return (
                f"rows in {self.rows_in} != kept {self.rows_kept} + rejected {self.rows_rejected} "
                f"+ failed {self.rows_failed}"
            )
        if self.items_made != self.items_kept + sum(self.items_rejected.values()):
            return f"items made {self.items_made} != kept {self.items_kept} + rejected {dict(self.items_rejected)}"
        return None

    def to_json(self) -> str:
        """The footer's text; its last key is a checksum over the others."""
        plain = asdict(self)
        return canonical(plain | {"checksum": digest(canonical(plain))})

    @staticmethod
    def from_json(text: str | bytes) -> Entry:
        """Parse a footer; ValueError when its checksum does not match."""
        plain = json.loads(text)
        checksum = plain.pop("checksum", None)
        if checksum != digest(canonical(plain)):
            raise ValueError("the footer's ledger entry does not match its own checksum")
        plain["files"] = {kind: SideFile(**side) for kind, side in plain["files"].items()}
        return Entry(**plain)


@dataclass(frozen=True)
class Totals:
    """Sums over the shards of one stage; a retried row counts once, by its last outcome."""

    shards: int
    rows_in: int
    rows_kept: int
    rows_rejected: int
    rows_failed: int
    items_made: int
    items_kept: int
    items_rejected: dict[str, int]
    failed: dict[str, int]
    calls: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    seconds: float


def totals(entries: Iterable[Entry]) -> Totals:
    """Add up entries. Rows that a retry shard settled are taken off the failed ones and off the rows in."""
    entries = list(entries)
    settled = sum(len(ids) for e in entries for ids in e.settles.values())
    rejected: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for entry in entries:
        rejected.update(entry.items_rejected)
        failed.update(entry.failed)
        failed.subtract(entry.settled)
    return Totals(
        shards=len(entries),
        rows_in=sum(e.rows_in for e in entries) - settled,
        rows_kept=sum(e.rows_kept for e in entries),
        rows_rejected=sum(e.rows_rejected for e in entries),
        rows_failed=sum(e.rows_failed for e in entries) - settled,
        items_made=sum(e.items_made for e in entries),
        items_kept=sum(e.items_kept for e in entries),
        items_rejected=dict(rejected),
        failed={kind: count for kind, count in failed.items() if count},
        calls=sum(e.calls for e in entries),
        prompt_tokens=sum(e.prompt_tokens for e in entries),
        cached_tokens=sum(e.cached_tokens for e in entries),
        completion_tokens=sum(e.completion_tokens for e in entries),
        seconds=sum(e.seconds for e in entries),
    )


def counts_of(entries: Mapping[int, Entry]) -> dict[int, int]:
    """Rows of each committed part, in order."""
    return {part: entry.items_kept for part, entry in sorted(entries.items())}


def read_entry(stage: Folder, shard: int) -> Entry:
    """The entry in the footer of a committed part; ValueError when the file or its entry is damaged."""
    with stage.open(part_name(shard)) as file:
        try:
            metadata = pq.read_schema(file).metadata or {}
        except pa.ArrowException as error:
            raise ValueError(f"unreadable Parquet footer: {error}") from error
    return entry_in(metadata)


def entry_in(metadata: Mapping[bytes, bytes]) -> Entry:
    """The entry among a footer's key-value pairs; ValueError when it is absent or damaged."""
    if FOOTER not in metadata:
        raise ValueError("the footer has no ledger entry")
    return Entry.from_json(metadata[FOOTER])


def entries_of(run: Folder, stage: Folder, known: Mapping[int, Entry] | None = None) -> dict[int, Entry]:
    """Entries of all committed shards of a stage: from ``known``, then from the cache, then from the footers.

    The listing of the stage's directory decides which shards exist; the cache only saves reading footers.
    """
    shards = committed(stage)
    entries = dict(known or {})
    if any(s not in entries for s in shards):
        entries = read_cache(run, stage) | entries
    return {s: entries[s] if s in entries else read_entry(stage, s) for s in shards}


def write_cache(run: Folder, stage: Folder, entries: Mapping[int, Entry]) -> None:
    """Write ``ledger/<stage directory>.parquet``: a row a shard, readable with any Parquet tool."""
    rows = [
        json.dumps({name: getattr(e, name) for name in _CACHED.names[:-1]} | {"entry": e.to_json()})
        for _, e in sorted(entries.items())
    ]
    if rows:
        # As JSON, because the first Python list that Arrow turns into an array makes it import pandas.
        content = "\n".join(rows).encode()
        whole = pj.ReadOptions(use_threads=False, block_size=len(content) + 1)
        table = pj.read_json(io.BytesIO(content), whole, pj.ParseOptions(explicit_schema=_CACHED))
        out = io.BytesIO()
        pq.write_table(table, out, compression="zstd")
        run.sub("ledger").replace(f"{base(stage)}.parquet", out.getvalue())
    else:
        run.sub("ledger").remove(f"{base(stage)}.parquet")


def read_cache(run: Folder, stage: Folder) -> dict[int, Entry]:
    """Entries in the cache; {} where it is absent or unreadable (the footers are the truth)."""
    try:
        content = run.sub("ledger").read(f"{base(stage)}.parquet")
    except FileNotFoundError:
        return {}
    try:
        texts = pq.read_table(io.BytesIO(content), columns=["entry"])["entry"].to_pylist()
        return {entry.shard: entry for entry in map(Entry.from_json, texts)}
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):  # damaged Parquet is an OSError at times
        return {}
