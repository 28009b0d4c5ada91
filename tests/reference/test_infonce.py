"""Guards the contrastive loss, one matrix product an utterance, against InfoNCE in plain loops."""

import math

import torch

from sonorant.encoders.build import EncoderConfig, build
from sonorant.encoders.log_mel import LogMelConfig
from sonorant.encoders.transformer import TransformerConfig
from sonorant.objectives.wav2vec2 import Config


def cosine(x, y):
    product = sum(a * b for a, b in zip(x, y, strict=True))
    return product / math.sqrt(sum(a * a for a in x) * sum(b * b for b in y))


def infonce(predicted, targets, codes, negatives, kappa):
    """The loss of one utterance and how often the target was more similar than every distractor."""
    total, right = 0.0, 0
    for t, prediction in enumerate(predicted):
        positive = math.exp(cosine(prediction, targets[t]) / kappa)
        distractors = []
        for other in negatives[t]:
            assert other != t
            if codes[other] != codes[t]:
                distractors.append(math.exp(cosine(prediction, targets[other]) / kappa))
        total -= math.log(positive / (positive + sum(distractors)))
        right += all(positive > one for one in distractors)
    return total, right


def test_the_fast_loss_is_the_slow_one():
    torch.manual_seed(5)
    context = TransformerConfig(dim=12, layers=1, heads=2, feedforward=8, positions="none")
    encoder = build(EncoderConfig(frontend=LogMelConfig(mels=8), context=context))
    settings = Config(groups=2, entries=3, final_dim=6, negatives=9, logit_temperature=0.2)
    objective = settings.build(encoder)
    counts = [7, 2, 0, 13]
    generator = torch.Generator().manual_seed(1)
    drawn = []
    for count in counts:
        for own in range(count):
            others = [other for other in range(count) if other != own]
            picks = torch.randint(len(others), (9,), generator=generator)
            drawn.append([others[pick] for pick in picks.tolist()])
    hidden, frames = torch.randn(22, 12), torch.randn(22, 8)
    quantized = objective.quantizer(frames, objective.quantizer.noise(22, generator))
    logits = objective.logits(hidden, quantized.values, quantized.codes, torch.tensor(drawn), counts)
    fast = -logits.log_softmax(1)[:, 0].sum()

    predicted = objective.project_context(hidden).tolist()
    targets = objective.project_code(quantized.values).tolist()
    codes = quantized.codes.tolist()
    total, right, first = 0.0, 0, 0
    for count in counts:
        part = slice(first, first + count)
        loss, correct = infonce(predicted[part], targets[part], codes[part], drawn[part], 0.2)
        total, right, first = total + loss, right + correct, first + count

    assert logits.isneginf().any()
    assert 0 < right < 22
    torch.testing.assert_close(fast, torch.tensor(total), rtol=1e-5, atol=0)
    assert (logits[:, :1] > logits[:, 1:]).all(1).sum() == right
