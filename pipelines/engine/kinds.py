"""From an engine's settings to the engine. Each kind is imported only where it is used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines import settings
from pipelines.engine.llm import Engine
from pipelines.errors import UserError


def open_engine(model: Mapping[str, Any], engine: Mapping[str, Any], seed: int) -> Engine:
    """The engine that the ``model`` and ``engine`` nodes of a configuration describe, not yet started."""
    which = settings.Model(**model)
    match engine["kind"]:
        case "vllm":
            from pipelines.engine.vllm import VllmEngine

            return VllmEngine(which, settings.VllmEngine(**engine), seed)
        case "endpoint":
            from pipelines.engine.endpoint import EndpointEngine

            return EndpointEngine(which, settings.EndpointEngine(**engine), seed)
        case "simulated":
            from pipelines.engine.simulated import SimulatedEngine

            return SimulatedEngine(which, settings.SimulatedEngine(**engine), seed)
        case kind:
            raise UserError(f"engine.kind={kind}: not an engine; use vllm, endpoint or simulated")
