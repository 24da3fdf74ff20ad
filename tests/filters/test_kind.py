"""Prose or code, and which language."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.filters.kind import with_kind

DATA = Path(os.environ.get("NIGHTMILL_TEST_DATA", "../shared/data"))

CODE = {
    "javascript": "const a = 1;\nfunction f(x) {\n  return x + 1;\n}\nconsole.log(f(a));",
    "java": "public class A {\n  public static void main(String[] args) {\n    System.out.println(1);\n  }\n}",
    "c": '#include <stdio.h>\nint main(void) {\n  printf("x");\n  return 0;\n}',
    "go": 'package main\n\nimport "fmt"\n\nfunc main() {\n\tfmt.Println(1)\n}',
    "rust": 'fn main() {\n    let mut x = 1;\n    println!("{}", x);\n}',
    "sql": "SELECT a, b\nFROM t\nWHERE a > 1\nORDER BY b;",
    "json": '{\n  "openapi": "3.0.0",\n  "paths": {\n    "/a": {"get": {"summary": "x"}}\n  }\n}',
    "python": "import os\r\n\r\ndef f(x):\r\n    '''What it\r\n    does it.'''\r\n    return x + 1\r\n",
    None: "fact :: Int -> Int\nfact 0 = 1\nfact n = n * fact (n - 1)\nmain = print (fact 5)",
}
PROSE = [
    "# Title\n\nWords on this tool.\n\n- first\n- second\n\n```python\nimport os\n```\n",
    "The rain it raineth every day,\nupon the just and unjust fella,\nbut mostly on the just,",
    "name, age, town\nAnn, 3, Ulm\nBob, 4, Bonn",
    "Ann: hello there\nBob: hi\nAnn: are you coming (tonight)?\nBob: yes; why not?",
    "今天天气很好。\n我们去公园散步。",
    "الطقس جميل اليوم.\nذهبنا إلى الحديقة.",
    "Let $f$ be a map.\nThen $f(x) = x^2$ for all $x$.\nHence $f$ is even.",
    "From: a@b.c\nTo: d@e.f\nSubject: hello\n\nDear Ann,\n\nfor your information I attach it.\n\nYours,\nBob",
    "",
    None,
]


def found(texts: list, **columns: list) -> tuple[list, list]:
    table = with_kind(pa.table({"text": texts, **columns}), column="text")
    return table["kind"].to_pylist(), table["language"].to_pylist()


@pytest.mark.parametrize("language", list(CODE), ids=str)
def test_code(language: str | None) -> None:
    assert found([CODE[language]]) == (["code"], [language])


@pytest.mark.parametrize("text", PROSE, ids=range(len(PROSE)))
def test_prose(text: str | None) -> None:
    assert found(pa.array([text], pa.string())) == (["text"], [None])


def test_what_the_input_says_goes_before() -> None:
    kinds, languages = found([CODE["go"], CODE["go"], PROSE[0]], kind=["text", None, "poem"])
    assert kinds == ["text", "code", "text"]
    assert languages == [None, "go", None]


@pytest.mark.skipif(not (DATA / "seeds.parquet").exists(), reason="needs seeds.parquet of NIGHTMILL_TEST_DATA")
def test_real_passages() -> None:
    table = pq.read_table(DATA / "seeds.parquet", columns=["text", "source"])
    kinds = with_kind(table.cast(pa.schema([("text", pa.string()), ("source", pa.string())])), column="text")["kind"]
    sources = table["source"].to_pylist()
    pairs = zip(sources, kinds.to_pylist(), strict=True)
    wrong = [source for source, kind in pairs if (kind == "code") != ("algorithms" in source)]
    assert wrong.count("thealgorithms_python") <= 2
    assert len(wrong) <= 40  # nearly all of them design documents that are mostly sample code
