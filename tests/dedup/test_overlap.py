"""Rows that share runs of words with an evaluation set."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.dedup.overlap import found_in
from pipelines.errors import UserError

DATA = Path(os.environ.get("NIGHTMILL_TEST_DATA", "../shared/data"))
QUESTION = "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May."


def contaminated(path: Path, texts: list[str | None], ngram: int = 8) -> list[bool]:
    table = pa.table({"instruction": pa.array(texts, pa.string())})
    against = [{"path": str(path), "digest": "1"}]
    return found_in(table, columns=["instruction"], against=against, ngram=ngram).to_pylist()


@pytest.fixture
def exam(tmp_path: Path) -> Path:
    path = tmp_path / "exam.jsonl"
    path.write_text(f'{{"question": "{QUESTION}", "answer": "Yes"}}\n')
    return path


def test_a_run_of_words_counts_whatever_its_case_and_punctuation(exam: Path) -> None:
    texts = [
        f"Please solve: {QUESTION.upper()}",
        "natalia SOLD clips to 48 of her -- friends!",  # eight words and nine
        "Natalia sold clips to 48 of her foes in April.",
        "Yes",  # an answer that is the whole of a text
        "Yes, it is so.",
        "",
        None,
    ]
    assert contaminated(exam, texts) == [True, True, False, True, False, False, False]


def test_all_columns_of_a_row_are_looked_at(exam: Path) -> None:
    table = pa.table({"instruction": ["What?", "What?"], "response": [QUESTION, "No."]})
    against = [{"path": str(exam), "digest": "2"}]
    assert found_in(table, columns=["instruction", "response"], against=against, ngram=8).to_pylist() == [True, False]


def test_a_set_without_texts_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"number": [1]}), tmp_path / "numbers.parquet")
    with pytest.raises(UserError, match=r"numbers\.parquet: holds no text"):
        contaminated(tmp_path / "numbers.parquet", ["a"])


@pytest.mark.skipif(not (DATA / "gsm8k_test.parquet").exists(), reason="real data is absent: set NIGHTMILL_TEST_DATA")
def test_a_real_test_set_is_found_in_itself_and_hardly_in_its_train_set() -> None:
    exam, train = (pq.read_table(DATA / f"gsm8k_{part}.parquet")["question"].to_pylist() for part in ("test", "train"))
    assert all(contaminated(DATA / "gsm8k_test.parquet", exam, 13))
    assert sum(contaminated(DATA / "gsm8k_test.parquet", train, 13)) < 0.02 * len(train)
