"""Run a flow over the rows of one shard, and account for every row and every item.

All rows of a shard run at once, each as one coroutine, under the actor's bound on rows in flight. A row whose flow
raises waits in quarantine with the exact request; an engine's death is not a row's failure and escapes.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from itertools import count
from typing import Any

import pyarrow as pa

from pipelines.bound import bind
from pipelines.engine.llm import LLM, Engine, Sampling
from pipelines.engine.row import RowLLM
from pipelines.errors import EngineDead, RowFailed
from pipelines.prompts import PromptSet
from pipelines.rows import Item, Row, item_id, python_rows
from pipelines.stages.account import ItemColumns, RowDone, calls_table, checked, failed_table, failure, fits
from pipelines.stages.stage import Stage
from pipelines.store.commit import Outcome, new_attempt
from pipelines.store.dataset import Shard
from pipelines.store.ledger import Entry

Flow = Callable[[Row, LLM, PromptSet], Awaitable[Sequence[Item]]]


@dataclass(frozen=True)
class FlowWork:
    """A flow bound to its knobs, with all that its rows share.

    ``rows_in_flight`` bounds the rows of all shards of one actor together, each of several samples of a row counted;
    ``progress`` counts finished rows live; ``ranks`` has a row's calls go before those of rows that began later.
    """

    stage: str
    fingerprint: str
    recipe: str
    flow: Flow
    prompts: PromptSet
    columns: Mapping[str, str]
    engine: Engine
    engine_kind: str
    model: str
    revision: str | None
    sampling: Sampling
    seed: int
    overlong: str
    keep_calls: bool
    rows_in_flight: asyncio.Semaphore
    progress: Counter[str] = field(default_factory=Counter)
    ranks: Iterator[int] = field(default_factory=count)
    draw: int = 0
    draws: int = 1

    async def run(self, shard: Shard, table: pa.Table) -> Outcome:
        """Run every row of ``table`` (the shard's input) and return what became of it.

        Raises:
            EngineDead: the engine is gone; nothing of the shard counts.
        """
        started = time.monotonic()
        attempt = new_attempt()
        rows = python_rows(table)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._row(row)) for row in rows]
        done = [task.result() for task in tasks]
        return self._outcome(shard, attempt, done, started)

    async def _row(self, row: Row) -> RowDone:
        llms = [self._llm(row, draw) for draw in range(self.draw, self.draw + self.draws)]
        try:
            items = await _together([self._sample(row, llm) for llm in llms], self._shown(row))
        except EngineDead:
            raise
        except Exception as error:
            # Inside a group of errors, or instead of one that the flow caught: a dead engine is no row's failure.
            if not self.engine.alive():
                raise EngineDead(f"the engine died while row {row['id']} was under way") from error
            self.progress["failed"] += 1
            return RowDone(row["id"], [], [call for llm in llms for call in llm.calls], error, self._shown(row))
        self.progress["rows"] += 1
        self.progress["kept"] += sum(1 for item in items if item.reason is None)
        # A flow that returns nothing must still leave a trace: rows in = kept + rejected + failed.
        calls = [call for llm in llms for call in llm.calls]
        return RowDone(row["id"], items or [Item(self._shown(row), reason="no_items")], calls, None)

    async def _sample(self, row: Row, llm: RowLLM) -> Sequence[Item]:
        async with self.rows_in_flight:
            try:
                made = await self.flow(row, llm, self.prompts)
            finally:
                llm.end()
        return [_marked(checked(item, self.columns, self.stage)) for item in made]

    def _shown(self, row: Row) -> dict[str, Any]:
        """Of a row that came to nothing, what its items would have had of it."""
        return {name: row[name] for name, kind in self.columns.items() if name in row and fits(row[name], kind)}

    def _llm(self, row: Row, draw: int) -> RowLLM:
        how: dict[str, Any] = {"seed": self.seed, "overlong": self.overlong, "draw": draw, "rank": next(self.ranks)}
        return RowLLM(self.engine, row["id"], sampling=self.sampling, **how)

    def _outcome(self, shard: Shard, attempt: str, done: Sequence[RowDone], started: float) -> Outcome:
        now = datetime.now(UTC)
        kept = ItemColumns(self.columns)
        rejected = ItemColumns(self.columns)
        failed: list[dict[str, Any]] = []
        calls = prompt_tokens = cached_tokens = completion_tokens = rows_kept = rows_rejected = 0
        reasons = Counter[str]()
        failures = Counter[str]()
        for row in done:
            calls += len(row.calls)
            for call in row.calls:
                prompt_tokens += call.answers[0].prompt_tokens if call.answers else 0
                cached_tokens += call.answers[0].cached_tokens if call.answers else 0
                for answer in call.answers:
                    completion_tokens += answer.completion_tokens
            if row.error is not None:
                kind = _kind(row.error)
                failures[kind] += 1
                failed.append(failure(self.stage, row, kind))
                continue
            ids = [item_id(self.fingerprint, row.row_id, index) for index in range(len(row.items))]
            numbers = {id(answer): number for number, call in enumerate(row.calls) for answer in call.answers}
            for item, own in zip(row.items, ids, strict=True):
                target = kept if item.reason is None else rejected
                on = sorted({numbers[id(one)] for one in (*item.on, item.answer) if id(one) in numbers})
                parents = (row.row_id, *item.parents, *(ids[place] for place in item.after))
                target.add(item, own, parents, self._provenance(item, now, attempt) | {"calls": on})
                if item.reason is not None:
                    reasons[item.reason] += 1
            if any(item.reason is None for item in row.items):
                rows_kept += 1
            else:
                rows_rejected += 1
        entry = Entry(
            stage=self.stage,
            fingerprint=self.fingerprint,
            shard=shard.index,
            attempt=attempt,
            rows_in=len(done),
            rows_kept=rows_kept,
            rows_rejected=rows_rejected,
            rows_failed=len(failed),
            items_made=len(kept.ids) + len(rejected.ids),
            items_kept=len(kept.ids),
            items_rejected=dict(reasons),
            failed=dict(failures),
            settles={str(index): list(ids) for index, ids in shard.settles},
            settled=dict(shard.kinds),
            calls=calls,
            prompt_tokens=prompt_tokens,
            cached_tokens=cached_tokens,
            completion_tokens=completion_tokens,
            seconds=round(time.monotonic() - started, 3),
            finished_at=now.isoformat(),
        )
        sides = {"rejected": rejected.rejected_table(), "failed": failed_table(failed, self.columns)}
        if self.keep_calls:
            sides["calls"] = calls_table(done)
        return Outcome(kept.kept_table(), entry, sides)

    def _provenance(self, item: Item, now: datetime, attempt: str) -> dict[str, Any]:
        known = {"stage": self.stage, "recipe": self.recipe, "created_at": now, "attempt": attempt}
        answer = item.answer
        if answer is None:
            return known
        return known | {
            "model": self.model,
            "revision": self.revision,
            "engine": self.engine_kind,
            "prompt_id": answer.prompt_id,
            "prompt_hash": answer.prompt_hash,
            **{k: answer.sampling.get(k) for k in ("temperature", "top_p", "top_k", "max_tokens")},
            "seed": answer.seed,
            "n_index": answer.n_index,
            "finish_reason": answer.finish_reason,
            "prompt_tokens": answer.prompt_tokens,
            "completion_tokens": answer.completion_tokens,
            "trimmed": answer.trimmed,
            "logprobs": answer.logprobs,
        }


def flow_work(
    config: Mapping[str, Any],
    stage: Stage,
    engine: Engine,
    rows_in_flight: asyncio.Semaphore,
    progress: Counter[str] | None = None,
    used: Mapping[str, Sequence[Row]] | None = None,
) -> FlowWork:
    """The work of a flow stage as a composed configuration describes it, on ``engine``; ``used`` are its arguments."""
    return FlowWork(
        stage=stage.name,
        fingerprint=stage.fingerprint,
        recipe=config["recipe"]["name"],
        flow=partial(bind(stage.node["flow"]), **(used or {})),
        prompts=PromptSet(**config["prompt"]),
        columns=stage.node["columns"],
        engine=engine,
        engine_kind=config["engine"]["kind"],
        model=config["model"]["name"],
        revision=config["model"]["revision"],
        sampling=Sampling(**{**config["sampling"], "stop": tuple(config["sampling"]["stop"])}),
        seed=config["seed"],
        draw=stage.draw,
        draws=stage.draws,
        overlong=config["recipe"]["overlong"],
        keep_calls=config["io"]["keep_calls"],
        rows_in_flight=rows_in_flight,
        progress=Counter() if progress is None else progress,
    )


async def _together(samples: Sequence[Awaitable[Sequence[Item]]], shown: Mapping[str, Any]) -> list[Item]:
    """The items of a row's samples, which run at once.

    One of several that breaks is a rejected item by the error's name, with what is ``shown`` of the row: it costs the
    row none of the others. Where all break, the row fails by the first error.
    """
    found = await asyncio.gather(*samples, return_exceptions=True)
    errors = [one for one in found if isinstance(one, BaseException)]
    if fatal := [one for one in errors if isinstance(one, EngineDead) or not isinstance(one, Exception)]:
        raise fatal[0]
    if len(errors) == len(samples):
        raise errors[0]
    items: list[Item] = []
    for one in found:
        made = [Item(shown, None, _kind(one), str(one))] if isinstance(one, BaseException) else one
        before = len(items)
        items += [replace(item, after=tuple(before + place for place in item.after)) for item in made]
    return items


def _kind(error: BaseException) -> str:
    """The name that an error is counted by."""
    return error.kind if isinstance(error, RowFailed) else type(error).__name__


def _marked(item: Item) -> Item:
    """A kept item whose answer ``max_tokens`` cut becomes a rejected one: it is never kept unmarked."""
    if item.reason is None and item.answer is not None and item.answer.cut:
        return replace(item, reason="cut_by_max_tokens")
    return item
