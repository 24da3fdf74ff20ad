"""The house: imports point down, files stay small, nothing prints, and naming the package costs nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "pipelines"

#: From the ground up. A module imports from its own part of the house and from the floors below it.
FLOORS = (
    {"errors", "rows", "names", "bound", "kernels", "buffers", "refusals"},
    {"settings", "prompts", "interrupt"},
    {"engine", "store"},
    {"flows", "filters"},
    {"dedup"},
    {"selection", "report", "retrieval"},
    {"stages"},
    {"recipe", "summary", "progress", "failures", "face"},
    {"publish", "compose", "directory", "rounds"},
    {"towards"},
    {"run"},
    {"verbs", "sweep"},
    {"cli"},
)
FLOOR = {part: height for height, parts in enumerate(FLOORS) for part in parts}

#: Files of 300 lines and more, with the reason why each is one idea.
EXCUSED_FROM_LENGTH: dict[str, str] = {}

#: Who may import what is heavy, or moves with every release.
KEEPERS = {
    "vllm": {"pipelines.engine.vllm"},
    "sentence_transformers": {
        "pipelines.dedup.vectors.encoder",
        "pipelines.retrieval.bi_encoder",
        "pipelines.retrieval.cross_encoder",
        "pipelines.retrieval.losses",
        "pipelines.retrieval.t5",
        "pipelines.retrieval.training",
    },
}
HEAVY = ("ray", "torch", "vllm", "transformers", "sentence_transformers", "numba", "pyarrow", "hydra", "scipy")


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports(module: str) -> Iterator[str]:
    """Modules that ``module`` names in an import anywhere in it, our own resolved to files of ours."""
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively; write the whole name"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in MODULES else str(node.module)


def ours(module: str) -> set[str]:
    return {name for name in imports(module) if name in MODULES and name not in {module, "pipelines"}}


def part(module: str) -> str:
    """The part of the house a module is in: ``pipelines.engine.row`` is in ``engine``."""
    return module.split(".")[1]


def test_every_part_of_the_house_has_a_floor() -> None:
    assert {part(module) for module in MODULES if module != "pipelines"} <= set(FLOOR)


@pytest.mark.parametrize("module", [m for m in MODULES if m != "pipelines"])
def test_imports_point_down(module: str) -> None:
    sideways_or_up = {
        name for name in ours(module) if part(name) != part(module) and FLOOR[part(name)] >= FLOOR[part(module)]
    }
    assert not sideways_or_up


def test_the_package_itself_imports_nothing() -> None:
    assert list(imports("pipelines")) == []


def test_no_imports_go_in_a_circle() -> None:
    TopologicalSorter({module: ours(module) for module in MODULES}).prepare()


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith("pipelines.flows")])
def test_a_flow_knows_no_engine_and_no_ray(module: str) -> None:
    """Of the engine a flow sees the protocol; adding a recipe asks for neither Ray nor vLLM."""
    names = set(imports(module))
    assert {name for name in names if name.startswith("pipelines.engine")} <= {"pipelines.engine.llm"}
    assert not {name.split(".")[0] for name in names} & {"ray", "vllm", "torch"}


@pytest.mark.parametrize("library", KEEPERS)
def test_one_keeper_of_each_moving_library(library: str) -> None:
    importers = {m for m in MODULES if any(name.split(".")[0] == library for name in imports(m))}
    assert importers <= KEEPERS[library]


@pytest.mark.parametrize("path", MODULES.values(), ids=MODULES)
def test_a_file_holds_one_idea(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    name = str(path.relative_to(ROOT))
    assert lines < 300 or EXCUSED_FROM_LENGTH.get(name), f"{lines} lines: two ideas, or say why in EXCUSED_FROM_LENGTH"


def test_excuses_are_of_files_that_need_one() -> None:
    long = {str(p.relative_to(ROOT)) for p in MODULES.values() if len(p.read_text().splitlines()) >= 300}
    assert set(EXCUSED_FROM_LENGTH) == long


@pytest.mark.parametrize("module", [m for m in MODULES if m != "pipelines.cli"])
def test_only_the_command_line_prints(module: str) -> None:
    calls = (node.func for node in ast.walk(ast.parse(MODULES[module].read_text())) if isinstance(node, ast.Call))
    assert "print" not in {func.id for func in calls if isinstance(func, ast.Name)}


@pytest.mark.parametrize("module", MODULES)
def test_every_file_opens_with_what_it_is_for(module: str) -> None:
    assert ast.get_docstring(ast.parse(MODULES[module].read_text()))


@pytest.mark.parametrize("module", ["pipelines", "pipelines.cli"])
def test_naming_the_package_loads_nothing_heavy(module: str) -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", f"import {module}, sys; print(*sys.modules)"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert not set(HEAVY) & set(loaded)


def test_a_run_begins_without_pandas() -> None:
    """Arrow imports it for the first Python list that becomes an array, which takes a fifth of a second."""
    code = "import pipelines.compose, pipelines.run, sys; assert 'pandas' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
