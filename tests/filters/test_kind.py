"""Prose or code, and which language."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.filters import kind as place
from pipelines.filters.kind import kinds, with_kind

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
    "haskell": "fact :: Int -> Int\nfact 0 = 1\nfact n = n * fact (n - 1)\nmain = print (fact 5)",
    "typescript": "interface Point {\n  x: number;\n}\nexport function f(p: Point): number {\n}",
    "cpp": "#include <iostream>\nint main() {\n  std::cout << 1 << std::endl;\n  return 0;\n}",
    "csharp": "using System;\nnamespace Shop;\npublic class Till\n{\n    public int Sum { get; set; }\n}",
    "shell": '#!/bin/sh\nset -eu\nfor f in *.txt; do\n  if [ -s "$f" ]; then\n    echo "$f"\n  fi\ndone',
    "r": "library(stats)\nx <- c(1, 2, 3)\nf <- function(y) {\n  mean(y, na.rm = TRUE)\n}\nprint(f(x))",
    "ruby": "class Till\n  attr_reader :sum\n  def add(price)\n    @sum += price\n  end\nend",
    "php": "<?php\nfunction add($a, $b) {\n    return $a + $b;\n}\necho add(1, 2);",
    "lisp": "(defun fact (n)\n  (if (< n 2)\n      1\n      (* n (fact (- n 1)))))",
    "assembly": "section .text\nglobal _start\n_start:\n    mov eax, 1\n    xor ebx, ebx\n    int 0x80",
    "yaml": "openapi: 3.0.0\npaths:\n  /pets:\n    get:\n      summary: All pets\n      responses:\n        200:",
    "html": "<!DOCTYPE html>\n<html>\n<body>\n<div class='a'>\n<p>Hello</p>\n</div>\n</body>\n</html>",
    None: "qux(1, 2);\nqux(3, 4);\n",
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
    "The function is called as follows::\n\n    def f(x):\n        return x\n\nand then it answers what it was given.",
    "The owl; the cat;\nThe mouse -- all sleep.\nO night, (so long)\nand deep.",
    "We must show \\(x = 2\\).\n\\begin{align*}\nx &= 1 + 1 \\\\\n&= 2\n\\end{align*}\nThis is what was asked for.",
    "x = 5\ny = 7",
    "<!-- Say here what you would like to see changed. -->\nNothing more is asked of you.",
    "He asked; she (smiling) said: for the moment, return to me what is mine. While (he said) I can, I will.",
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
    seen, languages = found([CODE["go"], CODE["go"], PROSE[0]], kind=["text", None, "poem"])
    assert seen == ["text", "code", "text"]
    assert languages == [None, "go", None]


@pytest.mark.parametrize("form", [pa.large_string(), pa.dictionary(pa.int32(), pa.string())], ids=str)
def test_what_the_input_says_in_other_forms_of_string(form: pa.DataType) -> None:
    said = pa.array(["text", None]).cast(form)
    assert kinds(pa.table({"text": [CODE["c"]] * 2, "kind": said}), column="text").to_pylist() == ["text", "code"]


@pytest.mark.parametrize("name", ["language", "lang"])
def test_a_language_that_the_input_names_stays(name: str) -> None:
    _, languages = found([CODE["c"], CODE["c"], PROSE[0]], **{name: ["C99", None, None]})
    assert languages == ["C99", "c", None]


def test_nothing_of_the_input_is_lost() -> None:
    table = with_kind(pa.table({"text": ["A poem."], "kind": ["verse"], "language": [7], "n": [1]}), column="text")
    assert table.to_pylist() == [
        {"text": "A poem.", "input_kind": "verse", "input_language": 7, "n": 1, "kind": "text", "language": None}
    ]


def test_a_kind_that_is_no_string_says_nothing() -> None:
    assert found([CODE["c"]], kind=[1])[0] == ["code"]


def test_a_row_whose_kind_is_said_costs_no_look_at_its_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at = list[str]()
    cut = place.Cut
    monkeypatch.setattr(place, "Cut", lambda heads: looked_at.extend(heads.to_pylist()) or cut(heads))
    said = pa.table({"text": [CODE["c"], CODE["go"], PROSE[0]], "kind": ["text", None, "code"]})
    assert kinds(said, column="text").to_pylist() == ["text", "code", "code"]
    assert looked_at == [CODE["go"]]


def test_no_rows() -> None:
    assert found(pa.array([], pa.string())) == ([], [])


def test_a_passage_that_begins_inside_a_docstring_or_a_fence() -> None:
    docstring = 'Gives the sum of what it is given.\nIt never fails on numbers.\n"""\nreturn sum(numbers)\n'
    fence = "import os\nos.remove(path)\n```\n\nThis takes the file away.\n\n```python\nimport sys\n```\n"
    assert found([docstring, fence])[0] == ["code", "text"]


@given(st.lists(st.sampled_from([*CODE.values(), *(text for text in PROSE if text), 'x\n"""\n```', "\r\n"])))
def test_a_row_is_judged_by_itself(texts: list[str]) -> None:
    """Lines of all rows are matched at once; none may lend another its fences or quotes."""
    assert found(pa.array(texts, pa.string()))[0] == [found([text])[0][0] for text in texts]


@pytest.mark.skipif(not (DATA / "seeds.parquet").exists(), reason="real data is absent: no seeds.parquet")
def test_real_passages() -> None:
    table = pq.read_table(DATA / "seeds.parquet", columns=["text", "source"])
    said = kinds(table, column="text")
    sources = table["source"].to_pylist()
    pairs = zip(sources, said.to_pylist(), strict=True)
    wrong = [source for source, kind in pairs if (kind == "code") != ("algorithms" in source)]
    assert wrong.count("thealgorithms_python") == 0
    assert len(wrong) <= 13  # nearly all of them design documents that are mostly sample code
