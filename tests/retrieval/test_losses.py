"""A query is asked to be near its own document and far from others, and from no copy of its own."""

import pytest
import torch

from pipelines.retrieval.losses import in_batch_softmax


def unit(*rows):
    return torch.nn.functional.normalize(torch.tensor(rows, dtype=torch.float64), dim=-1)


def test_the_loss_is_the_cross_entropy_over_the_batch():
    queries, documents = unit([1, 0], [0, 1]), unit([1, 0], [1, 1])
    found = in_batch_softmax(queries, documents, torch.tensor([0, 1]), scale=2.0)
    scores = 2.0 * queries @ documents.T
    wanted = -torch.log_softmax(scores, dim=1).diagonal().mean()
    assert found.item() == pytest.approx(wanted.item())


def test_another_copy_of_a_querys_document_is_no_negative():
    queries, documents = unit([1, 0], [1, 0.1], [0, 1]), unit([1, 0], [1, 0], [0, 1])
    masked = in_batch_softmax(queries, documents, torch.tensor([7, 7, 8]), scale=20.0)
    alone = [
        in_batch_softmax(queries[[one, 2]], documents[[one, 2]], torch.tensor([7, 8]), scale=20.0) for one in (0, 1)
    ]
    apart = in_batch_softmax(queries, documents, torch.tensor([7, 9, 8]), scale=20.0)
    assert masked.item() < 0.01 < apart.item(), "two copies of one document cannot be told apart"
    assert all(one.item() < 0.01 for one in alone)


def test_a_batch_of_one_document_has_nothing_to_learn():
    queries, documents = unit([1, 0], [0, 1]), unit([1, 0], [1, 0])
    assert in_batch_softmax(queries, documents, torch.tensor([3, 3]), scale=20.0).item() == 0.0


def test_it_falls_as_queries_come_to_their_documents():
    documents, labels = unit([1, 0], [0, 1]), torch.tensor([0, 1])
    far = in_batch_softmax(unit([0, 1], [1, 0]), documents, labels, scale=5.0)
    near = in_batch_softmax(unit([1, 0.2], [0.2, 1]), documents, labels, scale=5.0)
    assert near < far
