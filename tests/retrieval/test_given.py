"""Pairs and rankings that another command made are input beside a collection."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.errors import UserError
from pipelines.retrieval.collection import locate
from pipelines.retrieval.given import locate_pairs, locate_runs, not_in_corpus, pairs, rankings
from pipelines.retrieval.trec import run_lines

RUN = "q1 Q0 d5 1 3.5 mine\nq1 Q0 d1 2 1.5 mine\nq3 Q0 d2 1 1 mine\n"


def test_pairs_of_a_run_are_those_of_its_data(tmp_path):
    run = tmp_path / "run"
    (run / "data").mkdir(parents=True)
    (run / "metadata.json").write_text("{}")
    table = pa.table(
        {"query": ["strings", "strings", " ", "air"], "doc_id": ["d5", "d5", "d1", "d2"], "score": [1] * 4}
    )
    pq.write_table(table, run / "data" / "part-0.parquet")
    pq.write_table(table.slice(0, 0), run / "other.parquet")
    files = locate_pairs(f"{run}/")
    assert [one["path"] for one in files] == [str(run / "data" / "part-0.parquet")]
    found = pairs(collection={}, split="train", files=files)
    assert [(one["query"], one["doc_id"]) for one in found] == [("strings", "d5"), ("air", "d2")]


def test_pairs_of_a_file_are_read_as_inputs_are(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps({"query": "strings", "doc_id": "d5"}) + "\n")
    [found] = pairs(collection={}, split="train", files=locate_pairs(str(path)))
    assert (found["query"], found["doc_id"]) == ("strings", "d5")


def test_without_files_pairs_are_what_people_judged(place):
    found = pairs(collection=locate(str(place)), split="test", files=locate_pairs("human"))
    assert [(one["doc_id"], one["answers"]) for one in found] == [("d1", ["d5"]), ("d5", ["d1"]), ("d2", [])]


def test_a_pair_whose_document_is_gone_is_told_from_others(place):
    """Judgements of the training split name one that the corpus does not have."""
    collection = locate(str(place))
    rows = pa.Table.from_pylist(pairs(collection=collection, split="train", files=[]))
    assert rows["doc_id"].to_pylist() == ["gone"]
    assert not_in_corpus(rows, collection=collection).to_pylist() == [True]


def test_pairs_that_are_none_are_named(tmp_path):
    with pytest.raises(UserError, match=r"recipe.pairs=.*/nowhere: .*"):
        locate_pairs(str(tmp_path / "nowhere"))
    pq.write_table(pa.table({"query": ["a"]}), tmp_path / "half.parquet")
    with pytest.raises(UserError, match="half.parquet has no column doc_id"):
        pairs(collection={}, split="train", files=locate_pairs(str(tmp_path / "half.parquet")))
    pq.write_table(pa.table({"query": [""], "doc_id": ["d1"]}), tmp_path / "empty.parquet")
    with pytest.raises(UserError, match="hold no pair of query and doc_id"):
        pairs(collection={}, split="train", files=locate_pairs(str(tmp_path / "empty.parquet")))


@pytest.mark.parametrize("given", ["{at}/a.trec", ["{at}/a.trec"], {"a": "{at}/a.trec"}])
def test_a_ranking_is_called_as_it_is_said_or_as_its_file(given, place, tmp_path):
    (tmp_path / "a.trec").write_text(RUN)
    said = json.loads(json.dumps(given).replace("{at}", str(tmp_path)))
    runs = locate_runs(said)
    table = pa.table({"id": ["q2", "q1"]})
    found = rankings(table, runs=runs, query_column="id", collection=locate(str(place)), split="test")
    assert found["a_docs"].to_pylist() == [[], ["d5", "d1"]]
    assert found["a_scores"].to_pylist() == [[], [3.5, 1.5]]


def test_ids_with_white_space_come_back_from_a_run_as_they_were(tmp_path):
    pq.write_table(pa.table({"doc_id": ["doc 1", "d2"], "text": ["lutes", "air"]}), tmp_path / "corpus.parquet")
    pq.write_table(pa.table({"query_id": ["q 1"], "text": ["lute"]}), tmp_path / "queries.parquet")
    rows = {"query_id": ["q 1"], "doc_id": ["doc 1"], "score": [1]}
    pq.write_table(pa.table(rows), tmp_path / "qrels.parquet")
    (tmp_path / "a.trec").write_text("".join(run_lines("q 1", [("doc 1", 2.0), ("d2", 1.0)], "a")))
    collection = locate(str(tmp_path))
    runs = locate_runs(f"{tmp_path}/a.trec")
    found = rankings(pa.table({"id": ["q 1"]}), runs=runs, query_column="id", collection=collection, split="test")
    assert found["a_docs"].to_pylist() == [["doc 1", "d2"]]


@pytest.mark.parametrize("given", [None, 5])
def test_what_names_no_ranking_is_refused(given):
    with pytest.raises(UserError, match=f"recipe.runs={given}: names no file"):
        locate_runs(given)


def test_rankings_that_are_none_are_named(place, tmp_path):
    (tmp_path / "a.trec").write_text(RUN)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "a.trec").write_text("q9 Q0 d5 1 3.5 mine\n")
    with pytest.raises(UserError, match="two have one name"):
        locate_runs([f"{tmp_path}/a.trec", f"{tmp_path}/b/a.trec"])
    with pytest.raises(UserError, match="names no file"):
        locate_runs({})
    with pytest.raises(UserError, match="'a b' names columns and a file"):
        locate_runs({"a b": f"{tmp_path}/a.trec"})
    with pytest.raises(UserError, match="no query of .*a.trec is judged in recipe.split=test"):
        rankings(
            pa.table({"id": ["q1"]}),
            runs=locate_runs(f"{tmp_path}/b/a.trec"),
            query_column="id",
            collection=locate(str(place)),
            split="test",
        )
