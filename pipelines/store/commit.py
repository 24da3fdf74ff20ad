"""How a shard commits: its side files first, its kept part last, published if and only if nobody was first.

The kept part's footer carries the ledger entry, the attempt's id and the checksums of the attempt's side files
(``rejected/``, ``failed/``, ``calls/``), and a seal: the checksum of the part itself. The first complete attempt under
a stage's fingerprint IS the commit, whoever wrote it; a side file whose attempt no footer names does not exist for any
reader.
"""

from __future__ import annotations

import hashlib
import io
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.errors import Damaged
from pipelines.store.dataset import named, part_name
from pipelines.store.files import Folder
from pipelines.store.held import hold
from pipelines.store.ledger import FOOTER, Entry, SideFile, read_entry

#: Folders beside the kept parts, in the order in which they are written.
SIDES = ("calls", "rejected", "failed")

#: Bytes of a row group in memory, about, and the rows between which it stays: the least that is read of a part.
GROUP_BYTES, GROUP_ROWS = 2 << 20, (1024, 16_384)

#: Footer key of the checksum over all other bytes of a file: pages, statistics and the footer itself.
SEAL = b"nightmill.seal"
_UNSEALED = b"0" * 32


@dataclass(frozen=True)
class Outcome:
    """What became of one shard: the kept items, the side tables by folder name, and the entry that accounts for them.

    The entry's ``files`` are filled in by ``commit``.
    """

    kept: pa.Table
    entry: Entry
    sides: Mapping[str, pa.Table] = field(default_factory=dict)


def new_attempt() -> str:
    """A fresh attempt id."""
    return uuid.uuid4().hex[:16]


def commit(stage: Folder, outcome: Outcome) -> Entry:
    """Publish a shard and return the entry that counts: ours, or that of the attempt that was first.

    Raises:
        ValueError: the entry does not balance; nothing is written then.
        OSError: the disk is full or the store refused; the shard is then not committed and nothing partial is visible.
    """
    entry = outcome.entry
    defect = entry.balanced()
    if defect is None and outcome.kept.num_rows != entry.items_kept:
        defect = f"items kept {entry.items_kept} != {outcome.kept.num_rows} rows of the kept part"
    if defect is not None:
        raise ValueError(f"stage {entry.stage} shard {entry.shard}: {defect}")
    files: dict[str, SideFile] = {}
    for side in SIDES:
        table = outcome.sides.get(side)
        if table is None or table.num_rows == 0:
            continue
        name = f"part-{entry.shard:05d}.{entry.attempt}.parquet"
        content = to_parquet(table)
        stage.sub(side).create(name, content)
        files[side] = SideFile(name, table.num_rows, len(content), checksum(content))
    entry = replace(entry, files=files)
    kept = outcome.kept.replace_schema_metadata({FOOTER: entry.to_json().encode()})
    content = to_parquet(kept)
    if stage.create(part_name(entry.shard), content):
        hold(stage.url, entry.shard, kept, pq.read_schema(pa.BufferReader(content)))
        return entry
    for side, file in files.items():
        stage.sub(side).remove(file.name)
    return read_entry(stage, entry.shard)


def read_side(stage: Folder, entry: Entry, side: str) -> pa.Table | None:
    """A side table of a committed shard, or None where the shard has none.

    Raises:
        Damaged: the file is missing or is not the one whose checksum the footer carries.
    """
    if side not in entry.files:
        return None
    file = entry.files[side]
    try:
        content = stage.sub(side).read(file.name)
    except FileNotFoundError as error:
        raise Damaged(f"{stage.url}/{side}/{file.name} is missing") from error
    if checksum(content) != file.checksum:
        raise Damaged(
            f"{stage.url}/{side}/{file.name} has not the checksum that the footer of shard {entry.shard} names"
        )
    return pq.read_table(io.BytesIO(content))


def to_parquet(table: pa.Table) -> memoryview:
    """A table as a sealed Parquet file in memory: zstd, with page checksums.

    A table without rows becomes a file without row groups: `datasets` cannot load one whose first row group is empty.
    """
    out = pa.BufferOutputStream()
    mark = uuid.uuid4().hex.encode()
    with pq.ParquetWriter(
        out,
        table.schema,
        compression="zstd",
        compression_level=1,
        write_page_checksum=True,
        use_dictionary=_repetitive(table),
    ) as writer:
        if table.num_rows:
            low, high = GROUP_ROWS
            filled = sum(column.nbytes for column in table.columns if column.null_count < len(column))
            fitting = GROUP_BYTES * table.num_rows // max(1, filled)
            writer.write_table(table, row_group_size=max(low, min(high, fitting)))
        # A value as long as the checksum that takes its place once all other bytes are known.
        writer.add_key_value_metadata({SEAL: mark})
    # Written where it stands: a copy of a large part takes a fifth of the time in which it is packed.
    content = memoryview(out.getvalue()).cast("B")
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    begin = footer + bytes(content[footer:]).rindex(mark)
    end = begin + len(mark)
    content[begin:end] = checksum(content[:begin], _UNSEALED, content[end:]).encode()
    return content


def _repetitive(table: pa.Table) -> list[str]:
    """Paths of the columns that a dictionary may save; it is tried in vain on ids and long texts, which takes time."""
    head = table.slice(0, 1024)
    paths: list[str] = []
    for column in table.schema:
        unlike = pa.types.is_string(column.type) and 2 * pc.count_distinct(head[column.name]).as_py() > head.num_rows
        paths += [] if unlike else _paths(column.name, column.type)
    return paths


def _paths(name: str, kind: pa.DataType) -> list[str]:
    """Parquet's paths of the leaves of a column."""
    if pa.types.is_struct(kind):
        return [path for child in kind for path in _paths(f"{name}.{child.name}", child.type)]
    if pa.types.is_map(kind):
        parts = (("key", kind.key_type), ("value", kind.item_type))
        return [path for part, type_ in parts for path in _paths(f"{name}.key_value.{part}", type_)]
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _paths(f"{name}.list.element", kind.value_type)
    return [name]


def read_sealed(place: Folder, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """A file that ``to_parquet`` made (or some of its columns), with its footer's key-value pairs as schema metadata.

    Raises:
        Damaged: it is missing, or a byte of it is not as it was written.
    """
    with named(f"{place.url}/{name}"):
        content = place.read(name)
        parquet = pq.ParquetFile(pa.BufferReader(content))
        seal = (parquet.metadata.metadata or {}).get(SEAL, b"")
        before, found, after = content.rpartition(seal) if seal else (b"", b"", b"")
        if not found or checksum(before, _UNSEALED, after).encode() != seal:
            raise Damaged(f"{place.url}/{name} has not the checksum that its own footer carries")
        return parquet.read(columns=list(columns) if columns else None)


def checksum(*pieces: bytes | memoryview) -> str:
    """BLAKE2b of a file's bytes, given in one or more pieces; 32 hexadecimal digits."""
    sum_ = hashlib.blake2b(digest_size=16)
    for piece in pieces:
        sum_.update(piece)
    return sum_.hexdigest()
