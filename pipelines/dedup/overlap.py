"""Rows that share long runs of words with texts they must not: evaluation sets (papers.md 2.7, decontamination).

``found_in(table, columns=["instruction"], against=[{path: "gsm8k_test.parquet", ...}], ngram=13)`` is True for a row
with a run of 13 words of any text of that file, wherever in its columns it stands. Case and punctuation do not count.
A text of fewer words than that is found only in what is ``asked``, where it is the whole of both: an answer ("Yes.")
is as short in every set. Runs are compared by 64-bit hashes, compiled, whole columns at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.dedup.lsh.shingles import Shingling, normalised
from pipelines.errors import UserError
from pipelines.filters.text import strings, words
from pipelines.filters.turns import said
from pipelines.store.inputs.find import find
from pipelines.store.inputs.nested import digest_of, texts_of

_STEPS = ("nfkc", "lowercase", "strip_punctuation")


def found_in(
    table: pa.Table,
    *,
    columns: Sequence[str],
    against: Sequence[Mapping[str, str]] | None,
    ngram: int,
    conversations: Sequence[str] = (),
    asked: Sequence[str] = (),
    beside: str | None = None,
) -> pa.BooleanArray:
    """Whether a run of ``ngram`` words of one of a row's texts stands in a file of ``against``: a reject rule.

    Args:
        table: the rows.
        columns: columns of text, or of lists of texts: a run may go over several texts of a list.
        against: files or folders by ``path``, each with the ``digest`` of its content; all of their texts are looked
            at, in lists, structs and JSON, too.
        ngram: words of a run.
        conversations: columns of turns in JSON; the texts of all of them are looked at.
        asked: columns of text in which a text of fewer words counts where it is the whole of one of a file.
        beside: a column whose value names a text that such a question is on; where a row has one, the same short
            question is another ("What is the passage about?"), and does not count.

    Raises:
        UserError: a file cannot be read, holds no text, or is not as it was when the run was started.
    """
    known = _runs_of(tuple((one["path"], one["digest"]) for one in against or ()), ngram)
    found = np.zeros(table.num_rows, np.bool_)
    for name in columns:
        found |= _shared(_long(_joined(table, name), ngram), known, ngram)
    for name in conversations:
        texts, rows = said(table, name)
        found[rows[_shared(_long(texts, ngram), known, ngram)]] = True
    for name in asked:
        alone = pc.is_null(strings(table, beside)) if beside is not None else True
        found |= _shared(pc.if_else(alone, strings(table, name), None), known, ngram)
    return pa.array(found)


def _joined(table: pa.Table, column: str) -> pa.Array:
    """A column of text; of a column of lists, the texts of each as one."""
    kind = table.schema.field(column).type if column in table.column_names else None
    if kind is not None and pa.types.is_list(kind) and pa.types.is_string(kind.value_type):
        return pc.binary_join(table[column].combine_chunks(), " ")
    return strings(table, column)


def _long(texts: pa.Array, ngram: int) -> pa.Array:
    """The texts of at least ``ngram`` words; null for the others."""
    return pc.if_else(pc.greater_equal(words(normalised(texts, _STEPS)), ngram), texts, None)


def _shared(texts: pa.Array, known: NDArray[np.uint64], ngram: int) -> NDArray[np.bool_]:
    """Which texts have a run that is among those ``known``."""
    sets = Shingling(ngram, "word", _STEPS).sets(texts)
    hits = np.concatenate([[0], np.cumsum(_among(sets.hashes, known))])
    shared: NDArray[np.bool_] = hits[sets.starts + sets.sizes] > hits[sets.starts]
    return shared


def _among(hashes: NDArray[np.uint64], known: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which hashes are among those ``known``, ascending."""
    if not len(known):
        return np.zeros(len(hashes), np.bool_)
    places = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
    same: NDArray[np.bool_] = known[places] == hashes
    return same


@lru_cache(maxsize=4)
def _runs_of(against: tuple[tuple[str, str], ...], ngram: int) -> NDArray[np.uint64]:
    """Hashes of all runs of words in the texts of some files, ascending."""
    shingling = Shingling(ngram, "word", _STEPS)
    found = [np.zeros(0, np.uint64)]
    for path, digest in against:
        listing = find(path)
        if digest_of(listing) != digest:
            raise UserError(
                f"recipe.decontaminate={path}: is not as it was when this run was started; put it back as it was, or "
                "start the run again with redo=changed, which compares with what it holds now"
            )
        runs = [np.unique(shingling.sets(texts).hashes) for texts in texts_of(listing)]
        if not any(map(len, runs)):
            raise UserError(f"recipe.decontaminate={path}: holds no text to compare with; name another file")
        found += runs
    return np.unique(np.concatenate(found))
