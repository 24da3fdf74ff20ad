"""How diverse texts are: of words, of phrases they share, and of meaning; each on a sample of one size.

``distinct_1`` to ``distinct_3``: different n-grams, as a share of all (Li et al. 2016). ``self_overlap``: the share of
a text's 4-grams that another text of the sample has, too; the mean. ``vendi``: the effective number of different texts
(Friedman and Dieng 2023), exp of the entropy of the eigenvalues of the cosines. ``cluster_entropy``: how evenly texts
spread over k-means cells, 1 for evenly. The larger, the more diverse, but for ``self_overlap``.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

#: Texts that are looked at: shares of n-grams fall with their number, so figures of one size can be compared.
SAMPLE = 1000
#: Length of the phrases that texts may share, in words; cells that they are spread over, rounds to find them.
PHRASE, CELLS, ROUNDS = 4, 32, 20


def lexical(texts: Sequence[str]) -> dict[str, float]:
    """Figures of words and phrases; {} for texts without a word."""
    words = [text.lower().split() for text in texts]
    if not any(words):
        return {}
    found = {f"distinct_{n}": _distinct(words, n) for n in (1, 2, 3)}
    phrases = [{tuple(some[i : i + PHRASE]) for i in range(max(1, len(some) - PHRASE + 1))} for some in words]
    texts_with = Counter(phrase for mine in phrases for phrase in mine)
    shared = [sum(texts_with[one] > 1 for one in mine) / len(mine) for mine in phrases if mine]
    return found | {"self_overlap": round(float(np.mean(shared)), 4)}


def semantic(vectors: Floats) -> dict[str, float]:
    """Figures of meaning, from vectors of length 1 (n x dimensions); {} for fewer than two."""
    if len(vectors) < 2:
        return {}
    return {"vendi": round(vendi(vectors), 2), "cluster_entropy": round(_entropy(vectors), 4)}


def vendi(vectors: Floats) -> float:
    """The effective number of different vectors: 1 where all are the same, n where all are orthogonal."""
    rows = vectors.astype(np.float64)
    # The cosines' and the covariance's eigenvalues are the same but for zeros; the smaller matrix is enough.
    kernel = rows @ rows.T if len(rows) <= rows.shape[1] else rows.T @ rows
    values = np.linalg.eigvalsh(kernel / len(rows))
    values = values[values > 1e-12]
    return float(np.exp(-(values * np.log(values)).sum()))


def _distinct(words: Sequence[Sequence[str]], n: int) -> float:
    grams = [tuple(some[i : i + n]) for some in words for i in range(len(some) - n + 1)]
    return round(len(set(grams)) / len(grams), 4) if grams else 0.0


def _entropy(vectors: Floats) -> float:
    from scipy.cluster.vq import kmeans2

    cells = min(CELLS, len(vectors))
    middles = vectors[np.linspace(0, len(vectors) - 1, cells).round().astype(int)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of cells that are empty
        _, nearest = kmeans2(vectors, middles, iter=ROUNDS, minit="matrix")
    share = np.bincount(nearest, minlength=cells) / len(vectors)
    share = share[share > 0]
    return float(-(share * np.log(share)).sum() / np.log(cells))


def diversity(texts: Sequence[str], vectors: Floats | None) -> dict[str, Any]:
    """All figures of a sample of texts; those of meaning where there are ``vectors``."""
    return {"texts": len(texts), **lexical(texts), **(semantic(vectors) if vectors is not None else {})}
