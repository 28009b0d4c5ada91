"""Guards TERA: what each alteration does, how often, which values are to be restored, and what it refuses."""

import pytest
import torch

from sonorant.config import ConfigError
from sonorant.encoders.build import EncoderConfig, build
from sonorant.encoders.convolutions import ConvolutionsConfig
from sonorant.encoders.log_mel import LogMelConfig
from sonorant.encoders.recurrent import GRUConfig
from sonorant.objective import objective_config
from sonorant.objectives.tera import Config
from sonorant.types import Batch, Padded, pad

NOTHING = {"time": 0.0, "frequency": 0.0, "magnitude": 0.0}


def objective(frontend=None, **settings):
    torch.manual_seed(0)
    frontend = frontend or LogMelConfig(mels=20, stack=2)
    encoder = build(EncoderConfig(frontend=frontend, context=GRUConfig(dim=8, layers=1)))
    return Config(**settings).build(encoder)


def ones(*lengths, dim=40):
    return pad([torch.ones(length, dim) for length in lengths])


def alter(model, frames, first=0):
    return model.alter(
        frames, [torch.Generator().manual_seed(first + row) for row in range(len(frames.lengths))]
    )


def only(**settings):
    return objective(**NOTHING | settings)


def test_a_band_of_mel_channels_is_zeroed_throughout_in_every_stacked_frame():
    altered, chosen = alter(only(frequency=0.25), ones(*[3] * 4000, dim=40))
    assert torch.equal(altered == 0, chosen)
    bands = chosen[:, 0].view(4000, 2, 20)
    assert torch.equal(bands[:, 0], bands[:, 1])
    assert torch.equal(chosen, chosen[:, :1].expand_as(chosen))
    widths = bands[:, 0].sum(1)
    counts = widths.bincount()
    assert len(counts) == 6  # 0 to a quarter of 20 channels
    assert (counts - 4000 / 6).abs().max() < 4 * (4000 * 5 / 36) ** 0.5
    edges = torch.diff(torch.nn.functional.pad(bands[:, 0].int(), (1, 1))).abs().sum(1)
    assert set(edges.tolist()) == {0, 2}
    starts = bands[widths == 5, 0].int().argmax(1).bincount(minlength=16)
    assert len(starts) == 16
    assert (starts - starts.sum() / 16).abs().max() < 4.5 * (starts.sum() / 16) ** 0.5


def test_noise_is_added_to_some_utterances_and_to_all_of_their_values():
    frames = ones(*[5] * 3000, 3)
    altered, chosen = alter(only(magnitude=0.15, noise=0.2), frames)
    assert torch.equal(chosen, frames.mask[..., None].expand_as(chosen))
    noise = altered - frames.values
    noisy = noise.flatten(1).any(1)
    assert abs(noisy.float().mean().item() - 0.15) < 4 * (0.15 * 0.85 / 3000) ** 0.5
    assert (noise[:-1][noisy[:-1]] != 0).float().mean() > 0.999
    assert noise[:-1][noisy[:-1]].std().item() == pytest.approx(0.2, rel=0.02)
    assert abs(noise[:-1][noisy[:-1]].mean().item()) < 0.003


def test_the_padding_stays_zero():
    altered, _ = alter(only(magnitude=1.0), ones(5, 3))
    assert altered[0].all()
    assert not altered[1, 3:].any()


def test_chosen_frames_are_to_be_restored_whole():
    frames = ones(100, 60)
    altered, chosen = alter(only(time=0.15), frames)
    assert chosen.any()
    assert torch.equal(chosen.all(-1), chosen.any(-1))
    assert (altered[~chosen] == frames.values[~chosen]).all()


def test_together_both_kinds_are_to_be_restored_and_noise_falls_on_zeros_too():
    frames = ones(*[100] * 40)
    altered, chosen = alter(objective(time=0.15, frequency=0.5, magnitude=1.0), frames)
    whole, band = chosen.all(2), chosen.all(1)
    assert torch.equal(chosen, whole[..., None] | band[:, None])
    assert band.any(1).float().mean() > 0.7
    silent = band[:, None] & ~whole[..., None]
    assert altered[silent].mean().abs() < 0.01
    assert altered[silent].std().item() == pytest.approx(0.2, rel=0.05)


def test_an_utterance_is_altered_alike_whatever_stands_beside_it():
    model, together = objective(magnitude=0.5), ones(50, 23, 90)
    for first in range(0, 30, 3):
        altered, chosen = alter(model, together, first)
        for row, length in enumerate((50, 23, 90)):
            alone = alter(model, Padded(torch.ones(1, length, 40), torch.tensor([length])), first=first + row)
            assert torch.equal(altered[row, :length], alone[0][0])
            assert torch.equal(chosen[row, :length], alone[1][0])


def test_the_loss_counts_values_and_a_head_that_says_zero_is_as_bad_as_zeros():
    model = objective()
    with torch.no_grad():
        model.predict[-1].weight.zero_()
        model.predict[-1].bias.zero_()
    batch = Batch(pad([torch.randn(6000), torch.randn(4000)]), (3, 4))
    loss = model(batch)
    _, chosen = model.alter(model.encoder.frontend(batch.inputs), batch.generators())
    assert loss.count == chosen.sum() > 0
    torch.testing.assert_close(loss.metrics["relative_error"], torch.tensor(1.0))


def test_the_published_numbers_are_the_defaults_and_shares_are_checked():
    published = Config(time=0.15, time_length=7, frequency=0.2, magnitude=0.15, noise=0.2)
    assert objective_config({"name": "tera"}) == published
    with pytest.raises(ConfigError, match="frequency"):
        objective_config({"name": "tera", "frequency": 20})


def test_an_objective_without_alteration_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        only()


def test_a_front_end_without_mel_channels_is_refused():
    with pytest.raises(ValueError, match="log_mel"):
        objective(ConvolutionsConfig(dim=8))
