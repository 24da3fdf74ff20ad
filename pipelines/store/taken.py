"""Which rows of an input a run takes: all, the first ``limit``, or the first ``limit`` of each kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow.compute as pc

from pipelines.bound import bind
from pipelines.errors import UserError
from pipelines.store.inputs.formats import FORMATS
from pipelines.store.inputs.source import Chunk
from pipelines.store.manifest import Manifest


def taken(manifest: Manifest) -> Iterator[Chunk]:
    """The manifest's rows in order, up to ``manifest.rows`` of them.

    With ``limit_by`` (``{label: a function of a table, of: [labels]}``), ``limit`` counts the rows of each label, and
    those without a text or without a label as one more: a row that comes when its label has as many is passed over
    (``Chunk.stays``), as rows behind a plain limit are. The end is where all of the labels in ``of`` have as many;
    where one of them never comes, all rows are looked at, once: a manifest that knows how many are taken stops there.

    Raises:
        UserError: a file has not the rows that it was frozen with.
    """
    left = manifest.rows
    labelled = None if manifest.limit_by is None else _Labelled(manifest, manifest.limit_by)
    for file in manifest.files:
        count = 0
        for whole in FORMATS[manifest.format].chunks(file, manifest.schema, manifest.text_column):
            count += whole.table.num_rows
            chunk = whole if labelled is None else labelled.judged(whole)
            if chunk.rows >= left:
                yield chunk.first(left)
                return
            left -= chunk.rows
            yield chunk
            if labelled is not None and labelled.full:
                return
        if count != file.rows:
            raise UserError(
                f"input: {file.path} has other rows than when the run first started; put it back as it was, or start "
                "another run with another output="
            )


class _Labelled:
    """How many rows of each label were taken; None is the label of rows that have none."""

    def __init__(self, manifest: Manifest, by: Mapping[str, Any]) -> None:
        assert manifest.limit is not None  # without one nothing is counted
        self._limit, self._of, self._label = manifest.limit, tuple(by["of"]), bind(by["label"])
        self._text = manifest.text_column
        self._taken = Counter[str | None]()

    @property
    def full(self) -> bool:
        """Whether every label that ``of`` names has as many as it may."""
        return all(self._taken[label] >= self._limit for label in self._of)

    def judged(self, chunk: Chunk) -> Chunk:
        """The chunk with which of its rows are taken: none behind the one with which the last label is full."""
        table = chunk.table
        texts = table[self._text].combine_chunks()
        labels = pc.if_else(pc.not_equal(pc.utf8_trim_whitespace(texts), ""), self._label(table), None)
        labels = labels.dictionary_encode(null_encoding="encode")
        numbers = labels.indices.to_numpy()
        stays = np.zeros(table.num_rows, np.bool_)
        last = -1
        for number, label in enumerate(labels.dictionary.to_pylist()):
            places = np.flatnonzero(numbers == number)[: self._limit - self._taken[label]]
            stays[places] = True
            self._taken[label] += len(places)
            if label in self._of and len(places) and self._taken[label] == self._limit:
                last = max(last, int(places[-1]))
        if self.full:
            stays[last + 1 :] = False
        return replace(chunk, stays=stays)
