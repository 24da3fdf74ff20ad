"""Rows that share long runs of words with texts they must not: evaluation sets (papers.md 2.7, decontamination).

``found_in(table, columns=["instruction"], against=[{path: "gsm8k_test.parquet", ...}], ngram=13)`` is True for a row
with a run of 13 words of any text of that file. Case and punctuation do not count. A text of fewer words than that is
found only where it is the whole of the other. Runs are compared by 64-bit hashes, compiled, whole columns at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.dedup.lsh.shingles import Shingling
from pipelines.errors import UserError
from pipelines.filters.text import strings
from pipelines.store.inputs.find import find
from pipelines.store.inputs.formats import FORMATS

_STEPS = ("nfkc", "lowercase", "strip_punctuation")


def found_in(
    table: pa.Table, *, columns: Sequence[str], against: Sequence[Mapping[str, str]] | None, ngram: int
) -> pa.BooleanArray:
    """Whether a run of ``ngram`` words of one of a row's ``columns`` stands in a file of ``against``: a reject rule.

    ``against`` are files or folders by ``path``, each with the ``digest`` of its content; all of their columns of text
    are looked at.

    Raises:
        UserError: a file cannot be read, or holds no text.
    """
    forbidden = [_runs_of(one["path"], one["digest"], ngram) for one in against or ()]
    known = np.unique(np.concatenate(forbidden)) if forbidden else np.zeros(0, np.uint64)
    found = np.zeros(table.num_rows, np.bool_)
    for column in columns:
        sets = Shingling(ngram, "word", _STEPS).sets(strings(table, column))
        hits = np.concatenate([[0], np.cumsum(_among(sets.hashes, known))])
        found |= hits[sets.starts + sets.sizes] > hits[sets.starts]
    return pa.array(found)


def _among(hashes: NDArray[np.uint64], known: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which hashes are among those ``known``, ascending."""
    if not len(known):
        return np.zeros(len(hashes), np.bool_)
    places = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
    same: NDArray[np.bool_] = known[places] == hashes
    return same


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


@lru_cache(maxsize=16)
def _runs_of(path: str, digest: str, ngram: int) -> NDArray[np.uint64]:
    """Hashes of all runs of words in a file's columns of text; ``digest`` tells versions of the file apart."""
    listing = find(path)
    shingling = Shingling(ngram, "word", _STEPS)
    found = [np.zeros(0, np.uint64)]
    texts = 0
    for file in listing.files:
        schema = FORMATS[listing.format].describe(file, None).schema
        names = [field.name for field in schema if _is_text(field.type)]
        for name in names:
            one = pa.schema([schema.field(name)])
            for chunk in FORMATS[listing.format].chunks(file, one, name):
                column = chunk.table[name].cast(pa.string()).combine_chunks()
                texts += len(column) - column.null_count
                found.append(np.unique(shingling.sets(column).hashes))
    if not texts:
        raise UserError(f"recipe.decontaminate={path}: holds no text to compare with")
    return np.unique(np.concatenate(found))
