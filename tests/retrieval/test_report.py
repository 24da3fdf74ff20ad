"""The figures of arms, what they are compared by, and the files beside them."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.errors import RunStopped
from pipelines.retrieval.collection import locate
from pipelines.retrieval.measures import MEASURES
from pipelines.retrieval.report import tables
from pipelines.retrieval.trec import read_qrels, read_run
from pipelines.store.files import folder

OF = {"collection": {}, "split": "test"}
OVER = {"+ reranker": "BM25", "mixed": "BM25"}
NOTES = {"measured": "a stage that was run", "judge": "one that was not"}


class Rows:
    """Rows as a stage has them: a table a part."""

    def __init__(self, *tables):
        self.tables = tables

    @property
    def schema(self):
        return self.tables[0].schema

    def batches(self, columns=None):
        yield from (table.select(columns) for table in self.tables)


def part(first, ndcg):
    count = len(ndcg["bm25"])
    columns = {"id": [f"q{first + n + 1}" for n in range(count)]}
    for arm, values in ndcg.items():
        columns |= {f"{arm}_docs": [["b", "a"]] * count, f"{arm}_scores": [[2.0, 1.0]] * count}
        columns[f"{arm}_measures"] = [dict.fromkeys(MEASURES, 0.5) | {"nDCG@10": value} for value in values]
    return pa.table(columns)


@pytest.fixture(autouse=True)
def judged(place, monkeypatch):
    """The collection that rankings were measured by."""
    rows = {"query_id": ["q1", "q1", "q2", "q3", "q9"], "doc_id": ["d1", "d5", "d2", "d2", "d1"]}
    pq.write_table(pa.table(rows | {"score": [2, 1, 1, 0, 1], "split": ["test"] * 5}), place / "qrels.parquet")
    monkeypatch.setitem(OF, "collection", locate(str(place)))


@pytest.fixture
def told(tmp_path):
    rows = Rows(part(0, {"bm25": [0.1, 0.2], "new": [0.3, 0.5]}), part(2, {"bm25": [0.3], "new": [0.4]}))
    arms = {"BM25": "bm25", "+ reranker": "new"}
    return tables(
        {"measured": rows},
        folder(str(tmp_path)),
        **OF,
        stage="measured",
        query_column="id",
        arms=arms,
        notes=NOTES,
        over=OVER,
    )


def test_means_and_the_difference_to_the_first(told):
    assert (told["queries"], told["queries_judged"]) == (3, 4)
    assert told["notes"] == ["a stage that was run"]
    assert told["arms"]["BM25"]["nDCG@10"] == pytest.approx(0.2)
    assert told["arms"]["+ reranker"]["nDCG@10"] == pytest.approx(0.4)
    assert told["arms"]["BM25"]["MAP"] == 0.5
    assert told["compared"]["+ reranker"]["difference"] == pytest.approx(0.2)
    assert told["over"] == {"+ reranker": {"arm": "BM25"} | told["compared"]["+ reranker"]}, "mixed is switched off"
    # A paired t-test of the differences 0.2, 0.3, 0.1: t = 3.46 with two degrees of freedom.
    assert told["compared"]["+ reranker"]["p"] == pytest.approx(0.0742, abs=1e-4)


def test_each_arm_is_a_run_in_a_file_and_a_bar_in_a_picture(told, tmp_path):
    assert told["files"] == {"runs": ["bm25.trec", "new.trec"], "qrels": ["test.trec"]}
    run = read_run((tmp_path / "runs" / "new.trec").read_text().splitlines(), "new.trec")
    assert run == {f"q{n}": [("b", 2.0), ("a", 1.0)] for n in (1, 2, 3)}
    assert (tmp_path / "measures.png").read_bytes().startswith(b"\x89PNG")


def test_an_arm_whose_stages_are_switched_off_is_left_out(tmp_path):
    rows = {"measured": Rows(part(0, {"bm25": [0.5, 0.6]}))}
    found = tables(
        rows,
        folder(str(tmp_path)),
        **OF,
        stage="measured",
        query_column="id",
        arms={"BM25": "bm25", "mixed": "mixed"},
        notes={},
        over=OVER,
    )
    assert list(found["arms"]) == ["BM25"] and found["compared"] == {}


def test_the_judgements_lie_beside_the_runs(told, tmp_path):
    lines = (tmp_path / "qrels" / "test.trec").read_text().splitlines()
    wanted = [("q1", "d1", 2), ("q1", "d5", 1), ("q2", "d2", 1), ("q3", "d2", 0)]
    assert list(read_qrels(lines, "test.trec")) == wanted, "those of queries that were measured, and no others"


def test_where_nothing_was_measured_there_is_no_table(tmp_path):
    rows = {"measured": Rows(part(0, {"bm25": [0.5]}).slice(0, 0))}
    arms = {"BM25": "bm25"}
    with pytest.raises(RunStopped, match="recipe.split=test: it judges 4 queries, and not one of them was measured"):
        tables(rows, folder(str(tmp_path)), **OF, stage="measured", query_column="id", arms=arms, notes={}, over={})


@pytest.mark.parametrize("ndcg", [{"bm25": [0.5], "new": [0.7]}, {"bm25": [0.5, 0.6], "new": [0.5, 0.6]}])
def test_one_query_or_no_difference_has_no_p(ndcg, tmp_path):
    arms = {"BM25": "bm25", "new": "new"}
    rows = {"measured": Rows(part(0, ndcg))}
    found = tables(
        rows, folder(str(tmp_path)), **OF, stage="measured", query_column="id", arms=arms, notes=NOTES, over=OVER
    )
    assert found["compared"]["new"]["p"] is None
