"""scripts/setup where it must stop: it says what is missing, and touches nothing that it did not make."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOOLS = "bash cat cut dirname env find grep id ls mkdir rm sed sha256sum touch uname".split()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with what setup reads, and ``bin``: a PATH with the usual tools and no Python."""
    for name in ("scripts/setup", "scripts/requirements-cpu.txt", "pyproject.toml", "pipelines/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found, f"{tool} is not on PATH"
        (tmp_path / "bin" / tool).symlink_to(found)
    return tmp_path


def setup(checkout: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    bare = {"PATH": str(checkout / "bin"), "HOME": str(checkout)}
    return subprocess.run(
        [checkout / "scripts" / "setup"], cwd="/", env={**bare, **environment}, capture_output=True, text=True
    )


def program(path: Path, body: str) -> None:
    path.write_text(f"#!{shutil.which('bash')}\n{body}\n")
    path.chmod(0o755)


def test_without_python_it_says_which_one_it_wants(checkout: Path) -> None:
    done = setup(checkout)
    assert done.returncode == 1
    assert "Python 3.11" in done.stderr
    assert "NIGHTMILL_PYTHON" in done.stderr
    assert not (checkout / ".venv").exists()


def test_a_name_on_the_path_that_does_not_run_fools_nobody(checkout: Path) -> None:
    program(checkout / "bin" / "python3.11", 'echo "pyenv: python3.11: command not found" >&2; exit 127')
    done = setup(checkout)
    assert done.returncode == 1
    assert "none was found" in done.stderr


def test_another_python_is_not_taken(checkout: Path) -> None:
    program(checkout / "bin" / "python3", "exit 1  # what sys.version_info[:2] != (3, 11) comes to")
    assert "none was found" in setup(checkout).stderr


def test_python_without_venv_is_named(checkout: Path) -> None:
    program(checkout / "bin" / "python3.11", '[[ "$2" != *ensurepip* ]]')
    done = setup(checkout)
    assert done.returncode == 1
    assert "python3.11-venv" in done.stderr


def test_an_environment_that_setup_did_not_make_is_left_alone(checkout: Path) -> None:
    (checkout / ".venv").mkdir()
    (checkout / ".venv" / "mine").touch()
    done = setup(checkout, NIGHTMILL_PYTHON=sys.executable)
    assert done.returncode == 1
    assert "did not make" in done.stderr
    assert [path.name for path in (checkout / ".venv").iterdir()] == ["mine"]


def test_what_an_interrupted_setup_left_is_started_over(checkout: Path) -> None:
    """A kill may come while the old environment is being removed: its stamps are gone by then, its mark is not."""
    (checkout / ".venv" / "lib").mkdir(parents=True)
    for left in (".nightmill", ".environment", ".project", "lib/half"):
        (checkout / ".venv" / left).touch()
    program(checkout / "bin" / "python3.11", '[[ "$*" != *"-m venv"* ]]  # all well until an environment is to be made')
    done = setup(checkout)
    assert done.returncode == 1
    assert "making .venv" in done.stderr
    assert [path.name for path in (checkout / ".venv").iterdir()] == [".nightmill"]
