"""Input rows become seeds: rows with an id, in shards of a fixed number of input rows, in manifest order.

A seed looks like ``{id: "6f0c...", parent_ids: [], text: "...", domain: "luthiers", provenance: null}``. Without
``id_column`` the id is a hash of the text and of how many equal texts came before, so it depends on the input alone.
A row that cannot be a seed is rejected by name, with an id of its own: nothing is dropped. Rows are never Python
objects all at once: memory holds a shard, a chunk, and 8 bytes for every row read so far.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.buffers import bytes_of
from pipelines.errors import UserError
from pipelines.rows import PROVENANCE, RESERVED, VERDICT, beside, digest
from pipelines.store.inputs.repair import as_type, valid_utf8
from pipelines.store.inputs.source import CHUNK_BYTES, CHUNK_ROWS, Chunk
from pipelines.store.manifest import Manifest
from pipelines.store.occurrences import Keys, Occurrences
from pipelines.store.taken import taken

#: Stands for null where ids are hashed; no valid UTF-8 has this byte.
_NULL = b"\xff"


@dataclass(frozen=True)
class SeedShard:
    """The seeds of one shard.

    Attributes:
        index: number of the shard; start_row: its first input row, counted from 0 over all files.
        table: id, parent_ids (empty), the input's columns, provenance (null).
        rejected: row_id, reason, detail, the input's columns.
        rows_in: input rows; those of ``table`` and ``rejected`` together.
    """

    index: int
    start_row: int
    table: pa.Table
    rejected: pa.Table
    rows_in: int


def seed_id(*values: bytes) -> str:
    """Id of the first row whose hashed columns have these values: ``rows.digest`` of their UTF-8."""
    return digest(*values)


def repeat_id(first: str, occurrence: int) -> str:
    """Id of the row that equals the row ``first`` and comes after ``occurrence`` such rows (1 or more)."""
    return digest(first, occurrence)


def seed_tables(manifest: Manifest, *, rows_per_shard: int) -> Iterator[SeedShard]:
    """The seeds of an input, shard by shard; every shard but the last has ``rows_per_shard`` input rows.

    Raises:
        UserError: a file is damaged or no longer as frozen, or two rows have the same value in ``id_column``.
    """
    if rows_per_shard < 1:
        raise ValueError(f"rows_per_shard={rows_per_shard}")
    for index, table in enumerate(_sliced(_judged(manifest), rows_per_shard)):
        yield _shard(manifest, index, index * rows_per_shard, table)


def renamed(manifest: Manifest, taken: Sequence[str] = RESERVED) -> dict[str, str]:
    """Names in the files -> names in a seed: ``input_`` goes before those in ``taken``; ids' own ``id`` has none."""
    columns = [name for name in manifest.schema.names if name != "id" or manifest.id_column != "id"]
    return {name: beside(taken, name, columns) for name in columns}


def _judged(manifest: Manifest) -> Iterator[pa.Table]:
    """Tables of (row_id, reason, detail, the input's columns); the reason is null where the row is a seed."""
    names = ["row_id", "reason", "detail", *renamed(manifest, (*RESERVED, *VERDICT)).values()]
    seen = Occurrences(manifest.rows)
    start = 0
    for chunk in _gathered(taken(manifest)):
        rows = chunk.table.num_rows
        make = _hashed_ids if manifest.id_column is None else _given_ids
        ids, lacking = make(manifest, chunk.table, seen, start)
        reason, detail = _verdict(_blank(chunk.table[manifest.text_column]), lacking, chunk)
        columns = [chunk.table[name] for name in renamed(manifest)]
        judged = pa.table([ids, reason, detail, *columns], names=names)
        yield judged if chunk.stays is None else judged.filter(pa.array(chunk.stays))
        start += rows


def _gathered(chunks: Iterable[Chunk]) -> Iterator[Chunk]:
    """Small chunks joined, so that many small files cost no more than one large."""
    held: list[Chunk] = []
    rows = size = 0
    for chunk in chunks:
        held.append(chunk)
        rows, size = rows + chunk.table.num_rows, size + chunk.table.nbytes
        if rows >= CHUNK_ROWS or size >= CHUNK_BYTES:
            yield _joined(held)
            held, rows, size = [], 0, 0
    if held:
        yield _joined(held)


def _joined(chunks: list[Chunk]) -> Chunk:
    faults: dict[int, tuple[str, str]] = {}
    start = 0
    for chunk in chunks:
        faults.update({start + place: fault for place, fault in chunk.faults.items()})
        start += chunk.table.num_rows
    if all(chunk.stays is None for chunk in chunks):
        stays = None
    else:
        each = (np.ones(one.table.num_rows, np.bool_) if one.stays is None else one.stays for one in chunks)
        stays = np.concatenate(list(each))
    return Chunk(pa.concat_tables(chunk.table for chunk in chunks), faults, stays)


def _verdict(textless: pa.Array, lacking: pa.Array, chunk: Chunk) -> tuple[pa.Array, pa.Array]:
    """Reason and detail of each row; a line that could not be read says so before anything else."""
    none = pa.scalar(None, pa.string())
    reason = pc.if_else(lacking, "no_id", pc.if_else(textless, "empty_text", none))
    detail = pc.if_else(pc.is_valid(reason), "", none)
    if chunk.faults:
        found = [chunk.faults.get(place, (None, None)) for place in range(chunk.table.num_rows)]
        reason = pc.coalesce(pa.array([fault for fault, _ in found], pa.string()), reason)
        detail = pc.coalesce(pa.array([said for _, said in found], pa.string()), detail)
    return reason, detail


def _blank(texts: pa.ChunkedArray) -> pa.Array:
    """Null, empty, or nothing but white space (as Unicode has it)."""
    joined = (pc.fill_null(texts, "") if texts.null_count else texts).combine_chunks()
    return pc.or_(pc.equal(pc.binary_length(joined), 0), pc.utf8_is_space(joined))


def _hashed_ids(manifest: Manifest, table: pa.Table, seen: Occurrences, start: int) -> tuple[pa.Array, pa.Array]:
    """Ids by content and occurrence; no row lacks one."""
    values = [_raw(_strings(table[name])) for name in manifest.id_columns or (manifest.text_column,)]
    hashes = b"".join(_hash(row) for row in zip(*values, strict=True))
    # Should two texts share 64 bits, the later one gets an occurrence too many: still its own id, the same each time.
    numbers = seen.number(np.frombuffer(hashes, np.dtype("<u8"))[::2])
    ids = _hex(hashes)
    again = np.flatnonzero(numbers)
    if again.size:
        repeats = [repeat_id(ids[int(place)].as_py(), int(numbers[place])) for place in again]
        ids = pc.replace_with_mask(ids, pa.array(numbers > 0), pa.array(repeats, pa.string()))
    return ids, pa.repeat(False, table.num_rows)


def _hash(values: Sequence[bytes]) -> bytes:
    """The bytes of ``seed_id``; written out because it runs once a row."""
    parts = [part for value in values for part in (len(value).to_bytes(8, "little"), value)]
    return blake2b(b"".join(parts), digest_size=16).digest()


def _hex(hashes: bytes) -> pa.Array:
    """16-byte hashes as strings of 32 hexadecimal digits, with no Python object a row."""
    count = len(hashes) // 16
    offsets = np.arange(0, 32 * (count + 1), 32, dtype=np.int32)
    return pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(hashes.hex().encode("ascii")))


def _given_ids(manifest: Manifest, table: pa.Table, seen: Occurrences, start: int) -> tuple[pa.Array, pa.Array]:
    """Ids from ``id_column``, and which rows lack one: those are named by their place."""
    from pipelines.kernels import text_hashes

    given = _strings(table[manifest.id_column]).combine_chunks()
    lacking = _blank(pa.chunked_array([given]))
    present = np.flatnonzero(~lacking.to_numpy(zero_copy_only=False))
    keys: Keys = text_hashes(*bytes_of(given.take(pa.array(present))))
    for place in np.flatnonzero(seen.number(keys)):
        _require_new(manifest, given[int(present[place])].as_py(), start + int(present[place]))
    if len(present) == len(given):
        return given, lacking
    missing = [digest("row", start + int(place)) for place in np.flatnonzero(lacking.to_numpy(zero_copy_only=False))]
    return pc.replace_with_mask(given, lacking, pa.array(missing, pa.string())), lacking


def _require_new(manifest: Manifest, value: str, row: int) -> None:
    """Read the ids again up to ``row``, since equal 64-bit hashes only suggest that its id came before."""
    start = 0
    for chunk in taken(manifest):
        first = pc.index(_strings(chunk.table[manifest.id_column]), value).as_py()
        if first >= 0 and start + first < row:
            raise UserError(
                f"id_column={manifest.id_column}: rows {start + first + 1:,} and {row + 1:,} of the input both have "
                f"{value!r}; make them differ, or leave out id_column (ids are then hashes of the text)"
            )
        start += chunk.table.num_rows
        if start > row:
            return


def _strings(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column if pa.types.is_string(column.type) else valid_utf8(as_type(column, pa.string()))


def _raw(texts: pa.Array | pa.ChunkedArray) -> list[bytes]:
    return pc.fill_null(texts.cast(pa.binary()), _NULL).to_pylist()  # type: ignore[no-any-return]


def _sliced(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """The same rows in tables of ``rows``, but for the last."""
    held: list[pa.Table] = []
    count = 0
    for table in tables:
        start = 0
        while table.num_rows - start >= rows - count:
            held.append(table.slice(start, rows - count))
            yield pa.concat_tables(held)
            start += rows - count
            held, count = [], 0
        held.append(table.slice(start))
        count += table.num_rows - start
    if count:
        yield pa.concat_tables(held)


def _shard(manifest: Manifest, index: int, start: int, judged: pa.Table) -> SeedShard:
    kept = judged.filter(pc.is_null(judged["reason"])) if judged["reason"].null_count < judged.num_rows else judged
    rejected = judged.filter(pc.is_valid(judged["reason"]))
    offsets = pa.array(np.zeros(kept.num_rows + 1, np.int32))
    columns = {
        "id": kept["row_id"],
        "parent_ids": pa.ListArray.from_arrays(offsets, pa.array([], pa.string())),
        **dict(zip(renamed(manifest).values(), kept.columns[len(VERDICT) :], strict=True)),
        "provenance": pa.nulls(kept.num_rows, PROVENANCE),
    }
    return SeedShard(index, start, pa.table(columns), rejected, judged.num_rows)
