"""The verbs as data: what each is for, which function does it, what it takes.

cli.py acts on them, usage.py shows them. Functions are named, not imported, so that a command loads only what its own
verb needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Option:
    """An ordinary option of a verb; ``takes`` names its value, or is None for a switch."""

    name: str
    doc: str
    short: str = ""
    takes: str | None = None
    choices: tuple[str, ...] = ()

    @property
    def flags(self) -> str:
        """The option as usage shows it."""
        shown = ", ".join(filter(None, (self.short, self.name)))
        return f"{shown} {self.takes}" if self.takes else shown


@dataclass(frozen=True)
class Verb:
    """A verb: the function that does it, the one that shows its result, and what it takes.

    ``function`` and ``render`` are ``module:name``, imported when called. A verb that composes takes overrides and gets
    the configuration; ``needs`` are the keys that must be set. The others get their positionals and options. ``within``
    is a context manager that is entered before anything is composed.
    """

    summary: str
    usage: str
    function: str
    render: str
    examples: tuple[str, ...]
    composes: bool = False
    needs: tuple[str, ...] = ()
    positionals: tuple[str, ...] = ()
    options: tuple[Option, ...] = ()
    within: str | None = None


VERBS: Mapping[str, Verb] = {
    "run": Verb(
        "run a recipe, or go on with a run that stopped; -m runs every point of a sweep",
        "run KEY=VALUE ...",
        "pipelines.run:run",
        "pipelines.run:render",
        (
            "run recipe=text_to_persona input=SEEDS.parquet text_column=text output=runs/personas",
            "run recipe=text_to_persona input=SEEDS.parquet output=runs/personas retry=failed",
            "run recipe=text_to_persona input=s3://bucket/*.parquet output=s3://bucket/run engine=vllm_gpu",
            "run -m recipe=text_to_persona input=SEEDS.parquet output=runs/sweep recipe.granularity=coarse,fine",
        ),
        composes=True,
        needs=("recipe", "input", "output"),
        options=(Option("--multirun", "a sweep: key=a,b runs a point each, in OUTPUT/points/NNN", short="-m"),),
        within="pipelines.stages.ahead:started",
    ),
    "preview": Verb(
        "show a few rows: rendered prompt, answer, tokens",
        "preview KEY=VALUE ...",
        "pipelines.verbs.preview:preview",
        "pipelines.verbs.preview:render",
        ("preview recipe=text_to_persona input=SEEDS.parquet rows=3",),
        composes=True,
        needs=("recipe", "input"),
    ),
    "plan": Verb(
        "forecast rows, calls and tokens before anything runs",
        "plan KEY=VALUE ...",
        "pipelines.verbs.plan:plan",
        "pipelines.verbs.plan:render",
        ("plan recipe=text_to_persona input=SEEDS.parquet rows=1000000",),
        composes=True,
        needs=("recipe", "input"),
    ),
    "doctor": Verb(
        "say what would fail here, and the fix",
        "doctor [KEY=VALUE ...]",
        "pipelines.verbs.doctor:doctor",
        "pipelines.verbs.doctor:render",
        ("doctor", "doctor engine=vllm_gpu model=llama3.1_70b output=runs/personas"),
        composes=True,
    ),
    "status": Verb(
        "show how far a run is",
        "status RUN",
        "pipelines.verbs.status:status",
        "pipelines.verbs.status:render",
        ("status runs/personas", "status runs/skills --by skill,type"),
        positionals=("RUN",),
        options=(Option("--by", "count what became of the rows by these columns too", takes="COLUMN[,COLUMN]"),),
    ),
    "verify": Verb(
        "prove from the files alone that every row and item is accounted for; an unfinished run is no defect",
        "verify RUN",
        "pipelines.store.verify:verify",
        "pipelines.verbs.verify:render",
        ("verify runs/personas",),
        positionals=("RUN",),
    ),
    "explain": Verb(
        "show a row's ancestry: seed, prompts, answers",
        "explain RUN ROW_ID",
        "pipelines.verbs.explain:explain",
        "pipelines.verbs.explain:render",
        ("explain runs/personas 6f0c1d5e2b7a49f08d3c5a7e9b1f2d40",),
        positionals=("RUN", "ROW_ID"),
    ),
    "similarity": Verb(
        "measure what personas' likeness does to what they write, and draw it",
        "similarity RUN",
        "pipelines.verbs.similarity:similarity",
        "pipelines.verbs.similarity:render",
        ("similarity runs/study", "similarity runs/study --other runs/study_of_another_model"),
        positionals=("RUN",),
        options=(
            Option("--other", "a run over the same personas by another model, to compare across the two", takes="RUN"),
            Option(
                "--to", "folder to write the plot and the pairs to, or URL; by default RUN/similarity", takes="FOLDER"
            ),
        ),
    ),
    "export": Verb(
        "write the final rows in another layout",
        "export RUN",
        "pipelines.verbs.export:export",
        "pipelines.verbs.export:render",
        ("export runs/personas --format jsonl --to personas.jsonl",),
        positionals=("RUN",),
        options=(
            Option(
                "--format",
                "jsonl, parquet, or a layout: persona_hub, agent_instruct, chat, sharegpt [as --to ends, or jsonl]",
                takes="FORMAT",
                choices=("jsonl", "parquet", "persona_hub", "agent_instruct", "chat", "sharegpt"),
            ),
            Option("--to", "file or folder to write, or URL; by default a file beside the run's data", takes="PATH"),
            Option("--no-provenance", "leave out the column provenance"),
        ),
    ),
}
