"""Guards the pitch tracker: against loops, known frequencies and WORLD's."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from sonorant.data.audio import load
from sonorant.data.manifest import read
from sonorant.nn.yin import frame_samples, fundamental, normalised_difference

RATE = 16000
FIXTURES = Path(__file__).parents[1] / "fixtures"
SPEECH = FIXTURES / "speech" / "manifest.jsonl"
WORLD = np.load(FIXTURES / "world" / "f0.npz")


def test_the_difference_function_is_what_the_loops_say():
    frame = torch.randn(30, generator=torch.Generator().manual_seed(0))
    lags, x = 12, frame.tolist()
    size = len(x) - lags
    d = [sum((x[j] - x[j + lag]) ** 2 for j in range(size)) for lag in range(lags + 1)]
    expected = [1.0] + [d[lag] * lag / sum(d[1 : lag + 1]) for lag in range(1, lags + 1)]
    found = normalised_difference(frame, lags=lags)
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("hertz", [62.0, 97.3, 150.0, 211.9, 290.0])
@pytest.mark.parametrize("rate", [8000, RATE])
def test_the_frequency_of_a_voice_like_sound_is_found(hertz, rate):
    """Twenty harmonics, the second one twice as loud as the first, in noise at 20 dB."""
    generator = torch.Generator().manual_seed(0)
    times = torch.arange(4 * frame_samples(rate), dtype=torch.float64) / rate
    orders = [k for k in range(1, 21) if k * hertz < rate / 2]
    sound = sum((2 if k == 2 else 1) / k * (2 * math.pi * k * hertz * times + k).sin() for k in orders)
    sound = sound + 0.1 * sound.square().mean().sqrt() * torch.randn(len(times), generator=generator)
    frames = 0.1 * sound.float().unfold(0, frame_samples(rate), rate // 100)
    found, voiced = fundamental(frames, rate=rate)
    assert voiced.all()
    assert (found / hertz - 1).abs().max() < 0.01


def test_noise_and_silence_have_no_voice():
    noise = torch.randn(200, frame_samples(RATE), generator=torch.Generator().manual_seed(0)) / 10
    assert fundamental(noise, rate=RATE)[1].float().mean() < 0.01
    for nothing in (torch.zeros(frame_samples(RATE)), torch.full((frame_samples(RATE),), 0.5)):
        frequency, voiced = fundamental(nothing, rate=RATE)
        assert 60 <= frequency <= 300
        assert not voiced


def test_it_agrees_with_world_on_real_speech():
    """WORLD's F0 is smoothed over frames and ours is not: they part where a voice begins and ends."""
    ratios, alike, heard = [], [], []
    for clip in list(read(SPEECH))[::10]:
        theirs = torch.from_numpy(WORLD[clip.id])
        size = frame_samples(RATE)
        padded = F.pad(torch.from_numpy(load(clip, RATE)), (size // 2, size))
        ours, voiced = fundamental(padded.unfold(0, size, RATE // 100)[: len(theirs)], rate=RATE)
        alike.append(voiced == (theirs > 0))
        heard.append((theirs > 0)[voiced])
        both = voiced & (theirs > 0)
        ratios.append(ours[both] / theirs[both])
    ratio = torch.cat(ratios)
    assert ((ratio - 1).abs() < 0.05).float().mean() > 0.92
    assert ((ratio > 1.8) | (ratio < 0.55)).float().mean() < 0.01  # octaves
    assert torch.cat(alike).float().mean() > 0.8
    assert torch.cat(heard).float().mean() > 0.93  # where we hear a voice, so does WORLD
