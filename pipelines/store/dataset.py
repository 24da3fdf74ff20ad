"""Datasets as directories of committed parts, and shards as fixed slices of them.

A stage's directory holds ``part-00000.parquet ...``, one a committed shard; which shards there are its plan says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.errors import Damaged
from pipelines.store.files import Folder, folder
from pipelines.store.held import forget, held
from pipelines.store.record import parsed

_PART = re.compile(r"^part-(\d{5,})\.parquet$")


@contextmanager
def named(file: str) -> Iterator[None]:
    """Trouble with what a file holds, or that it is missing, as Damaged; trouble with where it lies stays as it is."""
    try:
        yield
    except FileNotFoundError as error:
        raise Damaged(f"{file} is missing") from error
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = str(error).strip().splitlines()[0]
        raise Damaged(
            f"{file} is damaged ({reason}); a part that is deleted is made again by the same command"
        ) from error


def part_name(index: int) -> str:
    """File name of the kept part of shard ``index``."""
    return f"part-{index:05d}.parquet"


def committed(stage: Folder) -> list[int]:
    """Indexes of the shards that are committed in a stage's directory: one listing, no file is opened."""
    return sorted(int(m.group(1)) for m in map(_PART.match, stage.names()) if m)


@dataclass(frozen=True, slots=True)
class Shard:
    """A fixed slice of a stage's input.

    ``slices`` are (input part, first row, row after the last). ``ids`` is None for the whole slice; a retry shard names
    the rows it takes up again, ``settles`` in which shard's quarantine each waits, ``kinds`` for which errors.
    """

    index: int
    slices: tuple[tuple[int, int, int], ...]
    rows: int
    ids: tuple[str, ...] | None = None
    settles: tuple[tuple[int, tuple[str, ...]], ...] = ()
    kinds: tuple[tuple[str, int], ...] = ()

    def to_json(self) -> dict[str, Any]:
        plain: dict[str, Any] = {"index": self.index, "slices": [list(s) for s in self.slices], "rows": self.rows}
        if self.ids is not None:
            plain["ids"] = list(self.ids)
            plain["settles"] = [[shard, list(ids)] for shard, ids in self.settles]
            plain["kinds"] = [list(kind) for kind in self.kinds]
        return plain

    @staticmethod
    def from_json(plain: dict[str, Any]) -> Shard:
        return Shard(
            index=plain["index"],
            slices=tuple((part, start, stop) for part, start, stop in plain["slices"]),
            rows=plain["rows"],
            ids=tuple(plain["ids"]) if "ids" in plain else None,
            settles=tuple((shard, tuple(ids)) for shard, ids in plain.get("settles", ())),
            kinds=tuple((kind, count) for kind, count in plain.get("kinds", ())),
        )


@dataclass(frozen=True)
class Dataset:
    """The committed parts of one stage, in shard order."""

    folder: Folder
    parts: tuple[int, ...]
    counts: tuple[int, ...]

    @staticmethod
    def of(stage: Folder, counts: dict[int, int]) -> Dataset:
        """The dataset of a stage whose parts have ``counts`` rows (from its ledger)."""
        parts = tuple(sorted(counts))
        return Dataset(stage, parts, tuple(counts[p] for p in parts))

    @property
    def rows(self) -> int:
        return sum(self.counts)

    @property
    def origin(self) -> str:
        """The id of the run whose stage this is: wherever its directory is moved, it stays the same."""
        run = folder(self.folder.url.rsplit("/", 2)[0])
        return str(parsed("stages.json", run.read("stages.json"))["run"])

    @property
    def schema(self) -> pa.Schema:
        """Columns of the parts; every part of a stage has the same."""
        with named(f"{self.folder.url}/{part_name(self.parts[0])}"), self.folder.open(part_name(self.parts[0])) as file:
            return pq.read_schema(file).remove_metadata()

    @property
    def files(self) -> tuple[str, ...]:
        """Where each part lies."""
        return tuple(f"{self.folder.url}/{part_name(part)}" for part in self.parts)

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """One table a part, in order."""
        for part in self.parts:
            yield read_part(self.folder, part, columns)

    def cut(self, rows: int) -> list[Dataset]:
        """The same rows in order, in datasets of whole parts, of about ``rows`` each."""
        cut: list[dict[int, int]] = [{}]
        for part, count in zip(self.parts, self.counts, strict=True):
            if cut[-1] and sum(cut[-1].values()) + count > rows:
                cut.append({})
            cut[-1][part] = count
        return [Dataset.of(self.folder, counts) for counts in cut]


@dataclass(frozen=True)
class Datasets:
    """Datasets of one run, one after another."""

    each: tuple[Dataset, ...]

    @property
    def rows(self) -> int:
        return sum(one.rows for one in self.each)

    @property
    def origin(self) -> str:
        """The id of the run."""
        return self.each[0].origin

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """One table a part, in order."""
        for one in self.each:
            yield from one.batches(columns)

    @property
    def files(self) -> tuple[str, ...]:
        """Where each part lies."""
        return tuple(file for one in self.each for file in one.files)

    def cut(self, rows: int) -> list[Dataset]:
        """The same rows in order, in datasets of whole parts, of about ``rows`` each."""
        return [some for one in self.each for some in one.cut(rows)]


def rows_of(stage: Folder, part: int) -> int:
    """Rows of a part, from its footer."""
    with named(f"{stage.url}/{part_name(part)}"), stage.open(part_name(part)) as file:
        return int(pq.read_metadata(file).num_rows)


def read_part(stage: Folder, part: int, columns: Sequence[str] | None = None) -> pa.Table:
    """A committed part (or some of its columns) as a table; page checksums are verified."""
    if (table := held(stage.url, part, columns)) is not None:
        return table
    with named(f"{stage.url}/{part_name(part)}"), stage.open(part_name(part)) as file:
        table = pq.ParquetFile(file, page_checksum_verification=True).read(columns=list(columns) if columns else None)
    return table.replace_schema_metadata(None)


def read_slice(stage: Folder, part: int, start: int, stop: int, columns: Sequence[str] | None = None) -> pa.Table:
    """Rows ``start`` to ``stop`` (not included) of a part; only the row groups that hold them are read."""
    if (table := held(stage.url, part, columns)) is not None:
        return table.slice(start, stop - start)
    with named(f"{stage.url}/{part_name(part)}"), stage.open(part_name(part)) as file:
        parquet = pq.ParquetFile(file, page_checksum_verification=True)
        groups: list[int] = []
        first = before = 0
        for group in range(parquet.num_row_groups):
            after = before + parquet.metadata.row_group(group).num_rows
            if before < stop and after > start:
                first = first if groups else before
                groups.append(group)
            before = after
        # An empty list of row groups reads an empty table of the right schema.
        table = parquet.read_row_groups(groups, columns=list(columns) if columns else None)
    return table.slice(start - first, stop - start).replace_schema_metadata(None)


def read_shard(source: Folder, shard: Shard, columns: Sequence[str] | None = None) -> pa.Table:
    """The input rows of a shard, in input order; of a retry shard, only the rows that it names.

    ``columns``, if given, include ``id``.
    """
    table = pa.concat_tables([read_slice(source, *slice_, columns) for slice_ in shard.slices]).combine_chunks()
    forget(source.url, *(part for part, _, _ in shard.slices))
    if shard.ids is not None:
        table = table.filter(pc.is_in(table["id"], value_set=pa.array(shard.ids, pa.string())))
    return table
