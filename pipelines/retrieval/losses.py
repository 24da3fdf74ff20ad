"""What a retriever is trained to make small."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


class InBatchSoftmax(nn.Module):
    """Cross-entropy of each query's document among all documents of the batch (papers.md 3.4).

    Other copies of a query's document, which come with other queries on it, are left out: they would be asked to be
    near and far at once (papers.md 3.8). The trainer gives documents' numbers as labels.
    """

    def __init__(self, model: Any, scale: float) -> None:
        super().__init__()
        self.model = model
        self.scale = scale

    def forward(self, features: Iterable[dict[str, Tensor]], labels: Tensor) -> Tensor:
        """The mean loss of a batch; ``features`` are those of the queries, then of the documents."""
        queries, documents = (
            nn.functional.normalize(self.model(one)["sentence_embedding"], dim=-1) for one in features
        )
        return in_batch_softmax(queries, documents, labels, self.scale)


def in_batch_softmax(queries: Tensor, documents: Tensor, labels: Tensor, scale: float) -> Tensor:
    """The loss of vectors of length 1, shape (batch, dimensions); ``labels`` number the documents, shape (batch,)."""
    scores = scale * queries @ documents.T
    own = torch.arange(len(labels), device=scores.device)
    again = (labels[:, None] == labels[None, :]) & (own[:, None] != own[None, :])
    return nn.functional.cross_entropy(scores.masked_fill(again, float("-inf")), own)
