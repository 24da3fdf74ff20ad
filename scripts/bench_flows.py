"""One flow of four calls a text over the same texts, on one engine and in the two ways that others do it.

``scripts/bench flows --rows 200``. Nightmill runs the flow of ``four_steps.py`` on one engine. ``ray.data.llm`` chains
a processor a step, each with an engine of its own. Passes send all texts through one ``vllm.LLM`` step by step, with
a Parquet file between. Prompts, sampling, engine arguments and the lengths of answers are the same: the model is a copy
of the packaged one whose end token is one that it never writes. The bare engine gets all prompts of the first way at
once, in its order. Starting engines is counted by itself; memory is the sum of PSS over all processes.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

# Nothing here may load numba: vLLM forks, and its worker fails over what llvmlite has left among the modules.
from bench import DATA, bare, cached, engine_of, machine, measured
from four_steps import STEPS

HERE = Path(__file__).resolve().parent
#: A token of the packaged model's vocabulary that it was never trained to write.
NEVER = "<reponame>"
#: GiB of keys and values, about 100 of the texts at once; where several engines share them, this is for all.
CACHE_GIB = 2
#: Characters of a text that are taken.
CHARS = 1200
#: Their file, beside the run.
TEXTS = "texts.parquet"


@dataclass(frozen=True)
class Arm:
    """What one way came to: seconds of work, of starting engines; peak GiB; share of prompt tokens not read anew."""

    work: float
    start: float
    peak: float
    cached: float | None


def model_that_never_ends(place: Path) -> Path:
    """A copy of the packaged model for which every answer goes on to ``max_tokens``."""
    from pipelines.engine.weights import resolve

    found = Path(resolve("packaged:smollm2-135m"))
    place.mkdir()
    for file in found.iterdir():
        (place / file.name).symlink_to(file)
    [number] = [
        token["id"]
        for token in json.loads((found / "tokenizer.json").read_text())["added_tokens"]
        if token["content"] == NEVER
    ]
    for name, key, value in (
        ("config.json", "eos_token_id", number),
        ("generation_config.json", "eos_token_id", number),
        ("tokenizer_config.json", "eos_token", NEVER),
    ):
        plain = json.loads((found / name).read_text()) | {key: value}
        (place / name).unlink()
        (place / name).write_text(json.dumps(plain))
    return place


def overrides(scratch: Path, rows: int, tokens: int, slots: int) -> list[str]:
    """The run as a command line has it."""
    texts = pq.read_table(DATA / "seeds.parquet", columns=["text"])["text"].to_pylist()
    step = len(texts) // rows
    pq.write_table(pa.table({"text": [text[:CHARS] for text in texts[: rows * step : step]]}), scratch / TEXTS)
    return [
        f"hydra.searchpath=[file://{HERE / 'flows'}]",
        "recipe=four_steps",
        f"input={scratch / TEXTS}",
        "text_column=text",
        f"output={scratch / 'run'}",
        f"model.weights={model_that_never_ends(scratch / 'model')}",
        f"engine.kv_cache_gib={CACHE_GIB}",
        f"sampling.max_tokens={tokens}",
        f"engine.max_num_seqs={slots}",
    ]


def one_engine(line: Sequence[str], calls: int, tokens: int) -> Arm:
    """The flow as Nightmill runs it."""
    os.environ["PYTHONPATH"] = str(HERE)
    out, wall, peak = measured([sys.executable, "-m", "pipelines.cli", "run", *line, "--json"])
    told = json.loads(out)
    sums = told["stages"]["steps"]
    assert (sums["calls"], sums["completion_tokens"]) == (calls, calls * tokens), sums
    work = calls * tokens / told["tokens_per_second"]
    return Arm(work, wall - work, peak, sums["cached_tokens"] / sums["prompt_tokens"])


def other(way: str, run: Path) -> Arm:
    """Another way, in a process of its own."""
    told = run.parent / f"{way}.json"
    _, wall, peak = measured([sys.executable, __file__, "--way", way, "--run", str(run), "--told", str(told)])
    found = json.loads(told.read_text())
    return Arm(found["work"], wall - found["work"], peak, found.get("cached"))


def sampling(config: dict[str, Any], seed: int) -> dict[str, Any]:
    """How a peer is asked to sample."""
    return {key: config["sampling"][key] for key in ("temperature", "top_p", "max_tokens")} | {"seed": seed}


def passes(run: Path) -> dict[str, Any]:
    """All texts through one step, then through the next, by way of Parquet files."""
    from vllm import LLM, SamplingParams

    from pipelines.prompts import PromptSet

    config, given = engine_of(run)
    prompts, every = PromptSet(**config["prompt"]), list[Any]()
    llm = LLM(**given)
    begun, source = time.perf_counter(), run.with_name(TEXTS)
    for place, step in enumerate(STEPS):
        rows = pq.read_table(source).to_pylist()
        turns: list[Any] = [
            [{"role": role, "content": text} for role, text in prompts.render(step, **row).messages] for row in rows
        ]
        how = [SamplingParams(**sampling(config, number * len(STEPS) + place)) for number in range(len(rows))]
        outputs = llm.chat(turns, how, use_tqdm=False)
        every += outputs
        assert {len(output.outputs[0].token_ids) for output in outputs} == {config["sampling"]["max_tokens"]}
        source = run.with_name(f"after-{step}.parquet")
        written = [{**row, step: output.outputs[0].text} for row, output in zip(rows, outputs, strict=True)]
        pq.write_table(pa.Table.from_pylist(written), source)
    return {"work": time.perf_counter() - begun, "cached": cached(every)}


def chain(run: Path) -> dict[str, Any]:
    """A processor of ``ray.data.llm`` a step, one after another in one dataset."""
    import ray
    from ray.data import DataContext
    from ray.data.llm import build_processor, vLLMEngineProcessorConfig

    from pipelines.prompts import PromptSet

    config, given = engine_of(run)
    templates, tokens = config["prompt"], config["sampling"]["max_tokens"]
    # On two logical CPUs the chain waits for itself; and nothing is to be done before all engines are there.
    ray.init(num_cpus=32, object_store_memory=2**29, include_dashboard=False, log_to_driver=False)
    # Four engines with as much each as one has are more than the machine holds.
    given["kv_cache_memory_bytes"] //= len(STEPS)
    context = DataContext.get_current()
    context.wait_for_min_actors_s = 1200
    context.enable_progress_bars = False
    rows = [{**row, "number": number} for number, row in enumerate(pq.read_table(run.with_name(TEXTS)).to_pylist())]
    dataset = ray.data.from_items(rows, override_num_blocks=max(4, len(rows) // 10))

    def processor(place: int, step: str) -> Any:
        def ask(row: dict[str, Any]) -> dict[str, Any]:
            said = {key: value for key, value in row.items() if key == "text" or key in STEPS}
            turns = PromptSet(**templates).render(step, **said).messages
            return {
                **row,
                "begun": row.get("begun") or time.time(),
                "messages": [{"role": role, "content": text} for role, text in turns],
                "sampling_params": sampling(config, row["number"] * len(STEPS) + place),
            }

        def take(row: dict[str, Any]) -> dict[str, Any]:
            assert row["num_generated_tokens"] == tokens, row
            kept = {key: row[key] for key in ("number", "text", "begun", *STEPS[:place])}
            return {**kept, step: row["generated_text"], "done": time.time()}

        how = vLLMEngineProcessorConfig(
            model_source=given["model"],
            engine_kwargs={key: value for key, value in given.items() if key != "model"},
            batch_size=16,
            concurrency=1,
            log_engine_metrics=False,
            placement_group_config={"bundle_per_worker": {"CPU": 1}},
        )
        return build_processor(how, preprocess=ask, postprocess=take)

    for place, step in enumerate(STEPS):
        dataset = processor(place, step)(dataset)
    made = dataset.to_pandas()
    ray.shutdown()
    assert len(made) == len(rows)
    return {"work": made["done"].max() - made["begun"].min()}


def main() -> None:
    """Run every way once and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--tokens", type=int, default=24, help="of each answer")
    parser.add_argument("--slots", type=int, default=64, help="answers that an engine writes at once")
    parser.add_argument("--without", nargs="*", default=[], choices=("chain", "passes", "bare"))
    for hidden in ("way", "run", "told"):
        parser.add_argument(f"--{hidden}", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.way:
        # In a file: vLLM's processes write to stdout too.
        ways = {"chain": chain, "passes": passes, "bare": bare_of}
        Path(asked.told).write_text(json.dumps(ways[asked.way](Path(asked.run))))
        return
    print(machine())
    names = {
        "chain": "`ray.data.llm`, an engine a step",
        "passes": "a pass a step, Parquet between",
        "bare": "bare engine, all prompts known",
    }
    calls = asked.rows * len(STEPS)
    work = f"{asked.rows} texts, {calls} calls of {asked.tokens}, {asked.slots} at once"
    print(f"\n| {work} | rows/s | tokens/s | start s | peak | cached |")
    print("|---|---|---|---|---|---|")

    def line(name: str, arm: Arm) -> float:
        share = "not told" if arm.cached is None else f"{arm.cached:.0%}"
        speed = calls * asked.tokens / arm.work
        print(
            f"| {name} | {asked.rows / arm.work:.3f} | {speed:.1f} | {arm.start:.0f} | {arm.peak:.1f} GiB | {share} |",
            flush=True,
        )
        return speed

    with tempfile.TemporaryDirectory() as scratch:
        run = overrides(Path(scratch), asked.rows, asked.tokens, asked.slots)
        ours = line("nightmill, one engine", one_engine(run, calls, asked.tokens))
        speeds = {
            way: line(name, other(way, Path(scratch) / "run"))
            for way, name in names.items()
            if way not in asked.without
        }
    peers = [speed for way, speed in speeds.items() if way != "bare"]
    if peers:
        print(f"\nagainst the better of the others: {ours / max(peers):.2f} (target >= 1.5)")
    if "bare" in speeds:
        print(f"against the bare engine: {ours / speeds['bare']:.3f} (target >= 0.90)")


def bare_of(run: Path) -> dict[str, Any]:
    """All prompts of a run through its engine at once."""
    told = bare(run)
    return {"work": told["tokens"] / told["tokens_per_second"], "cached": told["cached"]}


if __name__ == "__main__":
    main()
