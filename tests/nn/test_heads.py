"""Guards the heads: layers are weighed and learn to be, padding changes nothing, statistics are
statistics."""

import pytest
import torch

from sonorant.nn.heads import FrameHead, Pool, UtteranceHead, WeightedLayers
from sonorant.types import Padded


def frames(*lengths, dim=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Padded(torch.randn(len(lengths), max(lengths), dim, generator=generator), torch.tensor(lengths))


def test_layers_start_alike_and_sum_to_one():
    layers = torch.randn(3, 2, 4, 5)
    weighted = WeightedLayers(3)
    torch.testing.assert_close(weighted(layers), layers.mean(0))
    weighted.scores.data = torch.tensor([0.0, 1.0, -2.0])
    expected = sum(weight * layer for weight, layer in zip(weighted.weights, layers, strict=True))
    torch.testing.assert_close(weighted(layers), expected)
    assert weighted.weights.sum().item() == pytest.approx(1)


def test_the_gradient_reaches_the_weights_and_favours_the_layer_that_tells():
    labels = torch.tensor([0, 1] * 8)
    informed = torch.nn.functional.one_hot(labels, 5).float()[:, None].expand(16, 3, 5)
    layers = torch.stack([torch.zeros(16, 3, 5), informed])
    weighted, head = WeightedLayers(2), torch.nn.Linear(5, 2)
    optimizer = torch.optim.Adam([*weighted.parameters(), *head.parameters()], lr=0.05)
    for _ in range(50):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(head(weighted(layers).mean(1)), labels)
        loss.backward()
        assert weighted.scores.grad.abs().sum() > 0
        optimizer.step()
    assert weighted.weights[1] > 0.7


@pytest.mark.parametrize("pooling", ["mean", "statistics"])
def test_pooling_sees_real_frames_alone(pooling):
    batch = frames(3, 7, 1)
    batch.values[0, 3:] = torch.inf
    pooled = Pool(pooling)(batch)
    for row, length in enumerate((3, 7, 1)):
        real = batch.values[row, :length]
        expected = [real.mean(0)]
        if pooling == "statistics":
            expected.append(real.var(0, correction=0).clamp(min=1e-5).sqrt())
        torch.testing.assert_close(pooled[row], torch.cat(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "head",
    [
        UtteranceHead(5, 3, hidden=4),
        UtteranceHead(5, 3, hidden=4, pooling="statistics", deep=True),
        FrameHead(5, 3, hidden=4),
        FrameHead(5, 3, hidden=4, deep=True),
    ],
)
def test_neighbours_and_padding_change_nothing(head):
    batch = frames(3, 7)
    together = head(batch)
    alone = head(Padded(batch.values[:1, :3], batch.lengths[:1]))
    if isinstance(together, Padded):
        together, alone = together.values[:, :3], alone.values
    torch.testing.assert_close(together[:1], alone)
