"""A collection of five documents and three queries, in each layout that is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.retrieval.collection import locate
from pipelines.retrieval.lexical import build

DOCUMENTS = [
    {"doc_id": "d1", "title": "Lutes", "text": "How the neck of a lute is set, and its strings."},
    {"doc_id": "d2", "title": "", "text": "Barometers measure the weight of the air."},
    {"doc_id": "d3", "title": "Maps", "text": ""},
    {"doc_id": "d4", "title": "", "text": ""},
    {"doc_id": "d5", "title": "Strings", "text": "Gut strings of lutes and viols, and how strings are spun."},
]
QUERIES = [
    {"query_id": "q1", "text": "strings of a lute"},
    {"query_id": "q2", "text": "weighing\tthe\nair"},
    {"query_id": "q3", "text": "zithers"},
]
JUDGEMENTS = [
    {"query_id": "q1", "doc_id": "d1", "score": 2, "split": "test"},
    {"query_id": "q1", "doc_id": "d5", "score": 1, "split": "test"},
    {"query_id": "q2", "doc_id": "d2", "score": 1, "split": "test"},
    {"query_id": "q2", "doc_id": "gone", "score": 1, "split": "train"},
]


def as_parquet(place: Path) -> None:
    for name, rows in (("corpus", DOCUMENTS), ("queries", QUERIES), ("qrels", JUDGEMENTS)):
        pq.write_table(pa.Table.from_pylist(rows), place / f"{name}.parquet")
    pq.write_table(pa.table({"claim": ["another file beside them"]}), place / "claims.parquet")


def as_beir(place: Path) -> None:
    lines = [{"_id": one["doc_id"], "title": one["title"], "text": one["text"]} for one in DOCUMENTS]
    (place / "corpus.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    lines = [{"_id": one["query_id"], "text": one["text"], "metadata": {}} for one in QUERIES]
    (place / "queries.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    (place / "qrels").mkdir()
    for split in ("train", "test"):
        rows = [f"{j['query_id']}\t{j['doc_id']}\t{j['score']}\n" for j in JUDGEMENTS if j["split"] == split]
        (place / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(rows))


def as_trec(place: Path) -> None:
    as_parquet(place)
    (place / "qrels.parquet").unlink()
    rows = [f"{j['query_id']} 0 {j['doc_id']} {j['score']}\n" for j in JUDGEMENTS if j["split"] == "test"]
    (place / "qrels.trec").write_text("".join(rows))


def as_folders(place: Path) -> None:
    for name in ("corpus", "queries", "qrels"):
        (place / name).mkdir()
    table = pa.Table.from_pylist(DOCUMENTS)
    pq.write_table(table.slice(0, 2), place / "corpus" / "0.parquet")
    pq.write_table(table.slice(2), place / "corpus" / "1.parquet")
    pq.write_table(pa.Table.from_pylist(QUERIES), place / "queries" / "0.parquet")
    for split in ("train", "test"):
        rows = [{k: j[k] for k in ("query_id", "doc_id", "score")} for j in JUDGEMENTS if j["split"] == split]
        pq.write_table(pa.Table.from_pylist(rows), place / "qrels" / f"{split}.parquet")


LAYOUTS: dict[str, Callable[[Path], None]] = {
    "parquet": as_parquet,
    "beir": as_beir,
    "trec": as_trec,
    "folders": as_folders,
}


@pytest.fixture(scope="session")
def ranker(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a cross-encoder: the packaged encoder with a head, which nobody has trained."""
    from pipelines.retrieval.cross_encoder import cross_encoder

    made = tmp_path_factory.mktemp("ranker")
    cross_encoder("packaged:all-minilm-l6-v2", "cpu", 64, seed=0).save_pretrained(str(made))
    return str(made)


@pytest.fixture(params=LAYOUTS)
def any_layout(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    place = tmp_path / "collection"
    place.mkdir()
    LAYOUTS[request.param](place)
    return place


@pytest.fixture
def place(tmp_path: Path) -> Path:
    found = tmp_path / "collection"
    found.mkdir()
    as_parquet(found)
    return found


@pytest.fixture
def lexicon(place: Path, tmp_path: Path) -> str:
    """The folder of an index over the collection."""
    here = tmp_path / "lexicon"
    here.mkdir()
    build(str(here), None, collection=locate(str(place)), k1=0.9, b=0.4, stemmer="porter", stopwords=True)
    return str(here)
