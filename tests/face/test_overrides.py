"""Quoting paths for Hydra, near names, and what a message may repeat."""

from __future__ import annotations

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from pipelines.face.overrides import did_you_mean, literal_keys, nearest, nearest_keys, quoted, shown


@given(st.text(min_size=1))
def test_what_is_quoted_reads_back_as_it_was(path: str) -> None:
    if path.lower() == "null" or (path[0] == path[-1] and path[0] in "'\"" and len(path) > 1):
        return
    override = OverridesParser.create().parse_override(quoted(f"output={path}"))
    assert (override.key_or_group, override.value(), override.is_sweep_override()) == ("output", path, False)


def test_quoting_twice_changes_nothing() -> None:
    once = quoted("input=it's, a (file).parquet")
    assert quoted(once) == once


@pytest.mark.parametrize(
    "override",
    ["limit=3", "recipe.relations=[a,b]", "model=a,b", "~recipe.stages.x", "--json", "x", "input=", "id_column=null"],
)
def test_everything_that_is_not_a_path_is_left_alone(override: str) -> None:
    assert quoted(override) == override


def test_only_inputs_are_lists() -> None:
    assert quoted("input=[a,b]") == "input=[a,b]"
    assert quoted("output=[a,b]") == "output='[a,b]'"


def test_a_path_is_swept_over_by_choice_only() -> None:
    assert quoted("input=a,b", sweep=True) == "input='a,b'"
    assert quoted("input=choice(a,b)", sweep=True) == "input=choice(a,b)"
    assert quoted("input=choice(a,b)") == "input='choice(a,b)'"


def test_the_keys_with_paths_are_those_that_the_schemas_mark() -> None:
    assert {
        "input",
        "output",
        "text_column",
        "id_column",
        "model.weights",
        "engine.base_url",
        "cluster.address",
    } < literal_keys()
    assert not {"limit", "recipe", "sampling.stop", "engine.replicas"} & literal_keys()


def test_nearest_names() -> None:
    assert nearest("tempreture", ["temperature", "top_p"]) == ["temperature"]
    assert nearest("RUN", ["run", "plan"]) == ["run"]
    assert nearest("zzz", ["run"]) == []
    assert did_you_mean(["a", "b", "c"]) == "did you mean a, b or c?"
    assert did_you_mean([], "verbs are x") == "verbs are x"


KEYS = [
    "limit",
    "recipe",
    "recipe.hops",
    "sampling",
    "sampling.max_tokens",
    "sampling.top_p",
    "a",
    "a.quality",
    "a.quality.than",
]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("limt", "limit"),
        ("max_tokens", "sampling.max_tokens"),
        ("sampling.max_token", "sampling.max_tokens"),
        ("smpling.max_tokens", "sampling.max_tokens"),
        ("a.qualty.than", "a.quality.than"),
        ("a.qualty.enabled", "a.quality"),
    ],
)
def test_nearest_keys(typed: str, meant: str) -> None:
    assert nearest_keys(typed, KEYS)[0] == meant


def test_a_secret_is_not_shown() -> None:
    assert shown("engine.api_key", "sk-1") == "engine.api_key=..."
    assert shown("engine.api_key_env", "sk-1") == "engine.api_key_env=..."
    assert shown("sampling.max_tokens", 5) == "sampling.max_tokens=5"
