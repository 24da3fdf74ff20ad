"""An earlier run that ``dedup.against`` names: whether it is finished, what it kept, and the vectors it made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.errors import UserError
from pipelines.names import StageName
from pipelines.store.dataset import Dataset, Datasets, committed, rows_of
from pipelines.store.decisions import VECTORS
from pipelines.store.files import Folder, folder
from pipelines.store.lease import holder
from pipelines.store.record import read_record
from pipelines.store.survey import finished, stage_records, survey


@dataclass(frozen=True)
class Earlier:
    """A finished run: its directory, its id, and a word for what it kept."""

    place: Folder
    run: str
    state: str

    @property
    def kept(self) -> Dataset:
        """The rows in its ``data/``."""
        data = self.place.sub("data")
        return Dataset.of(data, {part: rows_of(data, part) for part in committed(data)})

    def text_column(self, ours: str) -> str:
        """The column of its rows that is compared: ``ours``, or where they have none, what it was deduplicated by.

        Raises:
            UserError: its rows have neither.
        """
        columns = list(read_record(self.place, "metadata.json")["columns"])
        stages = read_record(self.place, "config.yaml")["recipe"]["stages"]
        nodes = (_node(stages, record.name).get("dedup", {}) for record in stage_records(self.place))
        theirs = [node["text_column"] for node in nodes if "text_column" in node]
        for name in (ours, *reversed(theirs)):
            if name in columns:
                return str(name)
        raise UserError(
            f"dedup.against={self.place.url}: the rows of the run there have no column {ours}, and it compared none; "
            f"they have {', '.join(columns)}; name a run that has one, or rename yours"
        )

    def vectors(self, knobs: Mapping[str, Any]) -> Datasets | None:
        """The vectors that stages of it made with these knobs, in whichever hop or round; None where none did."""
        stages = read_record(self.place, "config.yaml")["recipe"]["stages"]
        found: list[Dataset] = []
        for record in stage_records(self.place):
            node = _node(stages, record.name).get("dedup", {})
            made = record.folder.sub(VECTORS)
            if all(name in node and node[name] == value for name, value in knobs.items()) and (
                parts := committed(made)
            ):
                found.append(Dataset.of(made, dict.fromkeys(parts, 0)))
        return Datasets(tuple(found)) if found else None


def _node(stages: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The settings of a stage that a run calls ``name``."""
    called = StageName.read(name)
    node: Mapping[str, Any] = (stages[called.block]["stages"] if called.block else stages).get(called.own, {})
    return node


def earlier(against: str, run: str) -> Earlier | None:
    """The run that ``against`` is the directory of; None for an index of its own, and for the run itself.

    Raises:
        UserError: it has not reached its end.
    """
    place = folder(against)
    if "manifest.json" not in place.names() or (theirs := read_record(place, "stages.json")["run"]) == run:
        return None
    if holder(place) is not None or not finished(place, survey(place)):
        raise UserError(f"dedup.against={against}: the run there is not finished; run it to its end first")
    return Earlier(place, theirs, read_record(place, "metadata.json")["state"])
