"""What a run comes to: the ledger's totals per stage, speed, where things are, and a few rows to look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pyarrow as pa
from rich.console import Group
from rich.table import Table
from rich.text import Text

from pipelines.names import StageName
from pipelines.stages.stage import Stage
from pipelines.store.dataset import read_slice
from pipelines.store.decisions import decided_already
from pipelines.store.files import Folder
from pipelines.store.ledger import Entry, totals
from pipelines.store.record import read_record

#: What a run has made: stage name -> the stage, its directory and the entries of its shards.
Made = Mapping[str, tuple[Stage, Folder, dict[int, Entry]]]

#: Said wherever the figures of a simulated run are shown.
SIMULATED = "Simulated: the texts come from a seeded vocabulary, not from a model. For load tests and benchmarks only."


def stats(made: Made) -> dict[str, Any]:
    """The ledger's totals per stage, and what each stage that decides measured."""
    result: dict[str, Any] = {}
    for name, (stage, target, entries) in made.items():
        result[name] = asdict(totals(entries.values()))
        if stage.decides and (decided := decided_already(target)) is not None:
            result[name]["measured"] = decided["stats"]
    return {"stages": result}


def summary(
    place: Folder, config: Mapping[str, Any], made: Made, *, seconds: float, tokens_per_second: float
) -> dict[str, Any]:
    """What ``run`` returns; ``tokens_per_second`` is of this start's generation, engine loading left out."""
    per_stage = stats(made)["stages"]
    first = next(iter(per_stage))
    told = read_record(place, "stats.json")
    sample = read_slice(place.sub("data"), 0, 0, 5)
    texts = [f.name for f in sample.schema if pa.types.is_string(f.type) and f.name != "id"]
    shown = [name for name in texts if name in config["recipe"]["shown"]] or texts
    return {
        "ok": True,
        "run": place.url,
        "recipe": config["recipe"]["name"],
        "engine": config["engine"]["kind"],
        "model": config["model"]["name"],
        "rows_in": per_stage[first]["rows_in"],
        "rows_accepted": sum(per_stage[name]["items_kept"] for name, (stage, _, _) in made.items() if stage.output),
        "rows_failed": sum(sums["rows_failed"] for sums in per_stage.values()),
        "stages": per_stage,
        "seconds": round(seconds, 1),
        "tokens_per_second": round(tokens_per_second, 1),
        "diversity": told.get("diversity"),
        **{
            key: told[key]
            for key in (
                "arms",
                "within",
                "compared",
                "over",
                "queries",
                "queries_judged",
                "written",
                "refused",
                "notes",
            )
            if key in told
        },
        "examples": sample.select(["id", *shown]).to_pylist(),
        "data": place.sub("data").url,
    }


def render(result: Mapping[str, Any]) -> Group:
    """The summary for a terminal. Texts are shown as they are, without markup or control characters."""
    rows = Table(title="a few rows", title_justify="left", show_lines=True)
    for column in result["examples"][0] if result["examples"] else ():
        rows.add_column(column)
    for example in result["examples"]:
        rows.add_row(*(Text(plain(value)) for value in example.values()))
    lines = [
        *([result["target"]["says"]] if result.get("target") else []),
        f"{result['rows_in']:,} rows in, {result['rows_accepted']:,} accepted, {result['seconds']:,} s"
        + (f", {result['tokens_per_second']:,.0f} tokens/s while generating" if result["tokens_per_second"] else "")
        + _cached(result["stages"]),
        *([_diverse(result["diversity"])] if result["diversity"] and result["diversity"]["texts"] else []),
        *([SIMULATED] if result["engine"] == "simulated" else []),
        f"rows     {result['data']}",
        f"removed  {result['run']}/removed",
        *(f"gain     {called} over {one['arm']}: {_gain(one)}" for called, one in result.get("over", {}).items()),
        *(f"queries  {called}: {_written(found)}" for called, found in result.get("written", {}).items()),
        *(f"note: {note}" for note in result.get("notes", ())),
        *([f"runs     {result['run']}/runs, {result['run']}/measures.png"] if "arms" in result else []),
        f"check    nightmill verify {result['run']}",
    ]
    if failed := result["rows_failed"]:
        lines.append(
            f"waiting  {failed:,} failed rows in quarantine; the same command with retry=failed tries them again"
        )
    if result["examples"]:
        lines.append(f"ancestry nightmill explain {result['run']} {result['examples'][0]['id']}")
    ranked = [arms_table(result)] if "arms" in result else []
    return Group(rows, ledger_table(result["stages"]), *ranked, Text("\n".join(lines)))


def arms_table(result: Mapping[str, Any]) -> Table:
    """What each way to rank came to: a row a way, a column a figure, and how it compares with the first."""
    arms, compared = result["arms"], result["compared"]
    queries, judged = result["queries"], result["queries_judged"]
    whole = counted(queries, "query") if queries == judged else f"{queries:,} of {counted(judged, 'judged query')}"
    table = Table(title=f"means over {whole}", title_justify="left")
    names = list(next(iter(arms.values())))
    for column in ("", *names, *(("against the first", "p") if compared else ())):
        table.add_column(column, justify="right" if column else "left")
    for called, figures in arms.items():
        against = compared.get(called)
        told = () if against is None else (f"{against['difference']:+.3f}", _p(against["p"]))
        table.add_row(Text(called), *(f"{figures[name]:.3f}" for name in names), *told)
    return table


def _gain(found: Mapping[str, Any]) -> str:
    return f"{found['difference']:+.3f}, p {_p(found['p']) or 'not told'}"


def _p(value: float | None) -> str:
    """A p-value as it is written."""
    return "" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _written(found: Mapping[str, Any]) -> str:
    """What queries of a model are like, in a line a group."""
    return (
        f"{counted(found['queries'], 'query')}, {found['words']['mean']:.1f} words long, "
        f"{found['copied']['mean']:.0%} of these in their document"
    )


def _cached(stages: Mapping[str, Mapping[str, Any]]) -> str:
    """What of all prompts the engine had read before, where it says so."""
    asked, cached = (sum(sums[name] for sums in stages.values()) for name in ("prompt_tokens", "cached_tokens"))
    return f", {cached / asked:.0%} of prompt tokens from the prefix cache" if cached else ""


def _diverse(found: Mapping[str, Any]) -> str:
    """The figures of diversity in a line."""
    shown = ", ".join(f"{name} {value:g}" for name, value in found.items() if name not in ("column", "texts"))
    return f"diversity of {counted(found['texts'], found['column'])}: {shown}"


def ledger_table(stages: Mapping[str, Mapping[str, Any]]) -> Table:
    """The ledger's totals, a row a stage, with what was lost to what."""
    table = Table(title="ledger", title_justify="left")
    for column in ("stage", "rows in", "kept", "rejected", "failed", "items kept", "lost to"):
        table.add_column(column, justify="left" if column in ("stage", "lost to") else "right")
    for name, sums in by_step(stages).items():
        counts = (f"{sums[k]:,}" for k in ("rows_in", "rows_kept", "rows_rejected", "rows_failed", "items_kept"))
        table.add_row(Text(name), *counts, losses(sums))
    return table


def by_step(stages: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The totals of stages with those of several rounds (``r3.personas``) added up under one name."""
    found: dict[str, dict[str, Any]] = {}
    for name, sums in stages.items():
        step = StageName.read(name).step
        before = found.get(step)
        found[step] = dict(sums) if before is None else _added(before, sums)
    return found


def _added(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    def total(a: Any, b: Any) -> Any:
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            return dict(Counter(a) + Counter(b)) if all(isinstance(v, int) for v in (*a.values(), *b.values())) else a
        return a + b if isinstance(a, int | float) and isinstance(b, int | float) else a

    return {key: total(value, other.get(key)) for key, value in one.items()}


def losses(sums: Mapping[str, Any]) -> Text:
    """Reasons of rejected items and errors of failed rows with their counts, the commonest first."""
    lost = {**sums["items_rejected"], **sums["failed"]}
    named = (f"{plain(reason)} {count:,}" for reason, count in sorted(lost.items(), key=lambda r: -r[1]))
    return Text(", ".join(named))


def answering(model: str, engine: str) -> str:
    """Who answers in a run, by the names of its model and kind of engine: nobody does behind a simulated one."""
    return "simulated (no model)" if engine == "simulated" else model


def counted(number: int, what: str) -> str:
    """``1 row``, ``2,000 rows``, ``300 queries``."""
    several = f"{what[:-1]}ies" if what.endswith("ry") else f"{what}s"
    return f"{number:,} {what if number == 1 else several}"


def plain(value: object, limit: int = 300) -> str:
    """A value fit for a terminal: control characters shown as such, long texts cut."""
    text = "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in str(value))
    return text if len(text) <= limit else text[:limit] + "…"
