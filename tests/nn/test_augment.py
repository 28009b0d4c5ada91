"""Guards what each augmentation promises, in its own unit, and that it draws from its generator alone."""

import json
import math
from pathlib import Path

import pytest
import soundfile
import torch

from sonorant.nn import augment
from sonorant.nn.spec_augment import spec_augment_mask
from sonorant.nn.views import ViewConfig, view

RATE = 16000
SPEECH = Path(__file__).parents[1] / "fixtures" / "speech"


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def speech():
    row = json.loads((SPEECH / "manifest.jsonl").read_text(encoding="utf8").splitlines()[3])
    return torch.from_numpy(soundfile.read(SPEECH / row["path"], dtype="float32")[0])


def tone(hertz, samples=8000):
    return 0.3 * (2 * math.pi * hertz * torch.arange(samples) / RATE).sin()


def decibels(ratio):
    return 10 * math.log10(ratio)


def loudest_hertz(wave):
    window = torch.hann_window(len(wave))
    return int(torch.fft.rfft(wave * window).abs().argmax()) * RATE / len(wave)


def test_a_crop_is_a_stretch_and_every_place_comes_up():
    wave = torch.arange(10.0)
    starts = set()
    for seed in range(60):
        cut = augment.crop(wave, 7, generator(seed))
        assert torch.equal(cut, torch.arange(cut[0].item(), cut[0].item() + 7))
        starts.add(int(cut[0]))
    assert starts == {0, 1, 2, 3}
    assert torch.equal(augment.crop(wave, 99, generator()), wave)


def test_gain_is_in_decibels():
    wave = speech()
    louder = augment.gain(wave, 6.0)
    assert decibels(float(louder.square().mean() / wave.square().mean())) == pytest.approx(6, abs=1e-3)


@pytest.mark.parametrize("snr", [-5.0, 0.0, 15.0])
def test_noise_is_added_at_its_ratio(snr):
    wave = speech()
    noisy = augment.add_noise(wave, augment.coloured_noise(len(wave), 1.0, generator()), snr=snr)
    added = noisy - wave
    assert decibels(float(wave.square().mean() / added.square().mean())) == pytest.approx(snr, abs=0.01)


def test_silence_stays_silent_and_finite():
    silence = torch.zeros(4000)
    noisy = augment.add_noise(silence, augment.coloured_noise(4000, 1.0, generator()), snr=5.0)
    wet = augment.reverberate(silence, augment.room_response(0.3, RATE, generator()))
    assert torch.equal(noisy, silence)
    assert wet.abs().max() == 0


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_the_power_of_coloured_noise_falls_as_it_should(exponent):
    noise = augment.coloured_noise(1 << 16, exponent, generator())
    assert float(noise.square().mean()) == pytest.approx(1, abs=1e-3)
    power = torch.fft.rfft(noise).abs().square()
    octaves = [float(power[1 << k : 2 << k].mean().log2()) for k in range(8, 15)]
    slope = (octaves[-1] - octaves[0]) / 6  # an octave higher is twice the frequency
    assert slope == pytest.approx(-exponent, abs=0.06)


@pytest.mark.parametrize("rt60", [0.2, 0.8])
def test_a_room_decays_by_60_decibels_in_its_time(rt60):
    response = augment.room_response(rt60, RATE, generator())
    left = response[1:].double().square().flip(0).cumsum(0).flip(0)  # Schroeder's backward integral
    level = 10 * (left / left[0]).log10()
    late, early = int((level > -35).sum()), int((level > -5).sum())
    assert (late - early) / RATE * 2 == pytest.approx(rt60, rel=0.05)
    assert float(response[1:].square().sum()) == pytest.approx(1, rel=1e-3)  # as much as the direct sound


def test_reverberation_is_the_convolution_at_the_same_power():
    wave, response = speech()[:600], augment.room_response(0.02, RATE, generator())
    wet = augment.reverberate(wave, response)
    slow = torch.zeros(600)
    for delay, weight in enumerate(response.tolist()):
        slow[delay:] += weight * wave[: 600 - delay]
    slow *= (wave.square().sum() / slow.square().sum()).sqrt()
    torch.testing.assert_close(wet, slow, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("percent", [80, 93, 110, 150])
def test_speed_moves_length_and_pitch_and_keeps_the_amplitude(percent):
    faster = augment.change_speed(tone(1000), percent)
    assert len(faster) == round(8000 * 100 / percent)
    expected = 10 * percent
    assert loudest_hertz(faster) == pytest.approx(expected, abs=RATE / len(faster))
    middle = slice(500, len(faster) - 500)
    wanted = 0.3 * (2 * math.pi * expected * torch.arange(len(faster)) / RATE).sin()
    torch.testing.assert_close(faster[middle], wanted[middle], atol=1e-3, rtol=0)


def test_speed_leaves_out_what_does_not_fit_below_half_the_rate():
    there = augment.change_speed(tone(5000), 150)[200:-200].square().mean()
    folded = augment.change_speed(tone(6500), 150)[200:-200].square().mean()  # 9750 Hz
    assert decibels(float(folded / there)) < -50


def test_a_dropped_band_is_gone_and_others_stay():
    wave = tone(1000) + tone(3000)
    left = augment.drop_band(wave, low=900, high=1100, rate=RATE)
    power = torch.fft.rfft(left * torch.hann_window(8000)).abs().square()
    assert decibels(float(power[500] / power[1500])) < -60  # 2 Hz a bin
    torch.testing.assert_close(left[1000:-1000], tone(3000)[1000:-1000], atol=0.02, rtol=0)


def masks(frames=(100, 40), seed=0, **changes):
    settings = {"time_masks": 2, "time_share": 0.2, "band_masks": 1, "band_share": 0.3} | changes
    return spec_augment_mask(frames, [generator(seed + row) for row in range(2)], bands=20, **settings)


def test_time_masks_hide_whole_frames_and_the_share_that_their_widths_have():
    shares = []
    for seed in range(300):
        hidden = masks(seed=2 * seed, band_masks=0, time_masks=1)
        assert torch.equal(hidden.any(2), hidden.all(2))
        assert not hidden[1, 40:].any()
        shares.append(float(hidden[0].float().mean()))
    assert max(shares) == pytest.approx(0.2)
    assert sum(shares) / 300 == pytest.approx(0.1, abs=0.01)  # widths of 0 to 20 of 100 frames


def test_band_masks_hide_the_same_neighbouring_bands_in_all_real_frames():
    for seed in range(40):
        hidden = masks(seed=2 * seed, time_masks=0)
        assert torch.equal(hidden[0].any(0), hidden[0].all(0))
        bands = hidden[0, 0].nonzero().flatten()
        assert len(bands) <= 6
        assert len(bands) == 0 or bands[-1] - bands[0] == len(bands) - 1
        assert not hidden[1, 40:].any()


def test_a_mask_does_not_depend_on_the_neighbours():
    assert torch.equal(masks()[1, :40], masks(frames=(300, 40))[1, :40])


def test_a_view_is_a_function_of_wave_settings_and_generator():
    config = ViewConfig(noise=1.0, reverberation=1.0, band_drop=1.0)
    wave = speech()
    kept = wave.clone()
    torch.manual_seed(1)
    first = view(wave, config, rate=RATE, generator=generator(5))
    torch.manual_seed(2)
    again = view(wave, config, rate=RATE, generator=generator(5))
    assert torch.equal(first, again)
    assert torch.equal(wave, kept)
    other = view(wave, config, rate=RATE, generator=generator(6))
    assert len(other) != len(first) or not torch.allclose(other, first)


def test_a_view_with_every_strength_at_zero_is_a_crop():
    config = ViewConfig(speed=0, gain=0, noise=0, reverberation=0, band_drop=0, crop_seconds=0.25)
    wave = speech()
    cut = view(wave, config, rate=RATE, generator=generator())
    assert len(cut) == 4000
    assert any(torch.equal(cut, wave[first : first + 4000]) for first in range(len(wave) - 3999))


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="snr"):
        ViewConfig(snr=(20.0, 5.0))
    with pytest.raises(ValueError, match="rt60"):
        ViewConfig(rt60=(0.0, 0.5))
