"""The wheel outside the checkout: one package with its configs inside, and a run in an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).resolve().parents[1]

Nightmill = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    call([sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder], ROOT)
    (built,) = folder.glob("nightmill-*.whl")
    return built


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that sees the packages of this one but not the checkout, which only a .pth of this one names."""
    home = tmp_path_factory.mktemp("environment")
    call([sys.executable, "-m", "venv", "--without-pip", home], home)
    folder = home / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    (folder / "locked.pth").write_text(sysconfig.get_path("purelib") + "\n")
    python = home / "bin" / "python"
    call([sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel], home)
    return folder


@pytest.fixture
def nightmill(site: Path, tmp_path: Path) -> Nightmill:
    """The installed command, called in an empty folder."""
    program = site.parents[2] / "bin" / "nightmill"
    return lambda *words: call([program, *words], tmp_path)


def call(words: list[str | Path], folder: Path) -> subprocess.CompletedProcess[str]:
    bare = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run([str(word) for word in words], cwd=folder, env=bare, capture_output=True, text=True)
    assert done.returncode == 0, f"{words}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done


def test_the_wheel_holds_one_package_with_its_configs_inside(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"pipelines"}
    shipped = {name.removeprefix("pipelines/") for name in names if name.startswith("pipelines/conf/")}
    written = {str(path.relative_to(ROOT)) for path in (ROOT / "conf").rglob("*") if path.is_file()}
    assert shipped == written
    assert "conf/recipe/text_to_persona.yaml" in shipped


def test_only_pipelines_lands_in_site_packages(site: Path) -> None:
    landed = {path.name for path in site.iterdir() if not path.name.endswith((".dist-info", ".pth"))}
    assert landed - {"__pycache__"} == {"pipelines"}


def test_help_answers_in_an_empty_folder(nightmill: Nightmill, tmp_path: Path) -> None:
    assert "run" in nightmill("--help").stdout
    assert list(tmp_path.iterdir()) == []


def test_a_run_in_an_empty_folder_needs_no_checkout(nightmill: Nightmill, tmp_path: Path) -> None:
    texts = [f"Note {i} from the harbour office about berth {i} and the tide." for i in range(8)]
    pq.write_table(pa.table({"text": texts}), tmp_path / "seeds.parquet")
    nightmill(
        "run",
        "recipe=text_to_persona",
        "engine=simulated",
        "dedup.embedding.enabled=false",
        "input=seeds.parquet",
        "text_column=text",
        "output=out",
    )
    assert pq.read_table(tmp_path / "out" / "data").num_rows > 0
    assert {path.name for path in tmp_path.iterdir()} == {"seeds.parquet", "out"}
    nightmill("verify", "out")
