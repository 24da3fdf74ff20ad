"""From a composed configuration to the ordered list of stages, each with the fingerprint of what its data is.

A stage's fingerprint covers its own settings (and, where it asks a model: prompts, model, sampling, seed) and the
fingerprint of the stage before it; nothing of how it is run (engine sizes, shards, cluster). So a changed prompt in
stage 3 changes stages 3 and after, and a changed number of GPUs changes none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipelines.errors import UserError
from pipelines.names import StageName
from pipelines.rows import digest
from pipelines.stages.stage import Stage, chains
from pipelines.store.survey import DECIDING

#: Kinds of stage and the key of a stage's node that makes it one.
KINDS = {"rows": "rows", "flow": "flow", "map": "map", "filters": "filter"} | {kind: kind for kind in DECIDING}
#: Settings of vLLM's own that change what a model writes, not only how fast.
_DATA_KWARGS = ("model", "tokenizer", "quantization", "hf_overrides", "kv_cache_dtype", "chat_template", "lora_modules")
#: Settings of a function that decides, makes or changes, and of a model, that do not change what comes of it.
_RUNTIME_KEYS = ("batch_size", "device", "memory_gib", "at_once", "workers")
_RUNTIME_MODEL_KEYS = ("tensor_parallel_size", "parameters", "trust_remote_code")


@dataclass(frozen=True)
class Round:
    """One go through one of a recipe's chains of stages.

    Attributes:
        chain: which chain.
        source: number of the round whose new rows it takes, counted from 1; 0 are the seeds.
        take: which of them (first, how many; None: all).
        draw: which sample of the same prompts is asked for, and ``draws``: how many of them.
        devices: those that the engine's copies held when it was decided.
    """

    chain: int
    source: int
    take: tuple[int, int] | None = None
    draw: int = 0
    draws: int = 1
    devices: int = 1


def stages_of(
    config: Mapping[str, Any], manifest_fingerprint: str, rounds: Sequence[Round] | None = None
) -> list[Stage]:
    """The stages of a composed configuration, seeds first; stages with ``enabled: false`` are left out.

    Without ``rounds``, each chain of the recipe is gone through once, with what the one before it kept. What is made of
    rows that stand in the recipe alone (demonstrations, say) is made in the first round only, and used in all.
    """
    seeds = {"manifest": manifest_fingerprint}
    stages = [Stage(0, "seeds", "seeds", {}, seeds, digest("seeds", seeds))]
    every = chains(config["recipe"])
    ends = [0]
    apart: dict[tuple[int, str], int] = {}  # stages of a chain that no row of a round goes through: made once
    for number in range(len(every) if rounds is None else len(rounds)):
        round_ = Round(number, number) if rounds is None else rounds[number]
        so_far = tuple(stage.number for stage in stages if stage.output)
        chain = every[round_.chain]
        here = {"seeds": ends[round_.source]}
        unasked = {ends[round_.source]}  # what the round takes, and what is made of it without a model
        result = config["recipe"]["result"] if config["recipe"]["result"] in chain else list(chain)[-1]
        for name, node in chain.items():
            if (round_.chain, name) in apart:
                here[name] = apart[round_.chain, name]
                continue
            kind = _kind(name, node)
            called = str(replace(StageName.read(name), round=0 if rounds is None else number + 1))
            source = stages[0 if kind == "rows" else here.get(node.get("from", ""), here[list(here)[-1]])]
            begins = source.number == ends[round_.source] and kind != "rows"
            asks = kind == "flow" and node.get("asks", True)
            samples = asks and source.number in unasked
            if not asks and kind != "rows" and source.number in unasked:
                unasked.add(len(stages))
            uses = _uses(node, here)
            identity = {"settings": digest(_what_the_data_is(kind, node))}
            if kind == "flow":
                identity |= _model_identity(config)
                if samples and (round_.draw, round_.draws) != (0, 1):
                    identity["samples"] = digest(round_.draw, round_.draws)
            if begins and round_.take is not None:
                identity["rows"] = digest(*round_.take)
            if uses:
                identity["uses"] = digest([stages[number].fingerprint for _, number in uses])
            if kind in DECIDING and so_far:
                identity["so_far"] = digest([stages[one].fingerprint for one in so_far])
            here[name] = len(stages)
            if kind == "rows" or {source.number, *(one for _, one in uses)} <= set(apart.values()):
                apart[round_.chain, name] = len(stages)
            stages.append(
                Stage(
                    number=len(stages),
                    name=called,
                    kind=kind,
                    node=node,
                    identity=identity,
                    fingerprint=digest(called, kind, identity, source.fingerprint),
                    source=source.number,
                    take=round_.take if begins else None,
                    uses=uses,
                    so_far=so_far if kind in DECIDING else (),
                    output=name == result,
                    draw=round_.draw if samples else 0,
                    draws=round_.draws if samples else 1,
                )
            )
        ends.append(stages[-1].number)
    if len(stages) == 1 and rounds is None:
        raise UserError(f"recipe.stages of {config['recipe']['name']!r} names no enabled stage")
    return stages


def _uses(node: Mapping[str, Any], here: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    """Arguments of a flow with the stages they come from: of the names given for one, the first that is enabled."""
    wanted = {
        argument: [names] if isinstance(names, str) else names for argument, names in node.get("uses", {}).items()
    }
    found = {argument: next((here[one] for one in names if one in here), None) for argument, names in wanted.items()}
    return tuple((argument, number) for argument, number in found.items() if number is not None)


def _kind(name: str, node: Mapping[str, Any]) -> str:
    kinds = [kind for key, kind in KINDS.items() if key in node]
    if len(kinds) != 1:
        raise UserError(
            f"recipe.stages.{name} has the keys {sorted(node)}; a stage has exactly one of {', '.join(sorted(KINDS))}"
        )
    return kinds[0]


def _what_the_data_is(kind: str, node: Mapping[str, Any]) -> dict[str, Any]:
    """A stage's settings without those that only say how it is run."""
    settings = {
        key: value for key, value in node.items() if key not in ("enabled", "from", "uses", "calls", "shard_rows")
    }
    if kind in (*DECIDING, "map"):
        settings[kind] = {k: v for k, v in node[kind].items() if k not in _RUNTIME_KEYS}
    return {key: _content(value) for key, value in settings.items()}


def _content(value: Any) -> Any:
    """A setting without the paths of files whose content it knows by a digest: a folder may be moved."""
    if isinstance(value, Mapping):
        known = "path" in value and "digest" in value
        return {key: _content(one) for key, one in value.items() if not (known and key == "path")}
    return [_content(one) for one in value] if isinstance(value, list) else value


def _model_identity(config: Mapping[str, Any]) -> dict[str, str]:
    """What a stage that asks a model is made of beside its settings, by the group that holds it."""
    engine = config["engine"]
    model = {k: v for k, v in config["model"].items() if k not in _RUNTIME_MODEL_KEYS}
    model |= {k: v for k, v in engine.get("engine_kwargs", {}).items() if k in _DATA_KWARGS}
    if engine.get("served_name") not in (None, model["weights"]):
        model["served_name"] = engine["served_name"]
    identity = {
        "prompt": digest(config["prompt"]),
        "model": digest(model),
        "sampling": digest(config["sampling"]),
        "seed": digest(config["seed"]),
        "overlong": digest(config["recipe"]["overlong"]),
    }
    if config["engine"]["kind"] == "simulated":
        # A simulated engine's settings shape its answers, and its answers must never mix with a model's.
        shape = {k: v for k, v in config["engine"].items() if k in ("kind", "words_mean", "accepted", "duplicates")}
        identity["engine"] = digest(shape)
    return identity


def changed_stages(old: list[Mapping[str, Any]], new: list[Stage]) -> list[str]:
    """A sentence for each stage that must be redone, naming what changed in it; [] when nothing did.

    ``old`` is what ``recorded`` wrote. A stage whose own settings are the same follows a changed one.
    """
    before = {entry["name"]: entry for entry in old}
    changes: list[str] = []
    for stage in new:
        entry = before.pop(stage.name, None)
        if entry is None:
            changes.append(f"{stage.number} {stage.name}: not in the recipe before")
        elif entry["fingerprint"] != stage.fingerprint:
            groups = [
                g
                for g in sorted({*stage.identity, *entry["identity"]})
                if stage.identity.get(g) != entry["identity"].get(g)
            ]
            changes.append(
                f"{stage.number} {stage.name}: "
                + (f"{', '.join(groups)} changed" if groups else "follows a changed stage")
            )
    changes += [f"{entry['number']} {name}: no longer in the recipe" for name, entry in before.items()]
    return changes


def recorded(stages: list[Stage]) -> list[dict[str, Any]]:
    """Fingerprints and identities as a run directory keeps them, to tell later what changed."""
    return [
        {
            "name": s.name,
            "number": s.number,
            "kind": s.kind,
            "fingerprint": s.fingerprint,
            "identity": dict(s.identity),
            "source": s.source,
            "take": list(s.take) if s.take else None,
            "output": s.output,
            "draws": s.draws,
        }
        for s in stages
    ]
