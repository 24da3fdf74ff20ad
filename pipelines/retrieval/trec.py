"""Runs and judgements in TREC's columns: ``query Q0 document rank score tag`` and ``query 0 document grade``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import inf, isfinite, nextafter

from pipelines.errors import UserError

#: A query's documents with their scores, best first.
Ranked = Sequence[tuple[str, float]]


def read_qrels(lines: Iterable[str], path: str) -> Iterator[tuple[str, str, int]]:
    """(query, document, grade) of each line.

    Raises:
        UserError: a line of other columns.
    """
    for number, line in enumerate(lines, 1):
        fields = line.split()
        if not fields:
            continue
        try:
            query, _, document, grade = fields
            yield query, document, int(grade)
        except ValueError:
            raise UserError(
                f"input: {path}, line {number}: judgements have four columns, query 0 document grade; it is {line!r}"
            ) from None


def qrels_lines(qrels: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    """The lines of judgements; ids that hold white space have it replaced, as in runs."""
    for query, grades in qrels.items():
        for document, grade in grades.items():
            yield f"{word(query)} 0 {word(document)} {grade}\n"


def run_lines(query: str, ranked: Ranked, tag: str) -> Iterator[str]:
    """The lines of a run for one query; ids that hold white space have it replaced, or the columns would shift.

    Programs that read runs order them by score and break ties in their own ways: of equal scores each is written a
    little lower than the one before.
    """
    last = inf
    for rank, (document, score) in enumerate(ranked, 1):
        last = score if score < last else nextafter(last, -inf)
        yield f"{word(query)} Q0 {word(document)} {rank} {last!r} {tag}\n"


def read_run(lines: Iterable[str], path: str) -> dict[str, list[tuple[str, float]]]:
    """A run by query, best first: by score, and by place in the file where scores are equal.

    Raises:
        UserError: a line of other columns, or a document twice for one query.
    """
    found: dict[str, dict[str, float]] = {}
    for number, line in enumerate(lines, 1):
        fields = line.split()
        if not fields:
            continue
        try:
            query, _, document, _, score, _ = fields
            if not isfinite(value := float(score)):
                raise ValueError
        except ValueError:
            raise UserError(
                f"{path}, line {number}: a run has six columns, query Q0 document rank score tag, the score a number; "
                f"it is {line!r}"
            ) from None
        if document in found.setdefault(query, {}):
            raise UserError(f"{path}, line {number}: document {document} is there twice for query {query}; leave one")
        found[query][document] = value
    return {query: sorted(some.items(), key=lambda one: -one[1]) for query, some in found.items()}


def word(id_: str) -> str:
    """An id as a column of TREC's holds it."""
    return "_".join(id_.split())
