"""Rows that share runs of words with an evaluation set."""

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.dedup.overlap import found_in
from pipelines.errors import UserError
from pipelines.store.inputs.find import find
from pipelines.store.inputs.nested import digest_of

DATA = Path(os.environ.get("NIGHTMILL_TEST_DATA", "../shared/data"))
QUESTION = "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May."


def found(path: Path, rows: dict[str, Any], ngram: int = 8, columns: tuple[str, ...] = (), **how: Any) -> list[bool]:
    against = [{"path": str(path), "digest": digest_of(find(str(path)))}]
    return found_in(pa.table(rows), columns=columns, against=against, ngram=ngram, **how).to_pylist()


def contaminated(path: Path, texts: list[str | None], ngram: int = 8, **how: Any) -> list[bool]:
    return found(path, {"instruction": pa.array(texts, pa.string())}, ngram, columns=("instruction",), **how)


@pytest.fixture
def exam(tmp_path: Path) -> Path:
    path = tmp_path / "exam.jsonl"
    path.write_text(
        f'{{"question": "{QUESTION}", "answer": "Yes"}}\n{{"question": "Who wrote Emma?", "answer": "No"}}\n'
    )
    return path


def test_a_run_of_words_counts_whatever_its_case_and_punctuation(exam: Path) -> None:
    texts = [
        f"Please solve: {QUESTION.upper()}",
        "natalia SOLD clips to 48 of her -- friends!",  # eight words and nine
        "Natalia sold clips to 48 of her foes in April.",
        "Yes, it is so.",
        "",
        None,
    ]
    assert contaminated(exam, texts) == [True, True, False, False, False, False]


def test_an_answer_is_not_found_because_an_evaluation_answer_is_as_short(exam: Path) -> None:
    assert contaminated(exam, ["Yes.", "No", "Who wrote Emma?"]) == [False, False, False]


def test_a_short_question_is_found_where_it_is_the_whole_of_another(exam: Path) -> None:
    texts = ["WHO wrote Emma", "Who wrote Emma, and when?", "wrote Emma?"]
    assert contaminated(exam, texts, asked=["instruction"]) == [True, False, False]


def test_a_short_question_on_a_passage_is_another_question(exam: Path) -> None:
    rows = {"instruction": ["Who wrote Emma?"] * 2, "passage": ["a1b2", None]}
    assert found(exam, rows, asked=["instruction"], beside="passage") == [False, True]


def test_all_columns_of_a_row_are_looked_at(exam: Path) -> None:
    rows = {"instruction": ["What?", "What?"], "response": [QUESTION, "No."]}
    assert found(exam, rows, columns=("instruction", "response")) == [True, False]


def test_answer_options_are_looked_at_one_by_one_and_together(tmp_path: Path) -> None:
    options = ["iron and a little tin", "wood from the north", "stone", "glass"]
    pq.write_table(pa.table({"question": ["Which?"], "choices": [options]}), tmp_path / "exam.parquet")
    rows = {"options": [options, options[:2], ["a", *options[:3]], [*options[1:], options[0]], [], None]}
    assert found(tmp_path / "exam.parquet", rows, columns=("options",)) == [True, True, True, False, False, False]


def test_every_turn_of_a_conversation_is_looked_at(exam: Path) -> None:
    turns = [
        [("user", "Hello."), ("assistant", "Yes."), ("user", QUESTION), ("assistant", "72")],
        [("user", "Hello."), ("assistant", f"Here is one: {QUESTION}")],
        [("user", "Who wrote Emma?"), ("assistant", "Yes.")],
    ]
    rows = [json.dumps([{"role": role, "content": text} for role, text in one]) for one in turns]
    assert found(exam, {"messages": [*rows, "[]", None]}, conversations=["messages"]) == [True, True, *[False] * 3]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([[{"role": "user", "content": QUESTION}]]),
        pa.array([{"text": [QUESTION], "label": [1]}]),
        pa.array([[("first", QUESTION)]], pa.map_(pa.string(), pa.string())),
        pa.array([[[QUESTION]]], pa.large_list(pa.list_(pa.large_string()))),
        pa.array([[QUESTION]], pa.list_(pa.string(), 1)),
        pa.array([QUESTION]).dictionary_encode(),
        pa.array([json.dumps([{"role": "user", "content": f"Now:\n{QUESTION}"}])]),
        pa.array([None, QUESTION], pa.string_view()),
    ],
    ids=lambda column: str(column.type),
)
def test_a_text_of_an_evaluation_set_is_found_wherever_it_stands(column: pa.Array, tmp_path: Path) -> None:
    pq.write_table(pa.table({"number": [1] * len(column), "nested": column}), tmp_path / "exam.parquet")
    assert contaminated(tmp_path / "exam.parquet", [QUESTION, "Yes."]) == [True, False]


def test_json_lines_may_be_nested_too(tmp_path: Path) -> None:
    row = {"messages": [{"role": "user", "content": f"Solve this.\n{QUESTION}"}], "choices": ["[not JSON", "72"]}
    (tmp_path / "exam.jsonl").write_text(json.dumps(row) + "\n")
    assert contaminated(tmp_path / "exam.jsonl", [QUESTION, "72"], asked=["instruction"]) == [True, True]


def test_a_set_without_texts_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"number": [1]}), tmp_path / "numbers.parquet")
    with pytest.raises(UserError, match=r"numbers\.parquet: holds no text"):
        contaminated(tmp_path / "numbers.parquet", ["a"])


def test_a_set_that_has_changed_is_named(exam: Path) -> None:
    digest = digest_of(find(str(exam)))
    exam.write_text('{"question": "What else is there?"}\n')
    with pytest.raises(UserError, match=r"exam\.jsonl: is not as it was .* redo=changed"):
        found_in(pa.table({"text": ["a"]}), columns=["text"], against=[{"path": str(exam), "digest": digest}], ngram=8)


@pytest.mark.skipif(not (DATA / "gsm8k_test.parquet").exists(), reason="real data is absent: set NIGHTMILL_TEST_DATA")
def test_a_real_test_set_is_found_in_itself_and_hardly_in_its_train_set() -> None:
    exam, train = (pq.read_table(DATA / f"gsm8k_{part}.parquet")["question"].to_pylist() for part in ("test", "train"))
    assert all(contaminated(DATA / "gsm8k_test.parquet", exam, 13, asked=["instruction"]))
    assert sum(contaminated(DATA / "gsm8k_test.parquet", train, 13)) < 0.02 * len(train)
