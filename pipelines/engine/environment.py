"""What vLLM reads from the environment, for a process that loads it and those it starts."""

from __future__ import annotations

import os
import socket

from pipelines import settings


def environment(engine: settings.VllmEngine) -> None:
    """Set it for an engine with these settings; what a user has set of it stays, where it is theirs to say."""
    # Read by engine/orphan.py in vLLM's workers.
    os.environ["NIGHTMILL_ENGINE_OWNER"] = f"{socket.gethostname()} {os.getpid()}"
    os.environ["VLLM_ENGINE_READY_TIMEOUT_S"] = str(int(engine.start_timeout_s))
    os.environ.update(VLLM_NO_USAGE_STATS="1", DO_NOT_TRACK="1")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    if engine.device == "cpu":
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
        # Ray gives an actor that reserves no CPU one thread, in a variable that looks like the user's.
        if os.environ.get("OMP_NUM_THREADS", "1") == "1":
            cpus = len(os.sched_getaffinity(0))
            os.environ["OMP_NUM_THREADS"] = str(max(1, cpus // max(1, engine.replicas)))
