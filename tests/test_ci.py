"""Skips in continuous integration: each for a named reason, and none of what this machine could run."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

CI = Path(__file__).resolve().parents[1] / ".ci"
SKIPPING = """
import pytest

def test_runs(): pass

@pytest.mark.skip(reason="needs a GPU with 80 GiB")
def test_listed(): pass

def test_not_listed(): pytest.skip("did not feel like it")
"""


@pytest.fixture(scope="module")
def skips() -> ModuleType:
    spec = importlib.util.spec_from_file_location("skips", CI / "skips.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def report(tmp_path: Path) -> Path:
    """What pytest writes of two files, one of them skipped whole."""
    (tmp_path / "test_some.py").write_text(SKIPPING)
    (tmp_path / "test_whole.py").write_text('import pytest\npytest.skip("no such thing", allow_module_level=True)\n')
    pytest_here = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml=report.xml"]
    subprocess.run(pytest_here, cwd=tmp_path, check=True)
    return tmp_path / "report.xml"


def test_reasons_are_read_as_tests_give_them(skips: ModuleType, report: Path) -> None:
    reasons = {reason for _, reason in skips.skips(report)}
    assert reasons == {"needs a GPU with 80 GiB", "did not feel like it", "no such thing"}


def test_a_reason_that_is_not_listed_fails(
    skips: ModuleType, report: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = tmp_path / "allowed"
    listed.write_text("# why\nneeds a GPU*\nno such thing\n")
    assert skips.main(str(report), str(listed)) == 1
    assert "did not feel like it" in capsys.readouterr().out
    listed.write_text("needs a GPU*\nno such thing\ndid not feel like it\n")
    assert skips.main(str(report), str(listed)) == 0


def test_a_heading_excuses_only_where_it_is_true(skips: ModuleType) -> None:
    lines = ["always*", "", "[without root]", "needs root*", "[without real data]", "real data*"]
    assert skips.allowed(lines, {"[without root]"}) == ["always*", "needs root*"]
    assert skips.allowed(lines, set()) == ["always*"]


def test_the_list_is_short() -> None:
    lines = (CI / "allowed-skips").read_text().splitlines()
    assert len([line for line in lines if line and line[0] not in "#["]) <= 8
