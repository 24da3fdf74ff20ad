"""A miniature run: seeds -> personas -> quality -> minhash, made by the real stage functions, without Ray.

The engine is scripted, so that every fate of a row occurs once: kept, rejected by a rule, cut, failed, a duplicate.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import publish
from pipelines.errors import CallFailed
from pipelines.recipe import recorded, stages_of
from pipelines.rows import Answer
from pipelines.stages.actor import ShardActor
from pipelines.stages.execute import decide_stage, pending, settle_plan, settle_retries
from pipelines.stages.flow import flow_work
from pipelines.stages.ingest import ingest, settle_seeds
from pipelines.stages.stage import Job, Stage
from pipelines.store.commit import commit
from pipelines.store.dataset import Dataset, Shard, read_shard
from pipelines.store.files import Folder, folder
from pipelines.store.freeze import freeze
from pipelines.store.ledger import entries_of, write_cache
from pipelines.store.record import write_record
from pipelines.store.survey import base

#: What the scripted model says of a seed's text; a text that is not here is its own answer.
ANSWERS = {
    "strings": "A luthier who restores baroque lutes and teaches her craft to apprentices",
    "strings again": "A luthier who restores baroque lutes and teaches her craft to apprentices.",
    "barometers": "\x1b[31mA lighthouse keeper who repairs [bold]barometers[/bold] on stormy coasts",
    "short": "A nurse",
    "long": "A botanist who ...",
}


class Scripted:
    """An engine that answers from ANSWERS and whose calls fail for the text ``breaks``."""

    def __init__(self) -> None:
        self.working = False

    def alive(self):
        return True

    async def generate(self, request):
        await asyncio.sleep(0)
        text = str(request.prompt.fields["text"])
        if text == "breaks" and not self.working:
            raise CallFailed("HTTP 500 after 6 tries")
        answer = ANSWERS.get(text, f"A writer of {text} who lives by the sea")
        finish = "length" if answer.endswith("...") else "stop"
        prompt = request.prompt
        sampling = {"temperature": request.sampling.temperature, "max_tokens": request.sampling.max_tokens}
        return [
            Answer(answer, finish, 40, 12, request.seed, 0, None, prompt.prompt_id, prompt.prompt_hash, False, sampling)
        ]


def config_of(output: str, **io: Any) -> dict[str, Any]:
    """A composed configuration, written out."""
    flow = "pipelines.flows.persona_hub.text_to_persona"
    stages = {
        "personas": {
            "flow": {
                "_target_": flow,
                "text_column": "text",
                "relations": ["read"],
                "granularity": "fine",
                "personas_per_text": 1,
            },
            "columns": {"persona": "string", "relation": "string", "granularity": "string"},
        },
        "quality": {
            "filters": {
                "too_short": {"_target_": "pipelines.filters.persona.fewer_words", "column": "persona", "than": 3}
            }
        },
        "minhash": {
            "dedup": {
                "_target_": "pipelines.dedup.minhash.find",
                "text_column": "persona",
                "normalise": ["lowercase", "strip_punctuation"],
            }
        },
    }
    prompt = {"name": "test", "system": "", "templates": {"persona": "Who would {{ relation }} this?\n{{ text }}"}}
    return {
        "output": output,
        "seed": 7,
        "recipe": {
            "name": "text_to_persona",
            "overlong": "trim",
            "result": None,
            "report": None,
            "stages": stages,
        },
        "model": {"name": "tiny", "weights": "none/tiny", "revision": "abc"},
        "engine": {"kind": "scripted"},
        "sampling": {"temperature": 0.7, "max_tokens": 64, "stop": []},
        "prompt": prompt,
        "io": {"shard_rows": 3, "bulk_rows": 5, "rows_per_file": 4, "keep_calls": True, **io},
    }


@dataclass
class Mini:
    """A run that goes stage by stage; ``until`` the stage before which it stops."""

    place: Folder
    config: dict[str, Any]
    stages: list[Stage]
    manifest: Any
    engine: Scripted = field(default_factory=Scripted)
    made: dict[str, Any] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return self.place.url

    def go(self, until: str = "", shards: Callable[[Shard], bool] = lambda _: True, retry: bool = False) -> Mini:
        """Work on every pending shard that ``shards`` admits, then publish unless stopped before."""
        dataset = self._seeds()
        for stage in self.stages[1:]:
            if stage.name == until:
                return self
            dataset = self._stage(stage, dataset, shards, retry)
        # No Ray: in this process.
        publish.publish(self.place, self.config, self.made, lambda function, *arguments: function(*arguments))
        return self

    def ids(self, stage: str, column: str = "id", side: str = "") -> list[str]:
        """A column of the committed parts of a stage, or of their side files."""
        where = Path(self.made[stage][1].url, side)
        tables = [pq.read_table(path, columns=[column]) for path in sorted(where.glob("part-*.parquet"))]
        return pa.concat_tables(tables)[column].to_pylist() if tables else []

    def _seeds(self) -> Dataset:
        stage = self.stages[0]
        target = self.place.sub("stages").sub(stage.folder())
        rows = self.config["io"]["bulk_rows"]
        settle_seeds(target, self.manifest.rows, rows)
        list(ingest(self.manifest.to_json(), target.url, stage.fingerprint, rows))
        return self._finished(stage, target)

    def _stage(self, stage: Stage, source: Dataset, shards: Callable[[Shard], bool], retry: bool) -> Dataset:
        rows = self.config["io"]["shard_rows" if stage.kind == "flow" else "bulk_rows"]
        target, plan = settle_plan(self.place.sub("stages"), stage, source, rows)
        if retry:
            plan, _ = settle_retries(target, plan, source.folder, entries_of(self.place, target), rows)
        if stage.kind == "dedup":
            counts = dict(zip(source.parts, source.counts, strict=True))
            decide_stage(target.url, source.folder.url, counts, stage)
        job = Job(self.url, stage, base(source.folder), base(target), self.config)
        write_cache(self.place, target, entries_of(self.place, target))
        for shard in pending(plan, entries_of(self.place, target)):
            if shards(shard):
                asyncio.run(self._shard(job, target, source, shard))
        return self._finished(stage, target)

    async def _shard(self, job: Job, target: Folder, source: Dataset, shard: Shard) -> None:
        if job.stage.kind != "flow":
            await ShardActor().work(job, shard.to_json())
            return
        work = flow_work(self.config, job.stage, self.engine, asyncio.Semaphore(8))
        commit(target, await work.run(shard, read_shard(source.folder, shard)))

    def _finished(self, stage: Stage, target: Folder) -> Dataset:
        entries = entries_of(self.place, target)
        write_cache(self.place, target, entries)
        self.made[stage.name] = (stage, target, entries)
        return Dataset.of(target, {shard: entry.items_kept for shard, entry in entries.items()})


TEXTS = ["strings", "short", "barometers", "breaks", "long", "strings again", "", "maps"]


@pytest.fixture
def begin(tmp_path):
    """Start a miniature run over some texts; ``begin(...).go()`` carries it out."""

    def start(texts=TEXTS, id_column=None, names=None, output=None, **io) -> Mini:
        seeds = tmp_path / "seeds.parquet"
        columns = {"text": texts, "domain": ["test"] * len(texts)} | ({"name": names} if names else {})
        pq.write_table(pa.table(columns), seeds)
        config = config_of(output or str(tmp_path / "run"), **io)
        place = folder(config["output"])
        manifest = freeze(str(seeds), text_column="text", id_column=id_column)
        stages = stages_of(config, manifest.fingerprint)
        write_record(place, "manifest.json", manifest.to_json())
        write_record(place, "stages.json", {"recipe": config["recipe"]["name"], "stages": recorded(stages)})
        write_record(place, "config.yaml", config)
        return Mini(place, config, stages, manifest)

    return start


@pytest.fixture
def run(begin) -> Mini:
    """A finished miniature run: 8 rows in; 1 no seed, 1 failed, 1 cut, 1 too short, 1 duplicate, 3 in data/."""
    return begin().go()


@pytest.fixture
def shown():
    """What a terminal of 160 columns shows of a rendering."""
    from rich.console import Console

    def show(renderable) -> str:
        console = Console(width=160, force_terminal=False, no_color=True)
        with console.capture() as capture:
            console.print(renderable)
        return capture.get()

    return show
