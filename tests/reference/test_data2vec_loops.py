"""Guards data2vec's loss against a re-implementation in plain loops, one utterance at a time."""

import math

import torch

from sonorant.encoders.build import EncoderConfig, build
from sonorant.encoders.log_mel import LogMelConfig
from sonorant.encoders.transformer import TransformerConfig
from sonorant.nn.masking import span_mask
from sonorant.objectives.data2vec import Config
from sonorant.types import Batch, pad

DIM, LAYERS, TOP = 8, 3, 2


def normalised(rows):
    """Zero mean and unit variance over time, channel by channel."""
    columns = []
    for column in zip(*rows, strict=True):
        mean = sum(column) / len(column)
        variance = sum((value - mean) ** 2 for value in column) / len(column)
        columns.append([(value - mean) / math.sqrt(variance + 1e-5) for value in column])
    return list(zip(*columns, strict=True))


def run(context, values):
    """The context network's output, and what each layer's feed-forward block adds."""
    added = []
    values = context.norm(values)
    for layer in context.layers:
        values = layer.attention_norm(values + layer.attention(values))
        added.append(layer.feedforward(values))
        values = layer.feedforward_norm(values + added[-1])
    return values, added


@torch.no_grad()
def test_the_loss_is_the_sum_over_every_hidden_frame_one_by_one():
    torch.manual_seed(2)
    context = TransformerConfig(
        dim=DIM, layers=LAYERS, heads=2, feedforward=12, positions="none", dropout=0.0
    )
    encoder = build(EncoderConfig(frontend=LogMelConfig(mels=6), context=context))
    objective = Config(top_layers=TOP, mask_length=3).build(encoder)
    for parameter in objective.parameters():
        parameter.add_(torch.randn_like(parameter) / 5)  # the teacher is not the student
    batch = Batch(pad([torch.randn(n) for n in (4000, 1500, 2300)]), (3, 4, 5))

    total, count = 0.0, 0
    for row, length in enumerate(batch.inputs.lengths.tolist()):
        alone = Batch(pad([batch.inputs.values[row, :length]]), batch.seeds[row : row + 1])
        frames = encoder.frontend(alone.inputs)
        hidden = span_mask(frames.lengths, alone.generators(), probability=0.65, length=3)[0].tolist()
        seen = encoder.projection(frames.values)
        _, added = run(objective.teacher.context, seen)
        layers = [normalised(each[0].tolist()) for each in added[-TOP:]]
        for t, is_hidden in enumerate(hidden):
            if is_hidden:
                seen[0, t] = objective.mask_embedding
        predicted = objective.predict(run(encoder.context, seen)[0])[0].tolist()
        for t, is_hidden in enumerate(hidden):
            if is_hidden:
                target = [sum(layer[t][d] for layer in layers) / TOP for d in range(DIM)]
                squares = [(y - f) ** 2 for y, f in zip(target, predicted[t], strict=True)]
                total += sum(squares) / math.sqrt(DIM)
                count += 1

    loss = objective(batch)
    assert loss.count == count > 10
    torch.testing.assert_close(loss.total, torch.tensor(total), rtol=1e-4, atol=0)
