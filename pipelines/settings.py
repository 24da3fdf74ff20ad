"""Every configuration key of Nightmill, typed and documented where it is defined.

Each dataclass is the schema of one Hydra group (or of the root); a field's ``doc`` says what it means, its unit and
what it changes. Nodes marked *data* enter a stage's fingerprint: changing them changes what the data is. Nodes marked
*runtime* never void finished work. Imports nothing heavy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Optional

from omegaconf import MISSING


def key(doc: str, default: Any = MISSING) -> Any:
    """A documented configuration key; mutable defaults are copied."""
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: type(default)(default), metadata={"doc": doc})
    return field(default=default, metadata={"doc": doc})


@dataclass
class Model:
    """Group ``model`` (data): which weights answer."""

    name: str = key("name of the preset, recorded in provenance")
    weights: str = key("a hub id, a local path, or `packaged:NAME` for weights that a Python package ships")
    revision: Optional[str] = key("revision of the hub id; null takes the newest", None)
    tokenizer: Optional[str] = key("hub id or path of the tokenizer; null takes the weights' own", None)
    context: int = key("longest prompt plus answer, in tokens")
    parameters: float = key("billions of parameters; the planner and memory checks use it")
    chat: bool = key("whether the tokenizer has a chat template; without it, turns are joined by blank lines", True)
    dtype: str = key("auto, float32, bfloat16 or float16", "auto")
    tensor_parallel_size: int = key("GPUs that one copy of this model is spread over", 1)
    trust_remote_code: bool = key("run Python code shipped with the weights; only for publishers you trust", False)


@dataclass
class VllmEngine:
    """Group ``engine``: in-process vLLM (runtime)."""

    kind: str = key("vllm", "vllm")
    device: str = key("cpu or gpu", "cpu")
    replicas: int = key("copies of the model, each with its own devices; 0 means as many as fit", 1)
    max_num_seqs: int = key("sequences that one copy decodes at once", 64)
    gpu_memory_utilization: float = key("share of the device's memory for weights and KV cache; on cpu: of the node's", 0.9)
    kv_cache_gib: Optional[float] = key("cpu only: GiB for the KV cache; null derives it from what is free", None)
    enforce_eager: bool = key("skip graph capture: faster start, slower decoding on GPUs", False)
    max_restarts: int = key("how often a dead copy is replaced before the run stops", 3)
    start_timeout_s: float = key("seconds a copy may take to load before the run stops", 1800.0)
    request_timeout_s: float = key("seconds one model call may take before its row fails", 1800.0)
    engine_kwargs: dict[str, Any] = key("passed to vLLM's AsyncEngineArgs untouched", {})


@dataclass
class EndpointEngine:
    """Group ``engine``: any OpenAI-compatible server (runtime)."""

    kind: str = key("endpoint", "endpoint")
    base_url: str = key("address of the server, up to and including /v1")
    served_name: Optional[str] = key("the model's name at the server; null takes model.weights", None)
    api_key_env: str = key("environment variable that holds the key; the key itself is never configured", "OPENAI_API_KEY")
    replicas: int = key("client actors", 1)
    max_concurrent: int = key("requests in flight per client actor", 64)
    max_retries: int = key("tries again after 429, 5xx or a time-out, with exponential backoff and jitter", 6)
    backoff_s: float = key("seconds before the first retry; doubles each time, at most 60", 1.0)
    max_restarts: int = key("how often a dead client actor is replaced before the run stops", 3)
    start_timeout_s: float = key("seconds the server may take to answer its first request", 60.0)
    request_timeout_s: float = key("seconds one try of a request may take", 600.0)


@dataclass
class SimulatedEngine:
    """Group ``engine``: text from a seeded vocabulary, for load tests and benchmarks only (data: it shapes answers)."""

    kind: str = key("simulated", "simulated")
    replicas: int = key("engine actors; one a core uses the machine best", 2)
    max_num_seqs: int = key("answers drawn at once per actor; more wait", 256)
    latency_s: float = key("median seconds of one answer (log-normal); 0 answers at once", 0.0)
    latency_sigma: float = key("spread of the log-normal latency", 0.3)
    words_mean: int = key("mean words of an answer", 18)
    accepted: float = key("share of answers that pass every shipped filter and are near-duplicates of nothing", 0.8)
    duplicates: float = key("share of answers that are near-duplicates of others", 0.1)
    errors: float = key("share of calls that fail, as a broken engine's would", 0.0)
    max_restarts: int = key("how often a dead actor is replaced before the run stops", 3)
    start_timeout_s: float = key("seconds an actor may take to start", 60.0)
    request_timeout_s: float = key("seconds one call may take before its row fails", 600.0)


@dataclass
class Sampling:
    """Group ``sampling`` (data): how tokens are drawn."""

    temperature: float = key("0 is greedy", 0.7)
    top_p: float = key("nucleus: the smallest set of tokens whose probability reaches this", 1.0)
    top_k: int = key("draw among this many likeliest tokens; -1 is no limit", -1)
    min_p: float = key("drop tokens less likely than this share of the likeliest", 0.0)
    repetition_penalty: float = key("above 1 discourages tokens already used", 1.0)
    max_tokens: int = key("longest answer, in tokens; an answer cut by it is rejected as cut_by_max_tokens", 256)
    stop: list[str] = key("strings that end an answer", [])
    logprobs: bool = key("record the log-probability of every sampled token in provenance", False)


@dataclass
class Prompt:
    """Group ``prompt`` (data): templates, and tables of wordings they look up."""

    name: str = key("name recorded in provenance")
    system: str = key("system turn before every prompt; empty for none", "")
    templates: dict[str, str] = key("Jinja templates by name", {})
    tables: dict[str, Any] = key("wordings that templates look up, visible to them by name", {})


@dataclass
class Minhash:
    """MinHash near-duplicate removal (data)."""

    enabled: bool = key("false skips the stage", True)
    threshold: float = key("Jaccard similarity of word sets from which a row is a duplicate", 0.9)
    num_permutations: int = key("signature size", 128)
    bands: int = key("bands of the LSH index; 16 x 8 proposes 99.99% of pairs at J = 0.9", 16)
    ngram: int = key("words per shingle", 1)
    normalise: bool = key("lowercase, NFKC and strip punctuation before hashing", False)


@dataclass
class Embedding:
    """Embedding near-duplicate removal (data)."""

    enabled: bool = key("false skips the stage", True)
    threshold: float = key("cosine similarity above which a row is a duplicate", 0.9)
    encoder: str = key("hub id, path, `packaged:NAME`, or `simulated` (load tests only)", "packaged:all-minilm-l6-v2")
    batch_size: int = key("texts encoded at once", 64)


@dataclass
class Dedup:
    """Group ``dedup`` (data)."""

    minhash: Minhash = field(default_factory=Minhash)
    embedding: Embedding = field(default_factory=Embedding)


@dataclass
class Cluster:
    """Group ``cluster`` (runtime): where the run's Ray lives."""

    address: Optional[str] = key("null starts Ray here, or joins the cluster that submitted the job; else host:port", None)
    num_cpus: Optional[int] = key("CPUs that a Ray started here declares; null takes what the machine has", None)
    object_store_gib: float = key("shared memory of a Ray started here, in GiB", 0.3)


@dataclass
class Io:
    """Group ``io``: shards and files (runtime, but frozen for a stage when it first starts)."""

    shard_rows: int = key("rows a shard: the unit of commit, retry and resume; 1 to 5 minutes of an engine's work")
    shards_in_flight: int = key("shards that one engine actor works on at once, so that one's tail hides behind the next", 4)
    wave_shards: int = key("shards handed to Ray Data at a time", 4000)
    rows_per_file: int = key("rows of a file in data/", 1_000_000)
    keep_calls: bool = key("store every prompt and raw answer beside the shard (calls/); explain needs it", True)


@dataclass
class Recipe:
    """Group ``recipe`` (data): an ordered list of stages; each recipe file adds its own knobs by a schema of its own."""

    name: str = key("name of the recipe")
    scale: str = key("paper or small: published sizes, or minutes on 2 cores with the same steps", "paper")
    overlong: str = key("trim (cut the field a flow names) or fail (quarantine the row) when a prompt does not fit", "trim")
    stages: dict[str, Any] = key("stages in order: name -> {flow | filter | dedup settings}", {})


@dataclass
class Root:
    """The root of a run's configuration."""

    input: Any = key("seeds: a path, glob or URL, or a list of them; a folder is read whole")
    text_column: str = key("column that holds the seed's text", "text")
    id_column: Optional[str] = key("column whose value is the row's id; null hashes the text", None)
    limit: Optional[int] = key("take only the first N input rows, in manifest order", None)
    rows: Optional[int] = key("only plan (the size to forecast) and preview (how many to show)", None)
    output: str = key("run directory; of a sweep, its root")
    seed: int = key("seed of everything drawn at random", 0)
    retry: Optional[str] = key("failed: run the quarantined rows again", None)
    redo: Optional[str] = key("changed: redo the stages whose settings changed, and those after them", None)
    max_failed: float = key("share of failed rows (from 100 rows on) above which the run stops", 0.5)
    recipe: Any = key("group recipe")
    model: Model = field(default_factory=Model)
    engine: Any = key("group engine")
    sampling: Sampling = field(default_factory=Sampling)
    prompt: Prompt = field(default_factory=Prompt)
    dedup: Dedup = field(default_factory=Dedup)
    cluster: Cluster = field(default_factory=Cluster)
    io: Io = field(default_factory=Io)
