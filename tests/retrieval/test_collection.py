"""A collection is read alike in every layout; what is wrong with one is named."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.errors import UserError
from pipelines.retrieval.collection import (
    columns_of,
    documents,
    examples,
    judged_queries,
    judgements,
    locate,
    queries,
    whole_texts,
)
from tests.retrieval.conftest import DOCUMENTS


def test_every_layout_reads_alike(any_layout):
    parts = locate(str(any_layout))
    table = pa.concat_tables(documents(parts))
    assert table.to_pylist() == DOCUMENTS
    assert queries(parts) == {"q1": "strings of a lute", "q2": "weighing the air", "q3": "zithers"}
    assert judgements(parts, "test") == {"q1": {"d1": 2, "d5": 1}, "q2": {"d2": 1}}
    assert judged_queries(collection=parts, split="test") == [
        {"query_id": "q1", "text": "strings of a lute"},
        {"query_id": "q2", "text": "weighing the air"},
    ]
    assert columns_of(parts, "corpus")["text"] == "text"


def test_a_document_is_its_title_and_its_text(place):
    [table] = documents(locate(str(place)))
    assert whole_texts(table).to_pylist() == [
        "Lutes How the neck of a lute is set, and its strings.",
        "Barometers measure the weight of the air.",
        "Maps",
        "",
        "Strings Gut strings of lutes and viols, and how strings are spun.",
    ]


def test_ids_that_are_numbers_are_texts(place):
    pq.write_table(pa.table({"_id": [7], "text": ["On maps."]}), place / "corpus.parquet")
    [table] = documents(locate(str(place)))
    assert table.to_pylist() == [{"doc_id": "7", "title": "", "text": "On maps."}]


def test_a_file_that_changes_has_another_digest(place):
    before = locate(str(place))
    pq.write_table(pa.table({"query_id": ["q1"], "text": ["lutes"]}), place / "queries.parquet")
    after = locate(str(place))
    assert before["corpus"] == after["corpus"] and before["queries"] != after["queries"]


def test_the_splits_there_are_are_named(place):
    with pytest.raises(UserError, match=r"recipe\.split=dev: no judgement is of this split; there are test, train"):
        judgements(locate(str(place)), "dev")


@pytest.mark.parametrize(
    ("name", "columns", "said"),
    [
        ("corpus", {"body": ["x"]}, "corpus.parquet has no column doc_id or _id or docid or id; it has body"),
        ("queries", {"query_id": ["a", "a"], "text": ["x", "y"]}, "has query a twice; leave one"),
        ("queries", {"query_id": ["a", None], "text": ["x", "y"]}, "has a row without query_id"),
        ("qrels", {"query_id": ["q"], "doc_id": ["d"], "score": [0.5]}, "is no whole number"),
        ("qrels", {"query_id": ["q"], "doc_id": ["d"], "score": ["good"]}, "is no whole number"),
        (
            "qrels",
            {"query_id": ["q"] * 2, "doc_id": ["d"] * 2, "score": [0, 1]},
            "judges document d for query q in two",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_named(place, name, columns, said):
    pq.write_table(pa.table(columns), place / f"{name}.parquet")
    parts = locate(str(place))
    with pytest.raises(UserError, match=said):
        list(documents(parts))
        queries(parts)
        judgements(parts, "test")


def test_a_folder_without_a_corpus_a_file_and_two_corpora_are_refused(place):
    with pytest.raises(UserError, match="a collection is a folder with corpus, queries, qrels, and this is a file"):
        locate(str(place / "corpus.parquet"))
    (place / "corpus.jsonl").write_text('{"_id": "1", "text": "x"}\n')
    with pytest.raises(UserError, match=r"has corpus\.jsonl and corpus\.parquet; leave one of them"):
        locate(str(place))
    for file in place.glob("corpus.*"):
        file.unlink()
    with pytest.raises(UserError, match="has no corpus"):
        locate(str(place))


def test_queries_that_no_judgement_names_are_refused(place):
    pq.write_table(pa.table({"query_id": ["other"], "text": ["lutes"]}), place / "queries.parquet")
    with pytest.raises(UserError, match="no query of the collection is judged in it; their ids differ, perhaps"):
        judged_queries(collection=locate(str(place)), split="test")


def test_examples_are_judged_pairs_with_their_documents(place):
    parts = locate(str(place))
    many = examples(collection=parts, split="test", count=8, words=4, seed=0)
    # q1 has two documents, of which one is drawn.
    assert sorted(one["query_id"] for one in many) == ["q1", "q2"]
    assert {one["document"] for one in many} >= {"Barometers measure the weight"}
    assert examples(collection=parts, split="test", count=1, words=4, seed=0) == many[:1]
    drawn = {examples(collection=parts, split="test", count=1, words=4, seed=n)[0]["doc_id"] for n in range(20)}
    assert drawn == {"d1", "d2", "d5"}
    with pytest.raises(UserError, match=r"recipe\.examples_split=train: no document of the corpus answers a query"):
        examples(collection=parts, split="train", count=1, words=4, seed=0)


def test_a_line_of_judgements_with_other_columns_is_named(place):
    (place / "qrels.parquet").unlink()
    (place / "qrels.trec").write_text("q1 0 d1 1\n\nq1 0 d1\n")
    with pytest.raises(UserError, match=r"qrels\.trec, line 3: judgements have four columns"):
        judgements(locate(str(place)), "test")
