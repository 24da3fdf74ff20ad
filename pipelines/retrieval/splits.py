"""Which judged queries are trained on, which choose a weight, and which are measured: no query is two of these."""

from __future__ import annotations

import json
from functools import cache

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.retrieval.collection import Parts, judgements, queries
from pipelines.retrieval.measures import judged_in
from pipelines.rows import canonical, digest

#: Of queries that are trained on, one in so many at most is held out to choose a weight by.
_ONE_IN = 5


def tuning_queries(*, collection: Parts, split: str, measured: str, most: int, seed: int) -> list[dict[str, str]]:
    """Queries of the training split that a weight is chosen by, by lot, as rows: ``query_id`` and ``text``.

    Args:
        collection: where queries and judgements are.
        split: the training split.
        measured: the split that is measured by; queries judged in it are none of these.
        most: how many, at most; no more than a fifth of those there are.
        seed: of the lot.

    Raises:
        UserError: the split has no judgement.
    """
    drawn = _drawn(canonical(collection), split, measured, most, seed)
    return [{"query_id": id_, "text": text} for id_, text in drawn.items()]


def held_out(table: pa.Table, *, collection: Parts, split: str, measured: str, most: int, seed: int) -> pa.Array:
    """A rule: pairs of queries that a weight is chosen by (``tuning_queries``; ``most=0``: none are)."""
    drawn = _drawn(canonical(collection), split, measured, most, seed) if most else {}
    return pc.is_in(table["query_id"], value_set=pa.array(list(drawn), pa.string()))


def also_measured(table: pa.Table, *, collection: Parts, measured: str) -> pa.Array:
    """A rule: pairs of queries that are judged in the split that is measured by, too."""
    return pc.is_in(table["query_id"], value_set=pa.array(list(judged_in(collection, measured)), pa.string()))


@cache
def _drawn(collection: str, split: str, measured: str, most: int, seed: int) -> dict[str, str]:
    """The texts of the queries that are held out, by their ids, in the order of their file."""
    parts = json.loads(collection)
    trained = judgements(parts, split, "recipe.train_split").keys() - judged_in(parts, measured).keys()
    there = {id_: text for id_, text in queries(parts).items() if id_ in trained and text}
    drawn = set(sorted(there, key=lambda id_: digest(seed, id_))[: min(most, len(there) // _ONE_IN)])
    return {id_: text for id_, text in there.items() if id_ in drawn}
