"""Scores and their gradient against the definition."""

import pytest
import torch
from torch import Tensor

from prvr_model.network.similarity import Scores, score_both


def slow_scores(queries: Tensor, videos: Tensor) -> Scores:
    """The definition, pair by pair."""
    cosine, product = [], []
    for query in queries:
        for rows in videos:
            products = rows @ query
            norms = rows.norm(dim=1).clamp_min(1e-12) * query.norm().clamp_min(1e-12)
            cosine.append((products / norms).max())
            product.append(products.max())
    shape = (len(queries), len(videos))
    return Scores(torch.stack(cosine).view(shape), torch.stack(product).view(shape))


@pytest.mark.parametrize(("captions", "videos", "rows"), [(7, 4, 5), (1, 1, 1), (2, 3, 1)])
def test_scores_and_gradients_equal_the_definition(captions: int, videos: int, rows: int) -> None:
    torch.manual_seed(captions)
    inputs = [torch.randn(captions, 6).double(), torch.randn(videos, rows, 6).double()]
    weights = torch.randn(2, captions, videos).double()
    found = {}
    for function in (score_both, slow_scores):
        query, gallery = (piece.clone().requires_grad_() for piece in inputs)
        scores = function(query, gallery)
        loss = (weights[0] * scores.cosine).sum() + (weights[1] * scores.product.tanh()).sum()
        gradients = torch.autograd.grad(loss, (query, gallery))
        found[function] = (scores.cosine.detach(), scores.product.detach(), *gradients)
    for scores, other in zip(*found.values(), strict=True):
        torch.testing.assert_close(scores, other)


def test_best_rows_of_cosine_and_product_may_differ() -> None:
    query = torch.tensor([[1.0, 0.0]], requires_grad=True)
    videos = torch.tensor([[[1.0, 0.0], [5.0, 5.0]]], requires_grad=True)
    scores = score_both(query, videos)
    assert scores.cosine.item() == pytest.approx(1)
    assert scores.product.item() == pytest.approx(5)
    scores.product.sum().backward()
    assert videos.grad is not None
    assert videos.grad[0, 0].tolist() == [0, 0]
    assert videos.grad[0, 1].tolist() == [1, 0]


def test_zero_rows_score_zero_and_have_finite_gradients() -> None:
    query, videos = torch.zeros(1, 3, requires_grad=True), torch.zeros(2, 2, 3, requires_grad=True)
    scores = score_both(query, videos)
    assert scores.cosine.abs().max() == 0
    (scores.cosine.sum() + scores.product.sum()).backward()
    assert query.grad is not None
    assert videos.grad is not None
    assert query.grad.isfinite().all()
    assert videos.grad.isfinite().all()
