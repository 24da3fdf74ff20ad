"""What a retriever is trained to make small."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from sentence_transformers.base.losses.gradcache import CachedLossMixin
from sentence_transformers.util import all_gather, all_gather_with_grad, get_rank, get_world_size
from torch import Tensor, nn


class InBatchSoftmax(CachedLossMixin, nn.Module):  # type: ignore[misc]
    """Cross-entropy of each query's document among all documents of the batch (papers.md 3.4).

    Other copies of a query's document, which come with other queries on it, and documents that are known to answer it
    too are left out: they would be asked to be near and far at once (papers.md 3.8). The trainer gives documents'
    numbers as labels. Where several processes train
    together, the batch is that of all of them. A batch of more than ``mini_batch_size`` texts a process is encoded in
    pieces of so many, twice (GradCache, arXiv 2101.06983): memory is that of a piece, the gradient that of the batch.
    """

    def __init__(self, model: Any, scale: float, mini_batch_size: int) -> None:
        super().__init__()
        self.model = model
        self.scale = scale
        self.mini_batch_size = mini_batch_size

    def forward(self, features: Iterable[dict[str, Tensor]], labels: Tensor) -> Tensor:
        """The mean loss of a batch; ``features`` are those of the queries, then of the documents."""
        both = list(features)
        if len(labels) > self.mini_batch_size:
            loss: Tensor = CachedLossMixin.forward_cached(self, both, labels)
            return loss
        return self.calculate_loss([[self.model(one)["sentence_embedding"]] for one in both], labels)

    def calculate_loss(
        self, reps: list[list[Tensor]], labels: Tensor | None = None, *, with_backward: bool = False
    ) -> Tensor:
        """The loss of vectors in pieces: those of the queries, then of the documents."""
        assert labels is not None  # the trainer is given them
        queries, documents = (nn.functional.normalize(torch.cat(some), dim=-1) for some in reps)
        first = 0
        if get_world_size() > 1:
            first = get_rank() * len(queries)
            documents, labels = all_gather_with_grad(documents), all_gather(labels)
        loss = in_batch_softmax(queries, documents, labels, self.scale, first)
        if with_backward:
            loss.backward()  # type: ignore[no-untyped-call]
            loss = loss.detach()
        return loss


def in_batch_softmax(queries: Tensor, documents: Tensor, labels: Tensor, scale: float, first: int = 0) -> Tensor:
    """The mean loss of some of a batch's queries, the first of which is the ``first`` one of the batch.

    Vectors are of length 1: ``queries`` of shape (some, dimensions), ``documents`` of shape (batch, dimensions);
    ``labels`` number the documents, shape (batch, some): first a query's own one, then what else answers it, -1 where
    there is nothing.
    """
    scores = scale * queries @ documents.T
    own = torch.arange(first, first + len(queries), device=scores.device)
    again = torch.zeros_like(scores, dtype=torch.bool)
    for answers in labels[own].T:
        again |= answers[:, None] == labels[None, :, 0]
    again[torch.arange(len(queries)), own] = False
    return nn.functional.cross_entropy(scores.masked_fill(again, float("-inf")), own)
