"""Find a row in a run's files by its id, and the shards that took it up or that it came from.

An id is born in the seeds stage or in a flow stage, as a kept row or a rejected one, so only their id columns are
scanned, a shard at a time, until it is found. From there the frozen plans lead from shard to shard without any search.
No dataset is ever loaded: what is read besides id columns are the row groups that hold the row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.errors import UserError
from pipelines.rows import python_rows
from pipelines.store.dataset import Shard, part_name, read_part, read_slice
from pipelines.store.files import Folder
from pipelines.store.survey import StageNow

#: Fewer characters of an id are no prefix that anyone means.
SHORTEST_PREFIX = 6
#: Ids that a message lists.
_LISTED = 5


@dataclass(frozen=True, slots=True)
class Home:
    """Where an id was born: the place of the stage in the run, the shard, and whether its row was kept."""

    stage: int
    shard: int
    id: str
    kept: bool


def find(stages: Sequence[StageNow], wanted: str) -> Home:
    """The home of an id, given whole or as a prefix that no other id has.

    Raises:
        UserError: no such id, or several begin so; the message lists ids near to it and says where ids are found.
    """
    matches: list[Home] = []
    near: list[str] = []
    for home, ids in _id_columns(stages):
        if pc.index(ids, wanted).as_py() >= 0:
            return Home(home.stage, home.shard, wanted, home.kept)
        if len(wanted) < SHORTEST_PREFIX:
            continue
        begin_so = ids.filter(pc.starts_with(ids, wanted)).slice(0, _LISTED).to_pylist()
        matches += [Home(home.stage, home.shard, id_, home.kept) for id_ in begin_so[: _LISTED - len(matches)]]
        if not matches and len(near) < _LISTED:
            near += ids.filter(pc.starts_with(ids, wanted[:SHORTEST_PREFIX])).slice(0, _LISTED - len(near)).to_pylist()
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise UserError(f"{wanted}: several ids begin so ({', '.join(m.id for m in matches)} ...); give more of it")
    raise UserError(f"{wanted}: {_why_not(wanted, near)}")


def _why_not(wanted: str, near: list[str]) -> str:
    where = "ids are in the column id of data/ and removed/, and row_id of stages/*/rejected/ and failed/"
    if near:
        return f"no row of this run has that id; near to it: {', '.join(near)}; {where}"
    if len(wanted) < SHORTEST_PREFIX:
        return f"no row of this run has that id, and a prefix needs at least {SHORTEST_PREFIX} characters; {where}"
    return f"no row of this run has that id, and none begins so; {where}"


def _id_columns(stages: Sequence[StageNow]) -> Iterator[tuple[Home, pa.ChunkedArray]]:
    """Id columns of the stages where ids are born, the last stage first; kept rows before rejected ones."""
    born = [place for place, stage in enumerate(stages) if stage.record.kind in ("seeds", "rows", "flow")]
    for place in reversed(born):
        folder, entries = stages[place].record.folder, stages[place].entries
        for shard in entries:
            yield Home(place, shard, "", kept=True), read_part(folder, shard, ["id"])["id"]
        for shard, entry in entries.items():
            if file := entry.files.get("rejected"):
                with folder.sub("rejected").open(file.name) as opened:
                    parquet = pq.ParquetFile(opened)
                    column = id_column(parquet.schema_arrow)
                    yield Home(place, shard, "", kept=False), parquet.read(columns=[column])[column]


def id_column(schema: pa.Schema) -> str:
    """The column of a ``rejected/`` file that holds an item's own id: a rejected seed is the row itself."""
    return "id" if "id" in schema.names else "row_id"


def record_of(stages: Sequence[StageNow], home: Home) -> dict[str, Any]:
    """All columns of the row at its home."""
    stage = stages[home.stage]
    if home.kept:
        return rows_where(stage.record.folder, part_name(home.shard), "id", home.id)[0]
    side = stage.record.folder.sub("rejected")
    name = stage.entries[home.shard].files["rejected"].name
    with side.open(name) as opened:
        column = id_column(pq.read_schema(opened))
    return rows_where(side, name, column, home.id)[0]


def side_rows(stage: StageNow, shard: int, side: str, row_id: str) -> list[dict[str, Any]]:
    """What a side file of a committed shard (rejected, failed or calls) says of one input row."""
    file = stage.entries[shard].files.get(side)
    return rows_where(stage.record.folder.sub(side), file.name, "row_id", row_id) if file else []


def rows_where(folder: Folder, name: str, column: str, value: str) -> list[dict[str, Any]]:
    """Rows of a file whose ``column`` (for a list: its first element) is ``value``; other row groups stay unread."""
    found: list[dict[str, Any]] = []
    with folder.open(name) as opened:
        parquet = pq.ParquetFile(opened)
        for group in range(parquet.num_row_groups):
            if pc.index(_keys(parquet.read_row_group(group, columns=[column]), column), value).as_py() >= 0:
                table = parquet.read_row_group(group)
                found += python_rows(table.filter(pc.equal(_keys(table, column), value)))
    return found


def _keys(table: pa.Table, column: str) -> pa.ChunkedArray:
    keys = table[column]
    return pc.list_element(keys, 0) if pa.types.is_list(keys.type) else keys


def place_in_part(stage: StageNow, part: int, id_: str) -> int:
    """Which row of a kept part has this id; -1 when none has."""
    return int(pc.index(read_part(stage.record.folder, part, ["id"])["id"], id_).as_py())


def takers(stage: StageNow, part: int, row: int, id_: str) -> list[Shard]:
    """Shards of ``stage`` that have row ``row`` of input part ``part`` in their slice, retries after first tries."""
    shards = stage.plan.shards if stage.plan else ()
    return [
        shard
        for shard in shards
        if any(number == part and start <= row < stop for number, start, stop in shard.slices)
        and (shard.ids is None or id_ in shard.ids)
    ]


def home_of_input(stages: Sequence[StageNow], stage: int, shard: int, row_id: str) -> Home | None:
    """The home of a row that a shard of ``stage`` read: back through stages that pass rows on, to where it was born."""
    while stage > 0:
        plan = stages[stage].plan
        place = stages[stage].record.source
        source = stages[place]
        slices = plan.shards[shard].slices if plan else ()
        held = (p for p, start, stop in slices if _holds(source.record.folder, p, start, stop, row_id))
        part = next(held, None)
        if part is None:
            return None
        if source.record.kind in ("seeds", "rows", "flow"):
            return Home(place, part, row_id, kept=True)
        stage, shard = place, part
    return None


def _holds(folder: Folder, part: int, start: int, stop: int, id_: str) -> bool:
    return bool(pc.index(read_slice(folder, part, start, stop, ["id"])["id"], id_).as_py() >= 0)
