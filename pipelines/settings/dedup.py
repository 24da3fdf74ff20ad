"""Group ``dedup``: which rows are too like another to keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pipelines.settings.keys import ABOVE_ZERO, SHARE_ABOVE_ZERO, SHARE_BELOW_ONE, Rule, at_least, key


class Unit(StrEnum):
    """What a shingle is made of."""

    word = "word"
    character = "character"


class Normalise(StrEnum):
    """What may be done to texts before they are compared."""

    nfkc = "nfkc"
    lowercase = "lowercase"
    strip_punctuation = "strip_punctuation"


class TokenHash(StrEnum):
    """How shingles are hashed."""

    token = "token"
    sha1 = "sha1"


class Scheme(StrEnum):
    """The permutations of datasketch 2.0."""

    affine32 = "affine32"
    affine64 = "affine64"


class Verify(StrEnum):
    """What candidates are compared by."""

    exact = "exact"
    estimate = "estimate"


class Clusters(StrEnum):
    """What is one cluster."""

    chains = "chains"
    star = "star"


class EncoderDtype(StrEnum):
    """Number format of an encoder."""

    auto = "auto"
    float32 = "float32"
    float16 = "float16"
    bfloat16 = "bfloat16"


class Backend(StrEnum):
    """What runs an encoder."""

    torch = "torch"
    onnx = "onnx"
    openvino = "openvino"


class Keep(StrEnum):
    """Which row of a cluster stays."""

    first = "first"
    longest = "longest"
    highest = "highest"


def _names_columns(given: Any) -> bool:
    names = [given] if isinstance(given, str) else list(given) if isinstance(given, Sequence) else []
    return bool(names) and all(isinstance(name, str) and name for name in names)


@dataclass
class Minhash:
    """MinHash near-duplicate removal (data)."""

    enabled: bool = key("false skips the stage", True)
    threshold: float = key("Jaccard similarity of word sets from which a row is a duplicate", 0.9, SHARE_ABOVE_ZERO)
    num_permutations: int = key("signature size", 128, at_least(1))
    bands: int | None = key(
        "bands of the LSH index; null takes as many as the widest that propose 99.9% of the pairs at the threshold "
        "(at 0.9: 16 of 8, which propose 99.99%)",
        None,
        at_least(1),
    )
    ngram: int = key("words or characters per shingle; a text of fewer is one shingle", 1, at_least(1))
    unit: Unit = key("what a shingle is made of: word (parted by white space) or character", Unit.word)
    normalise: list[Normalise] = key(
        "done to texts before they are compared, never to what is kept: nfkc, lowercase, strip_punctuation", []
    )
    hash: TokenHash = key("token (ours, fast) or sha1 (datasketch's own)", TokenHash.token)
    scheme: Scheme = key("datasketch's permutations: affine32, or affine64 for very large sets", Scheme.affine32)
    verify: Verify = key("candidates are compared by their sets (exact) or signatures (estimate)", Verify.exact)
    clusters: Clusters = key(
        "chains: what is connected is one cluster; star: a row goes only if a row that stays is alike", Clusters.chains
    )
    within: Any = key(
        "column of text, or [several,of,them]; only rows with the same values there are compared; null compares all",
        None,
        Rule("a column's name, or a list of them", _names_columns),
    )


@dataclass
class Embedding:
    """Embedding near-duplicate removal (data)."""

    enabled: bool = key("false skips the stage", True)
    threshold: float = key("cosine similarity above which a row is a duplicate", 0.9, SHARE_BELOW_ONE)
    encoder: str = key("hub id, path, `packaged:NAME` or `simulated`", "packaged:all-minilm-l6-v2", literal=True)
    batch_size: int = key("texts encoded at once", 64, at_least(1))
    device: str | None = key("where the encoder runs: cpu, cuda, ...; null takes a GPU where there is one", None)
    dtype: EncoderDtype = key("auto (as published), float32, float16 or bfloat16", EncoderDtype.auto)
    backend: Backend = key("torch, onnx or openvino; the last two need their packages", Backend.torch)


@dataclass
class Dedup:
    """Group ``dedup`` (data): which rows are too like another to keep."""

    keep: Keep = key("which of them stays: first (lowest id), longest (text) or highest (score_column)", Keep.first)
    score_column: str | None = key("column of numbers, for keep=highest", None, literal=True)
    against: str | None = key(
        "standing index, a folder or an earlier run: rows like one that an earlier run kept go, too, and what stays is "
        "added at the end",
        None,
        literal=True,
    )
    memory_gib: float | None = key(
        "memory that deciding by MinHash may take on a node, GiB; null takes half of what is free; more is spilled to "
        "files in the run directory",
        None,
        ABOVE_ZERO,
    )
    minhash: Minhash = field(default_factory=Minhash)
    embedding: Embedding = field(default_factory=Embedding)
