"""How good rankings are, query by query (ir-measures): nDCG, MRR, MAP, recall, and how much of them is judged.

A query without a hit counts as 0, as with ``trec_eval -c``. Rankings stand in rows as two lists, ``<arm>_docs`` and
``<arm>_scores``; their figures beside them as ``<arm>_measures``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache

import ir_measures
import pyarrow as pa
import pyarrow.compute as pc
from ir_measures import AP, RR, Judged, P, Qrel, R, ScoredDoc, nDCG

from pipelines.retrieval.collection import Parts, Qrels, judgements
from pipelines.retrieval.collection import examples as shown_pairs
from pipelines.rows import canonical

#: Figures by the names that people use for them.
MEASURES = {
    "nDCG@10": nDCG @ 10,
    "nDCG@20": nDCG @ 20,
    "MRR@10": RR @ 10,
    "MAP": AP,
    "recall@100": R @ 100,
    "recall@1000": R @ 1000,
    "P@10": P @ 10,
    "judged@10": Judged @ 10,
}
#: The figure that rankings are compared by.
MAIN = "nDCG@10"
_STRUCT = pa.struct([(name, pa.float64()) for name in MEASURES])
_NAMES = {measure: name for name, measure in MEASURES.items()}


def measures_of(ranked: Mapping[str, Sequence[tuple[str, float]]], judged: Qrels) -> dict[str, dict[str, float]]:
    """The figures of each judged query; ``ranked`` has the documents of queries, best first.

    Places count, not scores: libraries break ties of these in ways of their own, each in another.
    """
    run = [ScoredDoc(query, doc, -place) for query, some in ranked.items() for place, (doc, _) in enumerate(some)]
    qrels = [Qrel(query, doc, grade) for query, some in judged.items() for doc, grade in some.items()]
    found = {query: dict.fromkeys(MEASURES, 0.0) for query in judged}
    for one in ir_measures.iter_calc(list(MEASURES.values()), qrels, run):
        found[one.query_id][_NAMES[one.measure]] = float(one.value)
    return found


def measured(
    table: pa.Table,
    *,
    collection: Parts,
    split: str,
    query_column: str,
    arms: Mapping[str, str],
    examples: int = 0,
    examples_split: str = "",
    seed: int = 0,
) -> pa.Table:
    """Rows with the figures of each arm's ranking beside it.

    Args:
        table: rows of judged queries, with ``query_column`` and the rankings of each arm.
        collection: where the judgements are.
        split: which of them count.
        query_column: the column with the query's id.
        arms: what each arm is called in tables, and the name its columns begin with; those without columns, whose
            stages are switched off, are left out.
        examples: judged pairs that prompts showed; where they are judged in the split that is measured they count as
            not found, wherever they stand: rankings lose them (papers.md 3.1).
        examples_split: where these came from.
        seed: that they were drawn with.
    """
    every = judged_in(collection, split)
    ids = table[query_column].to_pylist()
    judged = {one: every[one] for one in ids}
    failed = _shown(canonical(collection), examples_split, examples, seed) if ids and examples else frozenset()
    for arm in (one for one in arms.values() if f"{one}_docs" in table.column_names):
        names = [f"{arm}_docs", f"{arm}_scores"]
        lists = zip(ids, *(table[name].to_pylist() for name in names), strict=True)
        ranked = {
            id_: [
                (doc, score)
                for doc, score in zip(docs, scores, strict=True)
                if (id_, doc) not in failed or doc not in judged[id_]
            ]
            for id_, docs, scores in lists
        }
        for place, name in enumerate(names) if failed else ():
            values = pa.array([[one[place] for one in ranked[id_]] for id_ in ids], table.schema.field(name).type)
            table = table.set_column(table.column_names.index(name), name, values)
        found = measures_of(ranked, judged) if ids else {}
        table = table.append_column(f"{arm}_measures", pa.array([found[one] for one in ids], _STRUCT))
    return table


def not_judged(table: pa.Table, *, collection: Parts, split: str) -> pa.ChunkedArray:
    """A rule: queries (by id) of which no judgement is of the split."""
    known = pa.array(sorted(judged_in(collection, split)), pa.string())
    return pc.invert(pc.is_in(table["id"], value_set=known))


def judged_in(collection: Parts, split: str) -> Qrels:
    """The judgements of a split, read once in a process."""
    return _read(canonical(collection), split)


@cache
def _read(collection: str, split: str) -> Qrels:
    return judgements(json.loads(collection), split)


@cache
def _shown(collection: str, split: str, count: int, seed: int) -> frozenset[tuple[str, str]]:
    """Query and document of the examples that prompts showed; the corpus is read for them once in a process."""
    drawn = shown_pairs(collection=json.loads(collection), split=split, count=count, words=1, seed=seed)
    return frozenset((pair["query_id"], pair["doc_id"]) for pair in drawn)
