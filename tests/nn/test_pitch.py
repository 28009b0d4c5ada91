"""Guards that another pitch is the pitch alone."""

import math
from pathlib import Path

import pytest
import torch

from sonorant.data.audio import load
from sonorant.data.manifest import read
from sonorant.nn import augment
from sonorant.nn.pitch import change_pitch, stretch
from sonorant.nn.views import ViewConfig, view

RATE = 16000
SPEECH = Path(__file__).parents[1] / "fixtures" / "speech" / "manifest.jsonl"


def speech():
    return torch.from_numpy(load(read(SPEECH)[3], RATE))


def tone(hertz, samples=16000):
    return 0.3 * (2 * math.pi * hertz * torch.arange(samples) / RATE).sin()


def loudest_hertz(wave):
    return int(torch.fft.rfft(wave * torch.hann_window(len(wave))).abs().argmax()) * RATE / len(wave)


def levels(wave):
    """Decibels of each 50 ms."""
    return 10 * (wave.unfold(0, 800, 800).square().mean(1) + 1e-6).log10()


@pytest.mark.parametrize("semitones", [-12.0, -3.0, 2.0, 7.0])
@pytest.mark.parametrize("hertz", [110, 440])
def test_a_tone_moves_by_its_ratio_and_lasts_as_long(hertz, semitones):
    moved = change_pitch(tone(hertz), semitones, rate=RATE)
    assert len(moved) == 16000
    expected = hertz * 2 ** (semitones / 12)
    assert loudest_hertz(moved) == pytest.approx(expected, rel=0.006, abs=1)
    assert float(moved[1000:-1000].square().mean()) == pytest.approx(0.045, rel=0.05)


@pytest.mark.parametrize("semitones", [-4.0, 4.0])
def test_syllables_stay_where_they_are(semitones):
    wave = speech()
    moved = change_pitch(wave, semitones, rate=RATE)
    assert len(moved) == len(wave)
    alike = torch.corrcoef(torch.stack([levels(wave), levels(moved)]))[0, 1]
    assert float(alike) > 0.95
    assert abs(10 * float((moved.square().sum() / wave.square().sum()).log10())) < 1


@pytest.mark.parametrize("tempo", [0.7, 1.4])
def test_another_tempo_leaves_the_pitch(tempo):
    samples = round(16000 / tempo)
    longer = stretch(tone(300), samples, rate=RATE)
    assert len(longer) == samples
    assert loudest_hertz(longer) == pytest.approx(300, abs=2)


@pytest.mark.parametrize("samples", [1, 50, 700])
def test_any_length_will_do(samples):
    assert len(change_pitch(tone(200, samples), 5.0, rate=RATE)) == samples
    assert change_pitch(torch.zeros(samples), -5.0, rate=RATE).abs().max() == 0


def test_low_precision_elsewhere_changes_no_sample():
    wave = speech()
    with torch.autocast("cpu", torch.bfloat16):
        low = [change_pitch(wave, 3.0, rate=RATE), augment.change_speed(wave, 93)]
    assert torch.equal(low[0], change_pitch(wave, 3.0, rate=RATE))
    assert torch.equal(low[1], augment.change_speed(wave, 93))


def test_a_view_draws_a_pitch_only_where_there_is_one():
    plain = ViewConfig(speed=0, gain=0, noise=0, reverberation=0, band_drop=0, crop_seconds=9, crop_share=1)
    wave = tone(440)
    heard = []
    for pitch in (0.0, 5.0):
        drawing = torch.Generator().manual_seed(3)
        config = ViewConfig(
            **{name: getattr(plain, name) for name in plain.__struct_fields__} | {"pitch": pitch}
        )
        heard.append(loudest_hertz(view(wave, config, rate=RATE, generator=drawing)))
    assert heard[0] == pytest.approx(440, abs=1)
    assert abs(12 * math.log2(heard[1] / 440)) > 0.3
    assert abs(12 * math.log2(heard[1] / 440)) < 5.1
