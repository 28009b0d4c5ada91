"""Guards Mockingjay, TERA, VQ-APC and NPC against re-implementations in plain loops, one frame at a time."""

import math

import torch

from sonorant.encoders.build import EncoderConfig, build
from sonorant.encoders.log_mel import LogMelConfig
from sonorant.encoders.masked_convolutions import MaskedConvolutionsConfig
from sonorant.encoders.recurrent import GRUConfig
from sonorant.encoders.transformer import TransformerConfig
from sonorant.nn.masking import span_mask
from sonorant.objectives import mockingjay, npc, tera, vq_apc
from sonorant.types import Batch, Padded, pad

SIZES = (3000, 1500, 4100, 2600, 3300, 2000) * 5
SEEDS = range(30)  # zeroed, moved and kept; with noise and without


def batch():
    torch.manual_seed(3)
    return Batch(pad([torch.randn(size) for size in SIZES]), SEEDS)


def encoder(context=None, stack=1):
    torch.manual_seed(4)
    context = context or TransformerConfig(
        dim=8, layers=1, heads=2, feedforward=8, positions="none", dropout=0
    )
    return build(EncoderConfig(frontend=LogMelConfig(mels=6, stack=stack), context=context)).eval()


def along_time(frames, seed, *, length):
    """Altered frames, the chosen ones, what was thrown and the generator for what is drawn afterwards."""
    generator = torch.Generator().manual_seed(seed)
    count = len(frames)
    chosen = span_mask(torch.tensor([count]), [generator], probability=0.15, length=length)[0].tolist()
    throw = float(torch.rand((), generator=generator, dtype=torch.float64))
    altered = [list(frame) for frame in frames]
    distance = 0
    if 0.8 <= throw < 0.9:
        distance = int(torch.randint(1, count, (), generator=generator))
    for t in range(count):
        if chosen[t] and throw < 0.8:
            altered[t] = [0.0] * len(frames[t])
        elif chosen[t]:
            altered[t] = list(frames[(t - distance) % count])
    outcome = "zeroed" if throw < 0.8 else "moved" if throw < 0.9 else "kept"
    return altered, chosen, outcome, generator


def restored(objective, altered):
    """What the head predicts of one utterance alone."""
    frames = Padded(torch.tensor([altered]), torch.tensor([len(altered)]))
    hidden = objective.encoder.context(objective.encoder.project(frames)).last.values[0]
    return objective.predict(hidden).tolist()


def test_mockingjay_sums_over_every_chosen_frame_one_by_one():
    objective = mockingjay.Config(mask_length=4).build(encoder())
    frames = objective.encoder.frontend(batch().inputs)
    total, count, outcomes = 0.0, 0, set()
    for values, length, seed in zip(frames.values, frames.lengths.tolist(), SEEDS, strict=True):
        real = values[:length].tolist()
        altered, chosen, outcome, _ = along_time(real, seed, length=4)
        outcomes.add(outcome)
        predicted = restored(objective, altered)
        for t in range(length):
            if chosen[t]:
                total += sum(abs(x - y) for x, y in zip(real[t], predicted[t], strict=True)) / len(real[t])
                count += 1
    loss = objective(batch())
    assert outcomes == {"zeroed", "moved", "kept"}
    assert loss.count == count > 0
    torch.testing.assert_close(loss.total, torch.tensor(total), rtol=1e-5, atol=0)


def test_tera_sums_over_every_chosen_value_one_by_one():
    config = tera.Config(time_length=3, frequency=0.5, magnitude=0.4, noise=0.3)
    objective = config.build(encoder(stack=2))
    frames = objective.encoder.frontend(batch().inputs)
    total, count, outcomes, noisy = 0.0, 0, set(), 0
    for values, length, seed in zip(frames.values, frames.lengths.tolist(), SEEDS, strict=True):
        real = values[:length].tolist()
        altered, chosen, outcome, generator = along_time(real, seed, length=3)
        outcomes.add(outcome)
        width = int(torch.randint(4, (), generator=generator))  # 0 to 3 of 6 channels
        start = int(torch.randint(7 - width, (), generator=generator))
        for t in range(length):
            for d in range(12):
                if start <= d % 6 < start + width:
                    altered[t][d] = 0.0
        if float(torch.rand((), generator=generator, dtype=torch.float64)) < 0.4:
            noisy += 1
            noise = torch.randn(length, 12, generator=generator).tolist()
            altered = [
                [x + 0.3 * e for x, e in zip(*rows, strict=True)] for rows in zip(altered, noise, strict=True)
            ]
        predicted = restored(objective, altered)
        for t in range(length):
            for d in range(12):
                if chosen[t] or start <= d % 6 < start + width:
                    total += abs(real[t][d] - predicted[t][d])
                    count += 1
    loss = objective(batch())
    assert outcomes == {"zeroed", "moved", "kept"}
    assert 0 < noisy < len(SEEDS)
    assert loss.count == count > 0
    torch.testing.assert_close(loss.total, torch.tensor(total), rtol=1e-5, atol=0)


def test_vq_apc_predicts_from_the_codeword_with_the_largest_noisy_score():
    config = vq_apc.Config(shift=2, entries=5, temperature=0.5)
    objective = config.build(encoder(GRUConfig(dim=8, layers=2)))
    objective.train()
    frames = objective.encoder.frontend(batch().inputs)
    states = objective.encoder(batch().inputs).last.values.tolist()
    weight, bias = objective.quantizer.logits.weight.tolist(), objective.quantizer.logits.bias.tolist()
    words = objective.quantizer.codewords[0].tolist()
    matrix, offset = objective.predict.weight.tolist(), objective.predict.bias.tolist()
    total, count, used = 0.0, 0, set()
    for row, (length, seed) in enumerate(zip(frames.lengths.tolist(), SEEDS, strict=True)):
        targets = frames.values[row].tolist()
        generator = torch.Generator().manual_seed(seed)
        draws = torch.empty(length - 2, 5).exponential_(generator=generator).tolist()
        for t in range(length - 2):
            scores = [
                sum(w * h for w, h in zip(weight[v], states[row][t], strict=True))
                + bias[v]
                - math.log(draws[t][v])
                for v in range(5)
            ]
            code = scores.index(max(scores))
            used.add(code)
            for d in range(6):
                predicted = sum(a * c for a, c in zip(matrix[d], words[code], strict=True)) + offset[d]
                total += abs(targets[t + 2][d] - predicted) / 6
            count += 1
    loss = objective(batch())
    assert used == set(range(5))
    assert loss.count == count > 0
    torch.testing.assert_close(loss.total, torch.tensor(total), rtol=1e-5, atol=0)


def test_npc_predicts_every_frame_from_those_around_it():
    context = MaskedConvolutionsConfig(dim=4, layers=2, kernel=9, mask=3, dropout=0)
    objective = npc.Config(groups=1, entries=5).build(encoder(context)).eval()
    objective.predict.weight.data.mul_(5)
    network = objective.encoder.context
    torch.manual_seed(1)
    short = Batch(pad([torch.randn(2200), torch.randn(1100)]), (0, 1))
    frames = objective.encoder.frontend(short.inputs)
    total, count = 0.0, 0
    for values, length in zip(frames.values, frames.lengths.tolist(), strict=True):
        states = objective.encoder.projection(values[:length])
        read = torch.zeros(length, 4)
        for index, (block, reader) in enumerate(zip(network.layers, network.readers, strict=True)):
            states = torch.stack([spread(block, states, t) for t in range(length)])
            for t in range(length):
                read[t] += look(reader.convolution, states, t, hole=1 + index + 1, reach=4)
        for t in range(length):
            scores = objective.quantizer.logits(read[t]).tolist()
            word = objective.quantizer.codewords[0, scores.index(max(scores))]
            predicted = objective.predict(word).tolist()
            total += sum(abs(x - y) for x, y in zip(values[t].tolist(), predicted, strict=True)) / 6
            count += 1
    loss = objective(short)
    assert loss.count == count > 0
    torch.testing.assert_close(loss.total, torch.tensor(total), rtol=1e-5, atol=0)


def spread(block, states, t):
    """A block at step t: the frames beside it, then each for itself."""
    around = block.convolution.bias.clone()
    for offset in (-1, 0, 1):
        if 0 <= t + offset < len(states):
            around = around + block.convolution.weight[:, :, offset + 1] @ states[t + offset]
    seen = block.linear_norm(block.linear(torch.relu(block.convolution_norm(around))))
    return torch.relu(states[t] + seen)


def look(convolution, states, t, *, hole, reach):
    """What is read at step t from the frames further away than `hole`, up to `reach`."""
    read = convolution.bias.clone()
    for offset in range(-reach, reach + 1):
        if abs(offset) > hole and 0 <= t + offset < len(states):
            read = read + convolution.weight[:, :, offset + reach] @ states[t + offset]
    return torch.tanh(read)
