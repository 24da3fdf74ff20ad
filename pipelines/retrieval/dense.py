"""Dense retrieval: a corpus as vectors of length 1, and exact search by their products with a query's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.dedup.found import Source
from pipelines.dedup.vectors.encoder import load
from pipelines.retrieval.lexical import Hits, Lexicon, opened
from pipelines.retrieval.search import with_hits
from pipelines.retrieval.training import model_of
from pipelines.store.made import SAID

Floats = NDArray[np.float32]

#: Documents encoded between two looks at whether the run is to end; and products held at once.
_BLOCK, _PRODUCTS = 2048, 1 << 26
#: The key that names an encoder here, for messages.
_ENCODER = "recipe.encoder"
_VECTORS, _DONE = "vectors.npy", "done"
_OPENING = Lock()


def encode(
    made: str,
    dataset: Source,
    *,
    lexicon: str = "",
    model: str | None = None,
    encoder: str,
    batch_size: int,
    device: str | None,
    document_tokens: int | None = None,
) -> dict[str, Any]:
    """Encode the documents of an index (``retrieval.lexical``), in its order, into ``made``.

    What an earlier start encoded is not encoded again.

    Args:
        made: a folder that is there.
        dataset: the rows that pass by, which it does not look at.
        lexicon: the folder of the index, whose texts are taken.
        model: the folder of a model that a stage has trained; None takes ``encoder``.
        encoder: as ``dedup.embedding.encoder``.
        batch_size: texts encoded at once.
        device: cpu, cuda, ...; None takes a GPU where there is one.
        document_tokens: tokens of a document that count; None: as many as the model reads.

    Returns:
        ``documents`` and ``dimensions``.
    """
    place, index = Path(made), opened(lexicon)
    encoding = load(model_of(model, encoder), batch_size, device, tokens=document_tokens, setting=_ENCODER)
    vectors: Any = None
    done = int((place / _DONE).read_text()) if (place / _DONE).exists() else 0
    if done:
        vectors = _file(place, mode="r+")
    for start, texts in _blocks(index, done):
        found = encoding(texts)
        if vectors is None:
            shape = (len(index), found.shape[1])
            vectors = _file(place, mode="w+", dtype=np.float32, shape=shape)
        # A document without a word is near to nothing, and no model is asked what that is.
        found = np.where([[bool(text)] for text in texts], found, np.float32(0))
        vectors[start : start + len(found)] = found
        vectors.flush()
        whole = place / f"{_DONE}.new"
        whole.write_text(str(start + len(found)))
        whole.rename(place / _DONE)  # a kill leaves the old number or the new one
        (place / SAID).write_text(f"{start + len(found):,} of {len(index):,} documents encoded")
    assert vectors is not None  # an index has a document
    (place / _DONE).unlink(missing_ok=True)
    return {"documents": len(index), "dimensions": int(vectors.shape[1])}


def dense(
    table: pa.Table,
    *,
    text_column: str,
    depth: int,
    arm: str,
    encoder: str,
    batch_size: int,
    device: str | None,
    lexicon: str = "",
    vectors: str = "",
    model: str | None = None,
    threads: int | None = None,
) -> pa.Table:
    """Queries with the documents that are nearest to them, by cosine.

    Args:
        table: rows of queries.
        text_column: their texts.
        depth: documents a query, at most.
        arm: what the columns' names begin with.
        encoder: see ``encode``; ``batch_size``, ``device`` and ``model`` too.
        batch_size: see encoder.
        device: see encoder.
        lexicon: folder of the index with the documents' ids; without rows none is needed.
        vectors: folder of their vectors.
        model: see encoder.
        threads: CPU threads; None takes every CPU.
    """
    how: dict[str, Any] = {"encoder": encoder, "batch_size": batch_size, "device": device, "threads": threads}
    hits = search(table[text_column].to_pylist(), depth, lexicon=lexicon, vectors=vectors, model=model, **how)
    return with_hits(table, arm, hits)


def search(
    queries: Sequence[str],
    depth: int,
    *,
    encoder: str,
    batch_size: int,
    device: str | None,
    lexicon: str,
    vectors: str,
    model: str | None,
    threads: int | None,
) -> list[Hits]:
    """The documents nearest to each query; the arguments are those of ``dense``."""
    if not queries:
        return []
    asked = load(model_of(model, encoder), batch_size, device, threads=threads, setting=_ENCODER)(list(queries))
    return nearest(asked, vectors_in(vectors), opened(lexicon), depth)


def nearest(queries: Floats, documents: Floats, index: Lexicon, depth: int) -> list[Hits]:
    """The ``depth`` documents of the highest cosine to each query; of equal ones, those first in the corpus.

    Args:
        queries: of length 1, shape (queries, dimensions).
        documents: of length 1, shape (documents, dimensions), in the order of the index.
        index: where the documents' ids are.
        depth: documents a query, at most.
    """
    found: list[Hits] = []
    rows = max(1, _PRODUCTS // max(1, len(documents)))
    for start in range(0, len(queries), rows):
        for scores in queries[start : start + rows] @ documents.T:
            least = np.partition(scores, -depth)[-depth] if depth < len(scores) else -np.inf
            some = np.flatnonzero(scores >= least)
            best = some[np.lexsort((some, -scores[some]))][:depth]
            found.append(Hits(index.ids(best), scores[best].astype(float).tolist()))
    return found


def _file(place: Path, **how: Any) -> Any:
    """The vectors' file as an array that is written through to it."""
    return np.lib.format.open_memmap(place / _VECTORS, **how)  # type: ignore[no-untyped-call]


def _blocks(index: Lexicon, done: int) -> Iterator[tuple[int, list[str]]]:
    for start in range(done, len(index), _BLOCK):
        yield start, index.texts(start, _BLOCK)


def vectors_in(made: str) -> Floats:
    """The vectors in a folder, mapped once in a process."""
    with _OPENING:
        return _mapped(made)


@lru_cache(maxsize=4)
def _mapped(made: str) -> Floats:
    found: Floats = np.load(Path(made) / _VECTORS, mmap_mode="r")
    return found
