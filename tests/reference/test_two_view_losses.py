"""Guards the losses of the methods with two views, wiring included, against plain loops from the papers."""

import math
from functools import cache
from pathlib import Path

import pytest
import torch

from sonorant.data.audio import load
from sonorant.data.manifest import read
from sonorant.encoders.build import EncoderConfig, build
from sonorant.encoders.log_mel import LogMelConfig
from sonorant.encoders.recurrent import GRUConfig
from sonorant.encoders.two_views import embed, two_views
from sonorant.objective import objective_config
from sonorant.types import Batch, pad

SPEECH = Path(__file__).parents[1] / "fixtures" / "speech" / "manifest.jsonl"


@cache
def speech():
    waves = [
        torch.from_numpy(load(clip, 16000))[: 9000 + 700 * row] for row, clip in enumerate(read(SPEECH)[:4])
    ]
    return Batch(pad(waves), (3, 1, 4, 15))


def objective(name, **settings):
    torch.manual_seed(2)
    config = EncoderConfig(frontend=LogMelConfig(mels=8, stack=2), context=GRUConfig(dim=8, layers=1))
    return objective_config({"name": name, **settings}).build(build(config))


def projected(model, *, encoder=None, head):
    """Both views' embeddings behind the head, as rows of numbers, and as tensors."""
    views = two_views(speech(), model.config.views, model.encoder.frontend)
    with torch.no_grad():
        return [head(embed(encoder or model.encoder, view)) for view in views]


def cosine(x, y):
    product = sum(a * b for a, b in zip(x, y, strict=True))
    return product / math.sqrt(sum(a * a for a in x) * sum(b * b for b in y))


def check(model, total, count, rtol=1e-4):
    loss = model(speech())
    assert loss.count == count
    torch.testing.assert_close(loss.total.detach(), torch.tensor(total), rtol=rtol, atol=1e-6)


def test_simclr():
    model = objective("simclr", hidden=12, dim=5, temperature=0.3)
    first, second = projected(model, head=model.project)
    z = first.tolist() + second.tolist()
    total = 0.0
    for i in range(8):
        j = (i + 4) % 8
        others = sum(math.exp(cosine(z[i], z[k]) / 0.3) for k in range(8) if k != i)
        total -= math.log(math.exp(cosine(z[i], z[j]) / 0.3) / others)
    check(model, total, 8)


def test_vicreg():
    model = objective("vicreg", dim=6, invariance=3.0, variance=2.0, covariance=0.7)
    views = [z.tolist() for z in projected(model, head=model.expand)]
    n, d = 4, 6
    s = sum((views[0][b][i] - views[1][b][i]) ** 2 for b in range(n) for i in range(d)) / (n * d)
    v, c = 0.0, 0.0
    for z in views:
        mean = [sum(z[b][i] for b in range(n)) / n for i in range(d)]
        for i in range(d):
            for j in range(d):
                products = [(z[b][i] - mean[i]) * (z[b][j] - mean[j]) for b in range(n)]
                entry = sum(products) / (n - 1)
                if i != j:
                    c += entry**2 / d
                else:
                    v += max(0.0, 1 - math.sqrt(entry + 1e-4)) / d
    assert v > 0
    check(model, n * (3.0 * s + 2.0 * v / 2 + 0.7 * c), n)


def test_barlow_twins():
    model = objective("barlow_twins", dim=6, redundancy=0.3)
    with torch.no_grad():  # so large that the epsilon of the code is nothing
        model.project[-1].weight.mul_(100)
    one, two = (z.tolist() for z in projected(model, head=model.project))
    n, d = 4, 6

    def centred(z, i):
        mean = sum(z[b][i] for b in range(n)) / n
        return [z[b][i] - mean for b in range(n)]

    loss = 0.0
    for i in range(d):
        for j in range(d):
            entry = cosine(centred(one, i), centred(two, j))
            loss += (1 - entry) ** 2 if i == j else 0.3 * entry**2
    check(model, n * loss, n)


def test_byol():
    model = objective("byol", hidden=12, dim=5)
    with torch.no_grad():  # so that the target is another network
        for weight in (*model.target_encoder.parameters(), *model.target_project.parameters()):
            weight.mul_(1.5).add_(0.05)
    online = projected(model, head=lambda h: model.predict(model.project(h)))
    target = projected(model, encoder=model.target_encoder, head=model.target_project)
    total = 0.0
    for q, z in ((online[0], target[1]), (online[1], target[0])):
        for row, other in zip(q.tolist(), z.tolist(), strict=True):
            total += 2 - 2 * cosine(row, other)
    check(model, total, 4)


def test_moco():
    model = objective("moco", queue=7, hidden=12, dim=5, temperature=0.3)
    with torch.no_grad():
        for weight in (*model.key_encoder.parameters(), *model.key_project.parameters()):
            weight.mul_(1.5).add_(0.05)
    queries = projected(model, head=model.project)[0].tolist()
    keys = projected(model, encoder=model.key_encoder, head=model.key_project)[1].tolist()
    total = 0.0
    for query, key in zip(queries, keys, strict=True):
        positive = math.exp(cosine(query, key) / 0.3)
        negatives = sum(math.exp(cosine(query, other) / 0.3) for other in model.queue.tolist())
        total -= math.log(positive / (positive + negatives))
    check(model, total, 4)


def test_simsiam():
    model = objective("simsiam", dim=6, bottleneck=3)
    z = [each.tolist() for each in projected(model, head=model.project)]
    p = [each.tolist() for each in projected(model, head=lambda h: model.predict(model.project(h)))]
    total = 0.0
    for b in range(4):
        total -= cosine(p[0][b], z[1][b]) / 2 + cosine(p[1][b], z[0][b]) / 2
    check(model, total, 4)


@pytest.mark.parametrize(("name", "head"), [("simsiam", {"dim": 6, "bottleneck": 3}), ("byol", {"dim": 5})])
def test_no_gradient_passes_through_what_is_predicted(name, head):
    """The gradient is that of a loss whose targets are numbers."""
    model = objective(name, **head)
    if name == "simsiam":
        targets = projected(model, head=model.project)
    else:
        targets = projected(model, encoder=model.target_encoder, head=model.target_project)
    views = two_views(speech(), model.config.views, model.encoder.frontend)
    total = 0.0
    for view, target in zip(views, reversed(targets), strict=True):
        prediction = model.predict(model.project(embed(model.encoder, view)))
        similar = torch.nn.functional.cosine_similarity(prediction, target, dim=1).sum()
        total = total - similar * (0.5 if name == "simsiam" else 2)
    wanted = torch.autograd.grad(total, list(model.encoder.parameters()))
    found = torch.autograd.grad(model(speech()).total, list(model.encoder.parameters()))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5 * float(other.abs().max()) + 1e-7)
