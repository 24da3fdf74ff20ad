"""How texts are taken apart into the words that BM25 counts (papers.md 4.3): that of the published baselines."""

from __future__ import annotations

from typing import Any

import Stemmer

from pipelines.errors import UserError
from pipelines.flows.words import UNSPACED

#: Words that are left out of documents and queries: those of Lucene's English analysis.
STOPWORDS = (
    "a an and are as at be but by for if in into is it no not of on or such that the their then there these they this "
    "to was will with"
).split()
#: Of scripts that are written without spaces each letter is a word, as in Lucene.
_WORD = rf"[{UNSPACED}]|[^\W{UNSPACED}]+"


def analysis(stemmer: str | None, stopwords: bool) -> dict[str, Any]:
    """What ``bm25s.tokenize`` is told of words; without a stemmer words stay whole, ``stopwords`` leaves them out.

    Raises:
        UserError: no stemmer has that name.
    """
    if stemmer is not None and stemmer not in Stemmer.algorithms():
        raise UserError(f"recipe.stemmer={stemmer}: must be null or one of {', '.join(Stemmer.algorithms())}")
    return {
        "token_pattern": _WORD,
        "stopwords": STOPWORDS if stopwords else [],
        "stemmer": Stemmer.Stemmer(stemmer) if stemmer else None,
    }
