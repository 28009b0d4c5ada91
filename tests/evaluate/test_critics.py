"""Guards the critics' bounds: near the truth where it is known, and beyond it by chance alone."""

import math
from itertools import product

import msgspec
import pytest
import torch

from sonorant.evaluate.critics import OBJECTIVES, Critic, CriticConfig, _sums, by_critic, critic_bound
from sonorant.evaluate.later import Later
from sonorant.evaluate.sampling import SamplingError
from sonorant.evaluate.store import FeatureStore, FeatureWriter

QUICK = CriticConfig(batch=128, updates=160, checks=4, hidden=32, dim=8, learning_rate=1e-2, frames=6000)


def gaussian(pairs, dim, rho, seed, *, per=50):
    """Pairs whose dimensions correlate by rho, in utterances of `per`."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(pairs, dim, generator=generator)
    y = rho * x + (1 - rho**2) ** 0.5 * torch.randn(pairs, dim, generator=generator)
    return Later(x, y, torch.arange(pairs) // per)


def three(dim, rho, *, pairs=4000):
    return [gaussian(count, dim, rho, seed) for seed, count in enumerate((pairs, pairs // 4, pairs))]


def in_these_pairs(test, rho):
    """The mean log density ratio of the test pairs: what there is to tell in them, without their luck."""
    x, y = test.frames, test.targets
    noise = (y - rho * x).square().sum(1) / (1 - rho**2)
    dim = x.shape[1]
    return float((-0.5 * (noise - y.square().sum(1)) - 0.5 * dim * math.log(1 - rho**2)).mean())


@pytest.mark.parametrize("bound", tuple(OBJECTIVES))
@pytest.mark.parametrize(("dim", "rho"), [(1, 0.5), (2, 0.7)])
def test_of_correlated_gaussians_all_is_told_and_no_more(bound, dim, rho):
    parts = three(dim, rho)
    truth = -dim / 2 * math.log(1 - rho**2)
    found = critic_bound(parts, bound, QUICK)
    assert found.low < truth
    assert found.low < found.value < found.high
    assert found.value == pytest.approx(in_these_pairs(parts[2], rho), rel=0.05, abs=0.008)


@pytest.mark.parametrize("bound", tuple(OBJECTIVES))
def test_of_independent_frames_nothing_is_told(bound):
    found = critic_bound(three(3, 0.0, pairs=2000), bound, msgspec.structs.replace(QUICK, updates=60))
    assert found.value == pytest.approx(0, abs=0.03)
    assert found.low < 0.005


def test_infonce_stays_below_the_logarithm_of_its_batch():
    parts = three(4, 0.99, pairs=1600)  # 7.8 nats
    tight = critic_bound(parts, "infonce", msgspec.structs.replace(QUICK, batch=16))
    loose = critic_bound(parts, "infonce", msgspec.structs.replace(QUICK, batch=128))
    assert 0.8 * math.log(16) < tight.value < tight.high <= math.log(16)
    assert tight.value < loose.value < math.log(128)


@pytest.mark.parametrize("bound", tuple(OBJECTIVES))
def test_what_is_learnt_by_heart_does_not_count(bound):
    few, test = gaussian(100, 60, 0.0, 5, per=10), gaussian(1000, 60, 0.0, 6, per=10)
    config = msgspec.structs.replace(QUICK, batch=64, updates=100, patience=99)
    assert critic_bound([few, few, few], bound, config).value > 0.5
    assert critic_bound([few, few, test], bound, config).value < 0


def slow(scores, utterances, draws):
    """The bounds of one batch, with utterances counted so often, by loops over pairs."""
    frames = joint = infonce = pairs = exponentials = 0.0
    for i, utterance in enumerate(utterances):
        frames += draws[utterance]
        joint += draws[utterance] * scores[i][i]
        others = [j for j, other in enumerate(utterances) if other != utterance]
        total = sum(math.exp(scores[i][j]) for j in [i, *others])
        infonce += draws[utterance] * (scores[i][i] - math.log(total / (1 + len(others))))
    for i, j in product(range(len(utterances)), repeat=2):
        if utterances[i] != utterances[j]:
            weight = draws[utterances[i]] * draws[utterances[j]]
            pairs += weight
            exponentials += weight * math.exp(scores[i][j])
    mean = exponentials / pairs
    return {
        "infonce": infonce / frames,
        "nwj": joint / frames - mean / math.e,
        "dv": joint / frames - math.log(mean),
    }


def test_the_sums_are_those_of_loops_over_pairs_of_different_utterances():
    part = gaussian(30, 3, 0.6, 8, per=7)
    torch.manual_seed(0)
    critic = Critic(3, 3, QUICK)
    scores = critic(part.frames, part.targets).double().tolist()
    sums = _sums(critic, part, msgspec.structs.replace(QUICK, batch=30))
    draws = torch.tensor([[1.0, 1, 1, 1, 1], [2, 0, 1, 0, 2]], dtype=torch.float64)
    found = sums.bounds(draws)
    for row, weights in enumerate(draws.tolist()):
        expected = slow(scores, part.utterances.tolist(), weights)
        assert {name: float(values[row]) for name, values in found.items()} == pytest.approx(expected)


def test_three_test_utterances_are_enough_for_an_interval():
    """Of which one alone, drawn three times, has no pairs of different utterances."""
    train, few = gaussian(400, 2, 0.7, 1), gaussian(60, 2, 0.7, 2, per=20)
    config = msgspec.structs.replace(QUICK, updates=20, checks=2)
    found = critic_bound([train, few, few], "nwj", config)
    assert math.isfinite(found.low)
    assert found.low <= found.value <= found.high


@pytest.fixture(scope="module")
def chains(tmp_path_factory):
    """Thirty utterances of frames of which each is 0.8 of the one before, beside noise."""
    generator = torch.Generator().manual_seed(9)
    path = tmp_path_factory.mktemp("chains") / "f"
    with FeatureWriter(path, frame_seconds=0.02, first_centre=0.01, provenance={}) as writer:
        for number in range(30):
            frames = torch.randn(150, 2, generator=generator)
            noise = torch.randn(150, 2, generator=generator)
            for time in range(1, 150):
                frames[time] = 0.8 * frames[time - 1] + 0.6 * frames[time]
            writer.add(f"u{number}", {"z": frames, "noise": noise})
    return FeatureStore(path)


def test_a_layer_tells_of_its_next_frame_and_shuffled_pairs_tell_nothing(chains):
    config = msgspec.structs.replace(QUICK, gap=0.02)
    score = by_critic(chains, "z", "nwj", config)
    truth = -math.log(1 - 0.8**2)
    assert score.figure.low < truth
    assert score.figure.value == pytest.approx(truth, rel=0.15)
    assert score.shuffled.value == pytest.approx(0, abs=0.05)
    assert (score.bound, score.targets, score.gap, score.frame_seconds) == ("nwj", "z", 0.02, 0.02)
    assert (score.test_frames, score.test_utterances, score.ceiling) == (6 * 149, 6, None)
    torch.rand(1)
    assert by_critic(chains, "z", "nwj", config).figure == score.figure


def test_the_ceiling_is_told_and_noise_tells_of_no_other_layer(chains):
    config = msgspec.structs.replace(QUICK, gap=0.02, updates=60)
    score = by_critic(chains, "noise", "infonce", config, target_layer="z")
    assert score.ceiling == math.log(128)
    assert score.figure.value == pytest.approx(0, abs=0.05)


def test_a_bound_that_is_not_there_is_named(chains):
    with pytest.raises(SamplingError, match="bounds: 'mine' is not one of infonce, nwj, dv"):
        by_critic(chains, "z", "mine", QUICK)
