"""Guards each distortion against its definition, and that an utterance meets what its own draws say."""

import math
from functools import cache
from pathlib import Path

import pytest
import torch

from sonorant.config import ConfigError, convert
from sonorant.data.audio import load
from sonorant.data.manifest import read
from sonorant.nn import augment
from sonorant.nn.distortions import DistortionConfig, distort
from sonorant.nn.sounds import Sounds
from sonorant.types import Padded, pad

RATE = 16000
SPEECH = Path(__file__).parents[1] / "fixtures" / "speech" / "manifest.jsonl"
KINDS = ("reverberation", "overlap", "noise", "clipping", "chop", "band_drop", "downsampling")
NONE = dict.fromkeys(KINDS, 0.0)
ALL = dict.fromkeys(KINDS, 1.0)
DRAWS = 300


@cache
def waves():
    clips = [clip for clip in read(SPEECH) if 0.9 < clip.seconds < 1.6][:4]
    return [torch.from_numpy(load(clip, RATE)) for clip in clips]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def decibels(ratio):
    return 10 * math.log10(ratio)


def energy(wave):
    return float(wave.double().square().sum())


def heard(*rows, padding=0, sounds=None, config=None, **changes):
    """The utterances of a batch, with anything in its padding, as they are distorted."""
    inputs = pad([waves()[row] for row in rows])
    values = torch.cat([inputs.values, torch.zeros(len(rows), padding)], 1)
    inputs = Padded(values.masked_fill(~Padded(values, inputs.lengths).mask, 7.0), inputs.lengths)
    return distort(
        inputs,
        config or DistortionConfig(**NONE | changes),
        rate=RATE,
        generators=[generator(row) for row in rows],
        sounds=sounds or Sounds(),
    )


class Played:
    """A collection that always gives the same recording."""

    def __init__(self, wave):
        self.wave = wave

    def draw(self, generator):
        augment.uniform(0, 1, generator)
        return self.wave


@pytest.mark.parametrize("start", [0, 5000])
@pytest.mark.parametrize("length", [3000, 40000])
def test_another_voice_sets_in_at_its_place_with_its_ratio(start, length):
    wave, other = waves()[0], waves()[1].repeat(4)[:length]
    mixed = augment.overlap(wave, other, snr=7.5, start=start)
    added = mixed - wave
    assert len(mixed) == len(wave)
    assert energy(added[:start]) == 0
    assert energy(added[start + length :]) == 0
    assert decibels(energy(wave) / energy(added)) == pytest.approx(7.5, abs=0.05)
    part = slice(start, min(start + length, len(wave)))
    scaled = other[: part.stop - part.start]
    scaled = scaled * math.sqrt(energy(added) / energy(scaled))
    torch.testing.assert_close(added[part], scaled, atol=1e-5, rtol=0)


@pytest.mark.parametrize("factor", [0.1, 0.5])
def test_clipping_cuts_what_is_above_its_share_of_each_peak_and_nothing_else(factor):
    wave = waves()[0]
    clipped = augment.clip(wave, factor)
    high, low = factor * wave.max(), factor * wave.min()
    inside = (wave < high) & (wave > low)
    assert 0.3 < float(inside.float().mean()) < 1
    assert torch.equal(clipped[inside], wave[inside])
    assert clipped[wave >= high].eq(high).all()
    assert clipped[wave <= low].eq(low).all()


def test_chopping_leaves_one_stretch_of_exact_zeros_whose_length_is_normal():
    wave = torch.rand(4000, generator=generator()) + 0.1
    lengths, starts = [], []
    for seed in range(DRAWS):
        chopped = augment.chop(wave, mean=400, deviation=100, generator=generator(seed))
        places = (chopped == 0).nonzero().flatten()
        lengths.append(len(places))
        if len(places):
            assert int(places[-1] - places[0]) == len(places) - 1
            starts.append(int(places[0]))
        assert torch.equal(chopped[chopped != 0], wave[chopped != 0])
    found = torch.tensor(lengths).double()
    assert float(found.mean()) == pytest.approx(400, abs=4 * 100 / math.sqrt(DRAWS))
    assert float(found.std()) == pytest.approx(100, rel=0.2)
    assert min(starts) < 100
    assert max(starts) > 3400
    assert augment.chop(wave, mean=9000, deviation=0, generator=generator()).abs().max() == 0
    assert torch.equal(augment.chop(wave, mean=-50, deviation=0, generator=generator()), wave)


def test_a_lower_rate_leaves_nothing_above_half_of_it_and_the_rest_as_it_was():
    wave = torch.randn(RATE, generator=generator())
    lower = augment.downsample(wave, 8000, rate=RATE)
    window = torch.hann_window(RATE)
    before, after = (torch.fft.rfft(each * window).abs().square() for each in (wave, lower))  # 1 Hz a bin
    assert decibels(float(after[4010:].sum() / after[:4000].sum())) < -40
    assert decibels(float(after[:3990].sum() / before[:3990].sum())) == pytest.approx(0, abs=0.05)


def test_the_batch_keeps_its_shape_and_its_padding_is_zero():
    inputs = pad([waves()[row] for row in range(4)])
    found = heard(0, 1, 2, 3, padding=300, **ALL)
    assert found.values.shape == (4, inputs.values.shape[1] + 300)
    assert torch.equal(found.lengths, inputs.lengths)
    assert found.values[~found.mask].abs().max() == 0
    assert torch.isfinite(found.values).all()
    assert all(row.abs().max() > 0 for row in found.values)


def test_nothing_drawn_is_nothing_changed():
    found = heard(0, 2)
    for row, wave in enumerate((waves()[0], waves()[2])):
        assert torch.equal(found.values[row, : len(wave)], wave)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "overlap"])
def test_an_utterance_is_distorted_alike_in_any_batch(kind):
    together, alone = heard(1, 2, 0, **{kind: 1.0}), heard(0, **{kind: 1.0})
    length = len(waves()[0])
    assert torch.equal(together.values[2, :length], alone.values[0])
    assert not torch.allclose(alone.values[0], waves()[0], atol=1e-3)


def test_draws_are_those_of_the_generators_and_inputs_stay_as_they_are():
    kept = [wave.clone() for wave in waves()]
    torch.manual_seed(1)
    first = heard(0, 1, **ALL)
    torch.manual_seed(2)
    again = heard(0, 1, **ALL)
    assert torch.equal(first.values, again.values)
    assert all(torch.equal(*pair) for pair in zip(kept, waves(), strict=True))


def test_a_neighbour_is_mixed_in_and_all_else_does_not_notice():
    dry = {"reverberation": 0.0}
    length = len(waves()[0])
    alone, beside_1, beside_2 = (
        heard(*rows, overlap=1.0, **dry).values[0, :length] for rows in ((0,), (0, 1), (0, 2))
    )
    torch.testing.assert_close(alone, waves()[0])
    assert not torch.allclose(beside_1, alone, atol=1e-3)
    assert not torch.allclose(beside_1, beside_2, atol=1e-3)
    for changes in ({**ALL, "overlap": 1e-9}, {**ALL}):
        # what is drawn behind the overlap is the same beside anybody: the zeros lie where they lay
        zeros = [
            heard(*rows, **changes | {"band_drop": 0.0, "downsampling": 0.0}).values[0, :length] == 0
            for rows in ((0,), (0, 1), (0, 2, 3))
        ]
        assert zeros[0].sum() > 100
        assert torch.equal(zeros[0], zeros[1])
        assert torch.equal(zeros[0], zeros[2])


def test_every_neighbour_comes_up_and_never_the_utterance_itself():
    quiet = [torch.zeros(8000) for _ in range(3)]
    quiet.insert(1, 0.5 * torch.ones(8000))
    config = DistortionConfig(**NONE | {"overlap": 1.0}, overlap_snr=(0.0,))
    loud = 0
    for seed in range(60):
        marked = [wave.clone() for wave in quiet]
        marked[0][::2] = 0.1
        found = distort(
            pad(marked), config, rate=RATE, generators=[generator(seed + row) for row in range(4)]
        ).values[0]
        loud += int(found[1::2].abs().max() > 0)  # where the utterance itself is silent
    assert 0.15 < loud / 60 < 0.55  # one neighbour in three is not silent


def test_only_neighbours_couple_utterances():
    assert DistortionConfig().couples_utterances
    assert not DistortionConfig(overlap=0).couples_utterances
    assert not DistortionConfig(voices="speech").couples_utterances
    length = len(waves()[0])
    sounds = Sounds(voices=Played(waves()[3]))
    together = heard(0, 1, sounds=sounds, overlap=1.0).values[0, :length]
    alone = heard(0, sounds=sounds, overlap=1.0).values[0, :length]
    assert torch.equal(together, alone)
    assert not torch.allclose(alone, waves()[0], atol=1e-3)


def test_each_distortion_comes_as_often_as_the_paper_has_it():
    wave, config = waves()[0][:2000], DistortionConfig()
    for kind, share in zip(KINDS, (0.5, 0.1, 0.4, 0.2, 0.2, 0.35, 0.25), strict=True):
        assert getattr(config, kind) == share
        alone = DistortionConfig(**NONE | {kind: share})
        batch = pad([wave] * DRAWS)
        found = distort(batch, alone, rate=RATE, generators=[generator(seed) for seed in range(DRAWS)])
        changed = (found.values != batch.values).any(1).float().mean()
        slack = 4 * math.sqrt(share * (1 - share) / DRAWS)
        assert float(changed) == pytest.approx(share, abs=slack), kind


def test_recorded_noise_comes_at_its_ratio_from_anywhere_and_over_again():
    wave, ramp = waves()[0], torch.arange(1.0, 3001.0)
    sounds = Sounds(noises=Played(ramp))
    firsts = set()
    for seed in range(20):
        noise = sounds.noise(7000, generator(seed))
        assert len(noise) == 7000
        assert torch.equal(noise[1:], torch.where(noise[:-1] == 3000, 1, noise[:-1] + 1))
        firsts.add(float(noise[0]))
    assert len(firsts) > 10
    assert torch.equal(sounds.noise(500, generator()).diff(), torch.ones(499))
    found = heard(0, sounds=sounds, noise=1.0, snr=(5.0,)).values[0]
    factor = float(found @ wave / wave.square().sum())
    voice_power, rest = factor**2 * energy(wave), energy(found - factor * wave)
    assert decibels(voice_power / rest) == pytest.approx(5, abs=0.1)


def test_a_recorded_room_leaves_the_direct_sound_where_it_was():
    wave, response = waves()[0], torch.zeros(900)
    response[300], response[700] = -2.0, 0.5
    found = Sounds(rooms=Played(response)).in_room(wave, rt60=(0.1, 0.2), rate=RATE, generator=generator())
    expected = -2.0 * wave
    expected[400:] += 0.5 * wave[:-400]
    torch.testing.assert_close(found, augment.as_loud(expected, wave), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"rt60": [0.5, 0.2]}, "distortions: rt60 goes from 0.5 to 0.2"),
        ({"noise": 1.5}, "distortions.noise"),
        ({"clip_factors": []}, "distortions.clip_factors"),
        ({"snrs": [5]}, "distortions.snrs: unknown key"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, told):
    with pytest.raises(ConfigError, match=told):
        convert(settings, DistortionConfig, path="distortions")
