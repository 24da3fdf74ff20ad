"""What personas' likeness does to what they write (papers.md 1.8), from finished runs of ``similarity_study``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from rich.console import Group
from rich.table import Table
from rich.text import Text

from pipelines.errors import UserError
from pipelines.report.similarity import correlations, drawn, figures
from pipelines.selection.pairs import pairs_at
from pipelines.store.commit import to_parquet
from pipelines.store.dataset import committed, read_part
from pipelines.store.files import Folder, folder
from pipelines.store.record import read_record
from pipelines.store.survey import finished, survey
from pipelines.summary import SIMULATED, answering, plain

RECIPE = "similarity_study"
#: What compares one model's problems with another's is told apart from a wording by this.
ACROSS = "across models"

Floats = NDArray[np.float32]
#: A run's problems: wording -> seed's id -> text.
Problems = dict[str, dict[str, str]]


def similarity(run: str, other: str | None = None, to: str | None = None) -> dict[str, Any]:
    """Compare the problems of each pair of personas, and write ``similarity.png`` and ``pairs.parquet``.

    Args:
        run: a finished run of ``recipe=similarity_study``.
        other: one over the same personas by another model; each pair's first persona is then also compared by its
            problem here with the second's by the other model, under the first wording.
        to: folder for the plot and the pairs, on disk or at a URL; None is ``similarity/`` in the run.

    Returns:
        ``figures`` for each wording and level of likeness, ``correlations`` by wording, ``to``, ``models`` (a run of
        ``engine=simulated`` has none and is told as such, here as in both files), ``simulated``: whether one was.

    Raises:
        UserError: a run is none of this recipe, is not finished, or has no pair left.
    """
    place = folder(run)
    config, personas, problems = _problems_of(place)
    runs = [config]
    select = config["recipe"]["stages"]["pairs"]["select"]
    from pipelines.dedup.vectors.encoder import load

    encode = load(select["encoder"], select["batch_size"], select["device"])
    ids = sorted(set.intersection(*(set(mine) for mine in problems.values())))
    compared = {wording: (mine, mine) for wording, mine in problems.items()}
    if other is not None:
        theirs_config, _, theirs = _problems_of(folder(other))
        runs.append(theirs_config)
        wording = next(iter(problems))
        ids = sorted(set(ids) & set(theirs[wording]))
        compared[ACROSS] = (problems[wording], theirs[wording])
    if len(ids) < 2:
        raise UserError(f"{place.url}: {len(ids)} personas have a problem under every wording; no pair is left")
    models = [answering(one["model"]["name"], one["engine"]["kind"]) for one in runs]
    # Of personas that are in a pair alone, the run's pairs are found again.
    vectors = encode([personas[one] for one in ids])
    found = pairs_at(vectors, select["levels"], select["pairs_per_level"])
    rows: list[dict[str, Any]] = []
    for wording, (left, right) in compared.items():
        first, second = (encode([texts[one] for one in ids]) for texts in (left, right))
        for pair in sorted(found):
            rows.append(
                {
                    "wording": wording,
                    "level": pair.level,
                    "left_id": ids[pair.left],
                    "right_id": ids[pair.right],
                    "left_model": models[0],
                    "right_model": models[-1] if wording == ACROSS else models[0],
                    "personas": float(vectors[pair.left] @ vectors[pair.right]),
                    "problems": float(first[pair.left] @ second[pair.right]),
                }
            )
    if not rows:
        raise UserError(f"{place.url}: no two personas that have problems are as alike as recipe.levels asks")
    target = folder(to or f"{place.url}/similarity")
    target.replace("pairs.parquet", to_parquet(pa.Table.from_pylist(rows)))
    target.replace("similarity.png", drawn(rows, models))
    return {
        "ok": True,
        "run": place.url,
        "to": target.url,
        "models": models,
        "simulated": any(one["engine"]["kind"] == "simulated" for one in runs),
        "encoder": select["encoder"],
        "figures": figures(rows),
        "correlations": correlations(rows),
    }


def _problems_of(place: Folder) -> tuple[Mapping[str, Any], dict[str, str], Problems]:
    """A run's configuration, its personas by seed's id, and their problems."""
    stages = survey(place)
    config = read_record(place, "config.yaml")
    if config["recipe"]["name"] != RECIPE:
        raise UserError(f"{place.url}: holds a run of recipe {config['recipe']['name']}; this takes {RECIPE}")
    if not finished(place, stages):
        raise UserError(f"{place.url} is not finished, or data/ is not complete; run the same command to its end first")
    personas: dict[str, str] = {}
    problems: Problems = {wording: {} for wording in config["prompt"]["tables"]["wordings"]}
    for seed, row in _rows(place.sub("data")):
        personas[seed] = row["persona"]
        problems[row["wording"]][seed] = row["text"]
    return config, personas, problems


def _rows(data: Folder) -> Iterator[tuple[str, dict[str, Any]]]:
    for part in committed(data):
        for row in read_part(data, part, ["parent_ids", "persona", "wording", "text"]).to_pylist():
            yield row["parent_ids"][0], row


def render(result: Mapping[str, Any]) -> Group:
    """The figures for a terminal."""
    table = Table()
    for column in ("wording", "personas at", "pairs", "personas", "problems", "quartiles", "below", "0.6 to 0.75"):
        table.add_column(column, justify="left" if column == "wording" else "right")
    for one in result["figures"]:
        table.add_row(
            one["wording"],
            f"{one['level']:g}",
            f"{one['pairs']:,}",
            f"{one['personas']:.3f}",
            f"{one['problems']:.3f}",
            " ".join(f"{value:.2f}" for value in one["quartiles"]),
            f"{one['below']:.0%}",
            f"{one['from_0.6_to_0.75']:.0%}",
        )
    shown = [
        f"{name} {'does not vary' if value is None else f'{value:.2f}'}"
        for name, value in result["correlations"].items()
    ]
    lines = [
        "below: share of pairs whose problems are less alike than the personas",
        f"rank correlation of the two likenesses: {', '.join(shown)}",
        f"models: {', '.join(result['models'])}; vectors by {result['encoder']}",
        *([SIMULATED] if result["simulated"] else []),
        f"plot and pairs in {result['to']}",
    ]
    return Group(table, Text(plain("\n".join(lines), 10_000)))
