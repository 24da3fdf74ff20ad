"""A query is asked to be near its own document and far from others, and from no copy of its own."""

import pytest
import torch

from pipelines.retrieval.losses import InBatchSoftmax, in_batch_softmax


def unit(*rows):
    return torch.nn.functional.normalize(torch.tensor(rows, dtype=torch.float64), dim=-1)


def numbers(*own):
    """Labels of queries with one answer each."""
    return torch.tensor([[one] for one in own])


def test_the_loss_is_the_cross_entropy_over_the_batch():
    queries, documents = unit([1, 0], [0, 1]), unit([1, 0], [1, 1])
    found = in_batch_softmax(queries, documents, numbers(0, 1), scale=2.0)
    scores = 2.0 * queries @ documents.T
    wanted = -torch.log_softmax(scores, dim=1).diagonal().mean()
    assert found.item() == pytest.approx(wanted.item())


def test_another_copy_of_a_querys_document_is_no_negative():
    queries, documents = unit([1, 0], [1, 0.1], [0, 1]), unit([1, 0], [1, 0], [0, 1])
    masked = in_batch_softmax(queries, documents, numbers(7, 7, 8), scale=20.0)
    alone = [in_batch_softmax(queries[[one, 2]], documents[[one, 2]], numbers(7, 8), scale=20.0) for one in (0, 1)]
    apart = in_batch_softmax(queries, documents, numbers(7, 9, 8), scale=20.0)
    assert masked.item() < 0.01 < apart.item(), "two copies of one document cannot be told apart"
    assert all(one.item() < 0.01 for one in alone)


def test_another_answer_to_a_query_is_no_negative():
    queries, documents = unit([1, 0], [0.9, 0.1]), unit([1, 0], [1, 0])
    labels = torch.tensor([[7, 8, -1], [8, -1, -1]])
    masked = in_batch_softmax(queries, documents, labels, scale=20.0)
    apart = in_batch_softmax(queries, documents, torch.tensor([[7, -1, -1], [8, -1, -1]]), scale=20.0)
    # The first query knows the second document as an answer; the second one does not know the first.
    assert masked.item() == pytest.approx(apart.item() / 2)


def test_a_batch_of_one_document_has_nothing_to_learn():
    queries, documents = unit([1, 0], [0, 1]), unit([1, 0], [1, 0])
    assert in_batch_softmax(queries, documents, numbers(3, 3), scale=20.0).item() == 0.0


def test_it_falls_as_queries_come_to_their_documents():
    documents, labels = unit([1, 0], [0, 1]), numbers(0, 1)
    far = in_batch_softmax(unit([0, 1], [1, 0]), documents, labels, scale=5.0)
    near = in_batch_softmax(unit([1, 0.2], [0.2, 1]), documents, labels, scale=5.0)
    assert near < far


def test_the_queries_of_one_process_are_held_against_the_documents_of_all():
    torch.manual_seed(0)
    queries, documents = (unit(*torch.randn(6, 4).tolist()) for _ in range(2))
    labels = numbers(1, 2, 1, 3, 2, 4)
    whole = in_batch_softmax(queries, documents, labels, scale=5.0)
    halves = [in_batch_softmax(queries[at : at + 3], documents, labels, 5.0, first=at) for at in (0, 3)]
    assert (sum(halves) / 2).item() == pytest.approx(whole.item())


class Doubled(torch.nn.Module):
    """A model of one layer, as the loss asks it."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.layer = torch.nn.Linear(5, 4)
        self.asked = []

    def forward(self, features):
        self.asked.append(len(features["input_ids"]))
        return {"sentence_embedding": self.layer(features["input_ids"])}


@pytest.mark.parametrize("at_once", [1, 2, 7])
def test_a_batch_in_pieces_has_the_gradient_of_the_whole(at_once):
    torch.manual_seed(2)
    features = [{"input_ids": torch.randn(8, 5)} for _ in range(2)]
    labels = numbers(0, 1, 2, 0, 3, 4, 4, 5)
    found = []
    for some in (8, at_once):
        model = Doubled()
        loss = InBatchSoftmax(model, 20.0, some)(features, labels)
        loss.backward()
        found.append((loss.item(), model.layer.weight.grad))
        assert max(model.asked) == min(some, 8)
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-4, atol=1e-6)
