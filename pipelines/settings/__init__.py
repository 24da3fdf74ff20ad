"""Every configuration key of Nightmill, typed and documented where it is defined.

Each dataclass is the schema of one Hydra group (or of the root); a field's ``doc`` says what it means, its unit and
what it changes, its ``rule`` which values it takes beyond its type. Groups marked *data* enter a stage's fingerprint:
changing them changes what the data is. Groups marked *runtime* never void finished work. Imports nothing heavy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pipelines.settings.dedup import Dedup
from pipelines.settings.forecast import Forecast
from pipelines.settings.keys import (
    ABOVE_ZERO,
    NOT_EMPTY,
    SHARE,
    SHARE_ABOVE_ZERO,
    Rule,
    at_least,
    key,
    only,
)
from pipelines.settings.target import Target


class Dtype(StrEnum):
    """Number format of weights and activations; auto takes what the weights were published in."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class Device(StrEnum):
    """What an in-process engine computes on."""

    cpu = "cpu"
    gpu = "gpu"


class Retry(StrEnum):
    """What a run takes up again beside unfinished shards."""

    failed = "failed"


class Redo(StrEnum):
    """Which finished stages a run may do anew."""

    changed = "changed"


class Overlong(StrEnum):
    """What happens to a prompt that does not fit the model's context."""

    trim = "trim"
    fail = "fail"


@dataclass
class Model:
    """Group ``model`` (data): which weights answer."""

    name: str = key("name of the preset, recorded in provenance")
    weights: str = key("a hub id, a local path, or `packaged:NAME` for weights of a Python package", literal=True)
    revision: str | None = key("revision of the hub id; null takes the newest", None)
    tokenizer: str | None = key("hub id or path of the tokenizer; null takes the weights' own", None, literal=True)
    context: int = key("longest prompt plus answer, in tokens", rule=at_least(16))
    parameters: float = key("billions of parameters; the planner and memory checks use it", rule=ABOVE_ZERO)
    chat: bool = key("whether the tokenizer has a chat template; without it, turns are joined by blank lines", True)
    dtype: Dtype = key("auto, float32, bfloat16 or float16", Dtype.auto)
    tensor_parallel_size: int = key("GPUs that one copy of this model is spread over", 1, at_least(1))
    trust_remote_code: bool = key("run Python code shipped with the weights; only for publishers you trust", False)


@dataclass
class VllmEngine:
    """Group ``engine``: in-process vLLM (runtime)."""

    kind: str = key("vllm", "vllm", only("vllm"))
    device: Device = key("cpu or gpu", Device.cpu)
    replicas: int = key("copies of the model, each with its own devices; 0 means as many as fit", 1, at_least(0))
    max_num_seqs: int = key("sequences that one copy decodes at once", 64, at_least(1))
    shard_rows: int = key("rows that a copy does in 1 to 5 minutes; io.shard_rows takes it", 128, at_least(1))
    gpu_memory_utilization: float = key("gpu only: share of its memory for weights and KV cache", 0.9, SHARE_ABOVE_ZERO)
    kv_cache_gib: float | None = key("cpu only: GiB for the KV cache; null takes what is free", None, ABOVE_ZERO)
    enforce_eager: bool = key("skip graph capture: faster start, slower decoding on GPUs", False)
    max_restarts: int = key("how often a dead copy is replaced before the run stops", 3, at_least(0))
    start_timeout_s: float = key("seconds a copy may take to load before the run stops", 1800.0, ABOVE_ZERO)
    request_timeout_s: float = key("seconds one model call may take before its row fails", 1800.0, ABOVE_ZERO)
    engine_kwargs: dict[str, Any] = key("passed to vLLM's AsyncEngineArgs untouched", {})


@dataclass
class EndpointEngine:
    """Group ``engine``: any OpenAI-compatible server (runtime)."""

    kind: str = key("endpoint", "endpoint", only("endpoint"))
    base_url: str = key("address of the server, up to and including /v1", rule=NOT_EMPTY, literal=True)
    served_name: str | None = key("the model's name at the server; null takes model.weights", None, literal=True)
    api_key_env: str = key("environment variable with the key, which is never configured", "OPENAI_API_KEY")
    replicas: int = key("client actors", 1, at_least(1))
    max_concurrent: int = key("requests in flight per client actor", 64, at_least(1))
    send_token_ids: bool = key(
        "tokenise here and send token ids (vLLM servers; needs transformers): text that looks like "
        "markup then stays text, and prompts are measured before they are sent",
        False,
    )
    shard_rows: int = key("rows that the server does in 1 to 5 minutes; io.shard_rows takes it", 512, at_least(1))
    max_retries: int = key("tries after 429, 5xx or a time-out, with exponential backoff and jitter", 6, at_least(0))
    backoff_s: float = key("seconds before the first retry; doubles each time, at most 60", 1.0, at_least(0))
    max_restarts: int = key("how often a dead client actor is replaced before the run stops", 3, at_least(0))
    start_timeout_s: float = key("seconds the server may take to answer its first request", 60.0, ABOVE_ZERO)
    request_timeout_s: float = key("seconds one try of a request may take", 600.0, ABOVE_ZERO)


@dataclass
class SimulatedEngine:
    """Group ``engine``: text from a seeded vocabulary, for load tests and benchmarks only (data: it shapes answers)."""

    kind: str = key("simulated", "simulated", only("simulated"))
    replicas: int = key("engine actors; one a core uses the machine best", 2, at_least(1))
    max_num_seqs: int = key("answers drawn at once per actor; more wait", 256, at_least(1))
    shard_rows: int = key("rows a shard; io.shard_rows takes it", 8192, at_least(1))
    latency_s: float = key("median seconds of one answer (log-normal); 0 answers at once", 0.0, at_least(0))
    latency_sigma: float = key("spread of the log-normal latency", 0.3, at_least(0))
    words_mean: int = key("mean words of an answer", 18, at_least(1))
    accepted: float = key("share of answers that pass every shipped filter and are like no other", 0.8, SHARE)
    duplicates: float = key("share of answers that are near-duplicates of others", 0.1, SHARE)
    errors: float = key("share of calls that fail, as a broken engine's would", 0.0, SHARE)
    max_restarts: int = key("how often a dead actor is replaced before the run stops", 3, at_least(0))
    start_timeout_s: float = key("seconds an actor may take to start", 60.0, ABOVE_ZERO)
    request_timeout_s: float = key("seconds one call may take before its row fails", 600.0, ABOVE_ZERO)


@dataclass
class Sampling:
    """Group ``sampling`` (data): how tokens are drawn."""

    temperature: float = key("0 is greedy", 0.7, at_least(0))
    top_p: float = key("nucleus: the smallest set of tokens whose probability reaches this", 1.0, SHARE_ABOVE_ZERO)
    top_k: int = key(
        "draw among this many likeliest tokens; -1 is no limit",
        -1,
        Rule("-1 or at least 1", lambda k: k == -1 or k >= 1),
    )
    min_p: float = key("drop tokens less likely than this share of the likeliest", 0.0, SHARE)
    repetition_penalty: float = key("above 1 discourages tokens already used", 1.0, ABOVE_ZERO)
    max_tokens: int = key("longest answer, in tokens; one cut by it is rejected as cut_by_max_tokens", 256, at_least(1))
    stop: list[str] = key("strings that end an answer", [])
    logprobs: bool = key("record the log-probability of every sampled token in provenance", False)


@dataclass
class Prompt:
    """Group ``prompt`` (data): templates, and tables of wordings they look up."""

    name: str = key("name recorded in provenance")
    system: str = key("system turn before every prompt; empty for none (some chat templates refuse one)", "")
    templates: dict[str, str] = key("Jinja templates by name", {})
    tables: dict[str, Any] = key("wordings that templates look up, visible to them by name", {})


@dataclass
class Cluster:
    """Group ``cluster`` (runtime): where the run's Ray lives."""

    address: str | None = key("host:port; null starts Ray here, or joins the cluster of the job", None, literal=True)
    num_cpus: int | None = key("CPUs of a Ray started here; null takes what the machine has", None, at_least(1))
    object_store_gib: float = key("shared memory of a Ray started here, in GiB", 0.3, ABOVE_ZERO)


@dataclass
class Io:
    """Group ``io``: shards and files (runtime, but frozen for a stage when it first starts)."""

    shard_rows: int = key("rows a shard: the unit of commit, retry and resume; the engine's option knows a good size")
    shards_in_flight: int | None = key(
        "shards at once on an actor, so that one's tail hides behind the next; more where a flow asks often and so "
        "has smaller ones; null: 4, or what keeps two rows ready for each sequence of the engine",
        None,
        at_least(1),
    )
    bulk_rows: int | None = key(
        "rows a shard of stages that ask no model (seeds, filters, dedup); null: what about 32 MiB of input hold",
        None,
        at_least(1),
    )
    wave_shards: int = key("shards handed to Ray Data at a time", 4000, at_least(1))
    rows_per_file: int = key("rows of a file in data/", 1_000_000, at_least(1))
    keep_calls: bool = key("store every prompt and raw answer beside the shard (calls/); explain needs it", True)


@dataclass
class Recipe:
    """Group ``recipe`` (data): an ordered list of stages; knobs.py adds each recipe's own keys."""

    name: str = key("name of the recipe")
    shown: list[str] = key("columns that the summary's few rows show; none: all that hold text", [])
    limit_by: Any = key("what limit counts, {label: function of a table, of: labels}; null: rows", None)
    overlong: Overlong = key("prompts that do not fit: trim (cut the flow's field) or fail (the row)", Overlong.trim)
    result: str | None = key("the stage whose rows are the result; null: the last", None)
    until: str | None = key(
        "stop after this stage, whose rows are the result then; the same command without it goes on", None
    )
    report: Any = key("function that tells more of a finished run than its ledger; null: none", None)
    stages: dict[str, Any] = key("stages in order: name -> {flow | filters | dedup settings}", {})


@dataclass
class Root:
    """The root of a run's configuration."""

    input: Any = key("seeds: a path, glob, URL or [list,of,them]; a folder is read whole", rule=NOT_EMPTY, literal=True)
    text_column: str = key("column that holds the seed's text", "text", NOT_EMPTY, literal=True)
    id_column: str | None = key("column with the row's id; null hashes id_columns", None, NOT_EMPTY, literal=True)
    id_columns: list[str] = key("columns that are hashed into a row's id; none: text_column alone", [], literal=True)
    limit: int | None = key(
        "take only the first N input rows, in manifest order; of each kind where a recipe counts by kind",
        None,
        at_least(1),
    )
    rows: int | None = key("only plan (the size to forecast) and preview (how many to show)", None, at_least(1))
    output: str = key("run directory; of a sweep, its root", rule=NOT_EMPTY, literal=True)
    seed: int = key("seed of everything drawn at random", 0)
    retry: Retry | None = key("failed: run the quarantined rows again", None)
    redo: Redo | None = key("changed: redo the stages whose settings changed, and those after them", None)
    max_failed: float = key("share of failed rows (from 100 on) above which the run stops", 0.5, SHARE_ABOVE_ZERO)
    target: Target = field(default_factory=Target)
    forecast: Forecast = field(default_factory=Forecast)
    recipe: Any = key("what the data is")
    model: Model = field(default_factory=Model)
    engine: Any = key("how it is run")
    sampling: Sampling = field(default_factory=Sampling)
    prompt: Prompt = field(default_factory=Prompt)
    dedup: Dedup = field(default_factory=Dedup)
    cluster: Cluster = field(default_factory=Cluster)
    io: Io = field(default_factory=Io)


#: Schemas of the group ``engine``, by the kind that an option of the group has.
ENGINES: dict[str, type] = {"vllm": VllmEngine, "endpoint": EndpointEngine, "simulated": SimulatedEngine}
