"""Files that a recipe compares with are looked at when the configuration is composed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.compose import compose
from pipelines.errors import UserError

RUN = ("recipe=agent_instruct", "input=seeds.parquet", "output=runs/x")


def against(*overrides: str) -> Any:
    return compose([*RUN, *overrides])["recipe"]["decontaminate"]


@pytest.fixture
def exam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    pq.write_table(pa.table({"choices": [["iron", "wood"]]}), tmp_path / "exam.parquet")
    pq.write_table(pa.table({"number": [1], "none": pa.array([None], pa.string())}), tmp_path / "numbers.parquet")
    pq.write_table(pa.table({"choices": [["..."], []]}), tmp_path / "marks.parquet")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "exam.parquet"


def test_a_path_is_absolute_and_stands_with_what_its_content_is_known_by(exam: Path) -> None:
    [one] = against("recipe.decontaminate=exam.parquet")
    assert one["path"] == str(exam)
    stage = compose([*RUN, "recipe.decontaminate=exam.parquet"])["recipe"]["stages"]["decontaminated"]
    assert stage["filters"]["in_evaluation_set"]["against"] == [one]
    exam.write_bytes((exam.parent / "marks.parquet").read_bytes().replace(b"...", b"abc"))
    [other] = against("recipe.decontaminate=exam.parquet")
    assert other["path"] == one["path"] and other["digest"] != one["digest"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("absent.parquet", "recipe.decontaminate=absent.parquet: no such file or folder"),
        ("exm.parquet", "did you mean"),
        ("numbers.parquet", "recipe.decontaminate=numbers.parquet: holds no text to compare with"),
        ("marks.parquet", "recipe.decontaminate=marks.parquet: holds no text to compare with"),
        ("[exam.parquet,absent.parquet,numbers.parquet]", "numbers.parquet: holds no text"),
        ("[exam.parquet,absent.parquet,numbers.parquet]", "absent.parquet: no such file"),
    ],
)
def test_files_that_are_of_no_use_are_named_before_anything_starts(exam: Path, given: str, says: str) -> None:
    with pytest.raises(UserError) as caught:
        against(f"recipe.decontaminate={given}")
    assert says in str(caught.value)


def test_files_given_with_digests_must_be_as_they_were(exam: Path) -> None:
    [one] = against("recipe.decontaminate=exam.parquet")
    given = "recipe.decontaminate=[{path: %s, digest: %s}]"
    assert against(given % (one["path"], one["digest"])) == [one]
    with pytest.raises(UserError, match=r"exam.parquet: is not as it was"):
        against(given % (one["path"], "0" * 32))
