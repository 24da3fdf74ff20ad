"""Texts to vectors of length 1: a sentence-transformers model, or a simulated one for load tests.

``load("packaged:all-minilm-l6-v2", 64)(["A luthier", "A nurse"])`` is a float32 array of shape (2, 384). The simulated
encoder knows no meaning: its cosine is about the share of words two texts have in common.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from threading import Lock

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.engine.weights import resolve
from pipelines.errors import UserError

Encode = Callable[[list[str]], NDArray[np.float32]]

#: The key that names an encoder for dedup.
_SETTING = "dedup.embedding.encoder"
#: Dimensions of the simulated encoder; unrelated texts then have a cosine of 0 +- 0.05.
SIMULATED_DIMENSIONS = 384


#: Shards of one process ask for the encoder at once; it is loaded once.
_LOADING = Lock()


def load(
    encoder: str,
    batch_size: int,
    device: str | None = None,
    dtype: str = "auto",
    backend: str = "torch",
    threads: int | None = None,
    tokens: int | None = None,
    setting: str = _SETTING,
) -> Encode:
    """The function from texts to vectors, shape (texts, dimensions), each of length 1; loaded once a process.

    Args:
        encoder: hub id, path, ``packaged:NAME``, or ``simulated``.
        batch_size: texts encoded at once.
        device: ``cpu``, ``cuda``...; None takes a GPU where there is one.
        dtype: ``auto`` (as published), ``float32``, ``float16`` or ``bfloat16``.
        backend: ``torch``, ``onnx`` or ``openvino``; the last two need their packages.
        threads: CPU threads; None takes every CPU that this process may use.
        tokens: what is read of a text; None, and more than the model reads, is as much as it reads.
        setting: the key that holds ``encoder``, for messages.

    Raises:
        UserError: the encoder cannot be loaded, or ``batch_size`` is below 1.
    """
    if batch_size < 1:
        raise UserError(f"dedup.embedding.batch_size={batch_size}: at least 1 text is encoded at once")
    if encoder == "simulated":
        return simulated
    with _LOADING:
        return _sentence_transformer(encoder, batch_size, device, dtype, backend, threads, tokens, setting)


def unload() -> None:
    """Let go of every encoder that this process has loaded, and of the GPU memory that torch keeps for more of them."""
    with _LOADING:
        if not _sentence_transformer.cache_info().currsize:
            return
        _sentence_transformer.cache_clear()
        gc.collect()
        import torch

        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def refuse_missing(encoder: str) -> None:
    """UserError for an encoder that ``load`` would not find, or whose package is not installed; imports nothing."""
    if encoder == "simulated":
        return
    missing = [name for name in ("sentence_transformers", "torch") if find_spec(name) is None]
    if missing:
        raise _not_installed(encoder, f"there is no module {missing[0]}")
    resolve(encoder, setting=_SETTING)


def simulated(texts: list[str]) -> NDArray[np.float32]:
    """Sums of one pseudo-random vector a word, scaled to length 1 (zero for a text without words)."""
    from pipelines.dedup.lsh.sets import sign_sums
    from pipelines.dedup.lsh.shingles import STEPS, Shingling

    return sign_sums(*Shingling(normalise=STEPS).sets(pa.array(texts, pa.string())), SIMULATED_DIMENSIONS)


@lru_cache(maxsize=2)
def _sentence_transformer(
    encoder: str,
    batch_size: int,
    device: str | None,
    dtype: str,
    backend: str,
    threads: int | None,
    tokens: int | None,
    setting: str,
) -> Encode:
    try:
        import torch
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise _not_installed(encoder, str(error), setting) from error
    # Ray gives a process that reserves no CPU, or one, one thread.
    torch.set_num_threads(threads or len(os.sched_getaffinity(0)))
    place = resolve(encoder, setting=setting)
    try:
        model = SentenceTransformer(
            place,
            device=device,
            backend=backend,
            model_kwargs={} if dtype == "auto" else {"dtype": getattr(torch, dtype)},
        )
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        raise UserError(
            f"{setting}={encoder}: cannot be loaded with device={device}, dtype={dtype}, backend={backend} ({error}); "
            f"name a sentence-transformers model by hub id or path, or packaged:all-minilm-l6-v2{_without(setting)}"
        ) from error
    if tokens is not None:
        model.max_seq_length = min(tokens, model.max_seq_length or tokens)
    one_at_a_time = Lock()

    def encode(texts: list[str]) -> NDArray[np.float32]:
        # The model sorts the texts by length itself, so that a batch holds little padding.
        with one_at_a_time:
            vectors = model.encode(
                texts, batch_size=batch_size, normalize_embeddings=True, show_progress_bar=False, convert_to_numpy=True
            )
        return np.asarray(vectors, np.float32)

    return encode


def _not_installed(encoder: str, reason: str, setting: str = _SETTING) -> UserError:
    return UserError(
        f"{setting}={encoder}: needs the package sentence-transformers ({reason}); pip install "
        f"sentence-transformers{_without(setting)}"
    )


def _without(setting: str) -> str:
    return ", or set dedup.embedding.enabled=false" if setting == _SETTING else ""
