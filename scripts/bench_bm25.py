"""Our BM25 against bm25s used directly, on the same documents and queries: indexing and search.

``scripts/bench bm25 --copies 20``. The documents are SciFact's, ``--copies`` times under other ids. Both read them from
Parquet, tokenise, index, save, open the saved index, and find the first 1,000 documents of each of SciFact's queries,
with one setting of BM25. Ours also keeps texts and ids beside the index and orders equal scores by place. Times are the
least of ``--rounds``, the two taking turns.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bm25s
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import Stemmer
from bench import DATA

from pipelines.retrieval.collection import locate
from pipelines.retrieval.lexical import _WORD, STOPWORDS, Lexicon, build

DEPTH = 1000
_TOKENS: dict[str, Any] = {"token_pattern": _WORD, "stopwords": STOPWORDS, "show_progress": False}


def directly_built(place: Path, made: str) -> None:
    """What a user of bm25s writes."""
    table = pq.read_table(place / "corpus.parquet")
    rows = zip(table["title"].to_pylist(), table["text"].to_pylist(), strict=True)
    texts = [f"{title or ''} {text or ''}".strip() for title, text in rows]
    index = bm25s.BM25(k1=0.9, b=0.4, method="lucene")
    index.index(bm25s.tokenize(texts, stemmer=Stemmer.Stemmer("porter"), **_TOKENS), show_progress=False)
    index.save(made, show_progress=False)
    np.save(Path(made) / "ids.npy", np.array(table["doc_id"].to_pylist()))


def directly_searched(made: str, queries: list[str]) -> int:
    """Open the index and search it, as a user of bm25s does."""
    index, ids = bm25s.BM25.load(made, mmap=True, show_progress=False), np.load(Path(made) / "ids.npy")
    asked = bm25s.tokenize(queries, stemmer=Stemmer.Stemmer("porter"), return_ids=False, **_TOKENS)
    found, scores = index.retrieve(asked, k=min(DEPTH, len(ids)), show_progress=False)
    return len(list(zip(ids[found].tolist(), scores.tolist(), strict=True)))


def ours_built(place: Path, made: str) -> None:
    """What the stage lexicon does."""
    build(made, None, collection=locate(str(place)), k1=0.9, b=0.4, stemmer="porter", stopwords=True)  # type: ignore[arg-type]


def ours_searched(made: str, queries: list[str]) -> int:
    """What the stage bm25 does."""
    return len(Lexicon(made).search(queries, DEPTH))


def seconds(work: Callable[[], Any]) -> float:
    """How long a call takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def copied(place: Path, copies: int) -> list[str]:
    """The collection in a folder, its documents so many times; the queries."""
    source = DATA / "ir" / "scifact"
    table = pq.read_table(source / "corpus.parquet")
    ids = table["doc_id"].cast(pa.string()).to_pylist()
    tables = [
        table.set_column(table.schema.get_field_index("doc_id"), "doc_id", pa.array([f"{id_}-{n}" for id_ in ids]))
        for n in range(copies)
    ]
    pq.write_table(pa.concat_tables(tables), place / "corpus.parquet")
    queries: list[str] = pq.read_table(source / "queries.parquet")["text"].to_pylist()
    return queries


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(prog="scripts/bench bm25", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--copies", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as where:
        place = Path(where) / "collection"
        place.mkdir()
        queries = copied(place, asked.copies)
        took: dict[tuple[str, str], list[float]] = {}
        for number in range(asked.rounds):
            for name, built, searched in (
                ("bm25s directly", directly_built, directly_searched),
                ("nightmill", ours_built, ours_searched),
            ):
                made = Path(where) / f"{name}-{number}"
                made.mkdir()
                took.setdefault((name, "index"), []).append(seconds(lambda b=built, m=made: b(place, str(m))))
                took.setdefault((name, "search"), []).append(seconds(lambda s=searched, m=made: s(str(m), queries)))
        documents = pq.read_metadata(place / "corpus.parquet").num_rows
    print(f"{documents:,} documents, {len(queries):,} queries, first {DEPTH:,}; seconds, the least of {asked.rounds}")
    print("|  | index | search |\n|---|---|---|")
    least = {key: min(values) for key, values in took.items()}
    for name in ("bm25s directly", "nightmill"):
        print(f"| {name} | {least[name, 'index']:.2f} | {least[name, 'search']:.2f} |")
    ratios = [least["nightmill", what] / least["bm25s directly", what] for what in ("index", "search")]
    print(f"| ratio | {ratios[0]:.2f} | {ratios[1]:.2f} |")


if __name__ == "__main__":
    main()
