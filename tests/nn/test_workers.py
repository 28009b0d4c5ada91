"""Guards PASE's workers: which frames they are asked for, what is drawn for them, and their losses."""

import math

import pytest
import torch
from torch.nn import functional as F

from sonorant.nn.workers.discrimination import (
    GlobalInfoMax,
    LocalInfoMax,
    SequencePrediction,
    draw,
    judged,
)
from sonorant.nn.workers.regression import Regressor, Upsampling, WaveDecoder, standardise_targets
from sonorant.types import Padded, pad


def steps(*lengths, dim=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return pad([torch.randn(length, dim, generator=generator) for length in lengths])


@pytest.mark.parametrize("neighbours", [1, 3, 7])
@torch.no_grad()
def test_a_regressor_predicts_the_frames_around_that_there_are(neighbours):
    torch.manual_seed(0)
    worker = Regressor(4, 3, hidden=5, neighbours=neighbours)
    embedding, wanted = steps(6, 2), steps(6, 2, dim=3, seed=1)
    wanted.values[1, 2:] = 7
    standardise_targets({"": worker}, [{"": wanted}])
    found = worker(embedding, wanted)
    for row, length in enumerate((6, 2)):
        errors = []
        for t in range(length):
            hidden = worker.inward(embedding.values[row, t])
            for number in range(neighbours):
                other = t + number - neighbours // 2
                if 0 <= other < length:
                    target = (wanted.values[row, other] - worker.mean) / worker.deviation
                    errors += (worker.outward[number](hidden) - target).square().tolist()
        assert found.loss[row].item() == pytest.approx(sum(errors) / len(errors), rel=1e-5)


def test_statistics_are_those_of_the_real_steps():
    worker = Regressor(4, 3, hidden=5, neighbours=1)
    first, second = steps(5, 2, dim=3), steps(4, dim=3, seed=1)
    first.values[1, 2:] = 100
    standardise_targets({"": worker}, [{"": first}, {"": second}])
    rows = torch.cat([first.values[0], first.values[1, :2], second.values[0]])
    torch.testing.assert_close(worker.mean, rows.mean(0))
    torch.testing.assert_close(worker.deviation, rows.std(0, correction=0))


@pytest.mark.parametrize("stride", [4, 10, 40])
def test_upsampling_is_the_transposed_convolution(stride):
    torch.manual_seed(0)
    layer = Upsampling(3, 2, stride=stride)
    values = torch.randn(2, 9, 3)
    kernel = layer.kernel
    weight = layer.weight.permute(0, 2, 1)
    whole = F.conv_transpose1d(values.transpose(1, 2), weight, layer.bias, stride=stride).transpose(1, 2)
    early = (kernel - stride) // 2
    expected = whole[:, early : early + 9 * stride]
    torch.testing.assert_close(layer.spread(values), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_decoders_error_is_that_of_the_real_samples():
    torch.manual_seed(0)
    worker = WaveDecoder(4, 160, widths=(6, 5, 4), hidden=3)
    chunks = pad([torch.randn(5, 160), torch.randn(3, 160)])
    standardise_targets({"": worker}, [{"": chunks}])
    found = worker(steps(5, 3), chunks)
    alone = worker(Padded(steps(5, 3).values[1:, :3], torch.tensor([3])), pad([chunks.values[1, :3]]))
    torch.testing.assert_close(found.loss[1:], alone.loss)
    worker.outward[2].weight.zero_()
    worker.outward[2].bias.zero_()
    samples = chunks.values[1, :3].flatten()
    error = ((samples - worker.mean) / worker.deviation).abs().mean()
    torch.testing.assert_close(worker(steps(5, 3), chunks).loss[1], error)
    with pytest.raises(ValueError, match="stride of 100 samples is not divisible by 16"):
        WaveDecoder(4, 100, widths=(6, 5, 4), hidden=3)


def generators(count, seed=0):
    return [torch.Generator().manual_seed(seed + number) for number in range(count)]


def test_positives_are_the_siblings_and_negatives_another_utterances():
    lengths = torch.tensor([5, 6, 3, 4, 8, 7])
    others = set()
    for seed in range(60):
        draws = draw(lengths, generators(3, 10 * seed), time=8)
        for row, length in enumerate(lengths.tolist()):
            other = int(draws.others[row])
            assert other // 2 != row // 2
            others.add((row, other))
            assert draws.positives[row, :length].max() < lengths[row ^ 1]
            assert draws.negatives[row, :length].max() < lengths[other]
    assert len(others) == 6 * 4  # every chunk of the other utterances
    ahead = draw(lengths, generators(3), time=20)
    assert torch.equal(ahead.positives[:, :8], draw(lengths, generators(3), time=8).positives)


@pytest.mark.parametrize("kind", [LocalInfoMax, GlobalInfoMax])
@torch.no_grad()
def test_as_many_pairs_belong_together_as_do_not(kind):
    """The loss is that of loops over pairs, half of them labelled 1; an utterance alone is not asked."""
    torch.manual_seed(0)
    worker, chunks = kind(4, hidden=5), steps(5, 6, 3, 4)
    draws = draw(chunks.lengths, generators(2), time=6)
    found = worker(chunks, draws)
    for row, length in enumerate(chunks.lengths.tolist()):
        sibling, other = row ^ 1, int(draws.others[row])
        pairs = []
        if kind is LocalInfoMax:
            for t in range(length):
                anchor = chunks.values[row, t]
                pairs.append((anchor, chunks.values[sibling, draws.positives[row, t]], 1))
                pairs.append((anchor, chunks.values[other, draws.negatives[row, t]], 0))
        else:
            mean = {each: chunks.values[each, : chunks.lengths[each]].mean(0) for each in range(4)}
            pairs = [(mean[row], mean[sibling], 1), (mean[row], mean[other], 0)]
        losses, right = [], []
        for anchor, partner, label in pairs:
            share = worker.judge(torch.cat([anchor, partner])).sigmoid().item()
            losses.append(-math.log(share if label else 1 - share))
            right.append((share > 0.5) == bool(label))
        assert found.loss[row].item() == pytest.approx(sum(losses) / len(losses), rel=1e-4)
        assert found.right[row].item() == pytest.approx(sum(right) / len(right))
    assert found.asked.all()
    lonely = Padded(chunks.values[:2], chunks.lengths[:2])
    nothing = worker(lonely, draw(lonely.lengths, generators(1), time=6))
    assert not nothing.asked.any()
    assert not nothing.loss.any()


@pytest.mark.parametrize("guard", [0, 2])
@torch.no_grad()
def test_spc_asks_for_what_follows_against_what_went_before(guard):
    torch.manual_seed(0)
    worker, chunks = SequencePrediction(4, hidden=5, guard=guard), steps(20, 16, 11 + 2 * guard, 4)
    chunks.values[~chunks.mask] = 50
    found = worker(chunks)
    for row, length in enumerate(chunks.lengths.tolist()):
        values, losses = chunks.values[row], []
        for t in range(length):
            first, last = t - guard - 5, t + guard + 5
            if first < 0 or last >= length:
                continue
            future, past = values[t + guard + 1 : last + 1], values[first : t - guard]
            for span, sign in ((future, -1), (past, 1)):
                score = worker.judge(torch.cat([values[t], span.T.flatten()]))
                losses.append(F.softplus(sign * score).item())
        assert bool(found.asked[row]) == bool(losses)
        expected = sum(losses) / len(losses) if losses else 0
        assert found.loss[row].item() == pytest.approx(expected, rel=1e-4)
    short = worker(steps(3, 4))
    assert not short.asked.any()


def test_a_guess_costs_what_a_coin_does():
    asked = torch.ones(2, 5, dtype=torch.bool)
    coin = judged(torch.zeros(2, 5), torch.zeros(2, 5), asked)
    torch.testing.assert_close(coin.loss, torch.full((2,), math.log(2)))
    sure = judged(torch.full((2, 5), 9.0), torch.full((2, 5), -9.0), asked)
    assert sure.right.eq(1).all()
