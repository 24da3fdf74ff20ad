"""BM25 over a whole corpus (bm25s): built once as a folder, opened by whoever searches (papers.md 4.3, 4.4).

The analysis is that of the published baselines: lower case, words, English stop words, Porter's stemmer; k1 = 0.9 and
b = 0.4. A document that shares no word with a query is no hit of it.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import bm25s
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.dedup.found import Source
from pipelines.errors import UserError
from pipelines.retrieval.analysis import analysis
from pipelines.retrieval.collection import Parts, documents, whole_texts

_SETTINGS, _TEXTS = "settings.json", "documents.arrow"
#: An index is opened once in a process, whoever asks first.
_OPENING = threading.Lock()


class Hits(NamedTuple):
    """The documents of a query with their scores, best first."""

    ids: list[str]
    scores: list[float]


def build(
    made: str, dataset: Source, *, collection: Parts, k1: float, b: float, stemmer: str | None, stopwords: bool
) -> dict[str, Any]:
    """Index the whole corpus into the folder ``made``, and keep its texts beside the index.

    Args:
        made: a folder that is there.
        dataset: the rows that pass by, which it does not look at.
        collection: the collection; each document is its title and text.
        k1: how much a word that is there again counts.
        b: how much the length of a document counts, 0 to 1.
        stemmer: a stemmer of Snowball's (porter, english, german, ...), or None.
        stopwords: leave English stop words out.

    Returns:
        ``documents`` and ``words`` (different ones).

    Raises:
        UserError: two documents have one id, or no document has a word.
    """
    place = Path(made)
    settings = {"stemmer": stemmer, "stopwords": stopwords}
    ids, texts = [pa.array([], pa.string())], list[str]()
    with pa.OSFile(str(place / _TEXTS), "wb") as file, pa.ipc.new_file(file, _SCHEMA) as out:
        for table in documents(collection):
            whole = whole_texts(table).combine_chunks()
            out.write_table(pa.table({"doc_id": table["doc_id"], "text": whole}, schema=_SCHEMA))
            ids.append(table["doc_id"].combine_chunks())
            texts += whole.to_pylist()
    _refuse_doubles(pa.concat_arrays(ids))
    words = _tokens(texts, settings, ids=True)
    if not words.vocab:
        raise UserError("input: no document of the corpus has a word; look at its columns title and text")
    index = bm25s.BM25(k1=k1, b=b, method="lucene")
    index.index(words, show_progress=False)
    index.save(str(place), show_progress=False)
    (place / _SETTINGS).write_text(json.dumps(settings))
    return {"documents": len(texts), "words": len(words.vocab)}


_SCHEMA = pa.schema([("doc_id", pa.string()), ("text", pa.string())])


class Lexicon:
    """An index that was built in a folder; its arrays and texts are mapped, not read."""

    def __init__(self, made: str) -> None:
        self._settings = json.loads((Path(made) / _SETTINGS).read_text())
        self._index = bm25s.BM25.load(made, mmap=True, show_progress=False)
        self._file = pa.memory_map(str(Path(made) / _TEXTS))
        table = pa.ipc.open_file(self._file).read_all()
        self._ids, self._texts = table["doc_id"], table["text"]

    def search(self, queries: Sequence[str], depth: int) -> list[Hits]:
        """The best ``depth`` documents of each query, in order of score and, where that is equal, of the corpus.

        Of several that are equal at the very end, any may be left out.
        """
        if not queries:
            return []
        found, scores = self._index.retrieve(
            _tokens(queries, self._settings, ids=False),
            k=min(depth, len(self._ids)),
            show_progress=False,
        )
        # Scores come in order; where several are equal, places decide.
        key = np.zeros(found.shape, np.int64)
        np.cumsum(scores[:, 1:] != scores[:, :-1], axis=1, out=key[:, 1:])
        order = np.argsort(key * len(self) + found, axis=1, kind="stable")
        found, scores = np.take_along_axis(found, order, 1), np.take_along_axis(scores, order, 1)
        shared = scores > 0
        # All at once: a call for each query costs more than what it does.
        ids, values = self.ids(found[shared]), scores[shared].astype(float).tolist()
        ends = np.cumsum(shared.sum(axis=1)).tolist()
        return [Hits(ids[start:end], values[start:end]) for start, end in zip([0, *ends], ends, strict=False)]

    def __len__(self) -> int:
        return len(self._ids)

    def ids(self, places: NDArray[Any]) -> list[str]:
        """Ids of documents by their places in the corpus; each is made into a text of Python's once."""
        wanted = np.zeros(len(self), np.bool_)
        wanted[places] = True
        texts = self._ids.take(pa.array(np.flatnonzero(wanted))).to_numpy(zero_copy_only=False)
        return texts[np.cumsum(wanted)[places] - 1].tolist()  # type: ignore[no-any-return]

    def texts(self, start: int, count: int) -> list[str]:
        """Titles and texts of documents in the order of the corpus."""
        return self._texts.slice(start, count).to_pylist()  # type: ignore[no-any-return]

    def text(self, ids: Sequence[str]) -> list[str]:
        """Title and text of documents, by their ids."""
        return self._texts.take(pa.array(self.places(ids), pa.int64())).to_pylist()  # type: ignore[no-any-return]

    def known(self, ids: Sequence[str]) -> list[str]:
        """Those of some ids that documents of the corpus have."""
        by_id = self._by_id()
        return [one for one in ids if one in by_id]

    def places(self, ids: Sequence[str]) -> list[int]:
        """Places of documents in the corpus, by their ids.

        Raises:
            UserError: the corpus has no document of one of them.
        """
        by_id = self._by_id()
        try:
            return [by_id[one] for one in ids]
        except KeyError as error:
            raise UserError(f"input: the corpus has no document {error.args[0]}, which is to be read") from None

    @cache  # noqa: B019 - an index lives as long as its process
    def _by_id(self) -> dict[str, int]:
        return {one: place for place, one in enumerate(self._ids.to_pylist())}


def opened(made: str) -> Lexicon:
    """The index in a folder, opened once in a process."""
    with _OPENING:
        return _opened(made)


@cache
def _opened(made: str) -> Lexicon:
    return Lexicon(made)


def _tokens(texts: Sequence[str], settings: dict[str, Any], *, ids: bool) -> Any:
    return bm25s.tokenize(list(texts), show_progress=False, return_ids=ids, **analysis(**settings))


def _refuse_doubles(ids: pa.Array) -> None:
    counts = ids.value_counts()
    doubles = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    if len(doubles):
        raise UserError(f"input: the corpus has document {doubles[0]} twice; leave one, or give each an id of its own")
