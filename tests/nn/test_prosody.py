"""Guards pitch that goes on between voices, loudness and zero crossings."""

import math

import numpy as np
import torch

from sonorant.nn.prosody import energy, interpolate, pitch, zero_crossings
from sonorant.nn.yin import frame_samples
from sonorant.types import Padded, pad

RATE = 16000


def test_gaps_are_straight_lines_and_ends_are_level():
    values = torch.randn(20, 30, generator=torch.Generator().manual_seed(0))
    known = torch.rand(20, 30, generator=torch.Generator().manual_seed(1)) < 0.2
    known[3], known[4] = False, True
    found = interpolate(values, known)
    for row in range(20):
        places = known[row].nonzero().flatten().numpy()
        if row == 3 or not len(places):
            expected = np.full(30, math.log((60 * 300) ** 0.5))
        else:
            expected = np.interp(np.arange(30), places, values[row].numpy()[places])
        torch.testing.assert_close(found[row], torch.from_numpy(expected).float())


def test_what_stands_behind_an_utterance_does_not_bend_its_pitch():
    times = torch.arange(RATE // 2) / RATE
    voice = sum((2 * math.pi * 120 * k * times).sin() / k for k in range(1, 6)) / 10
    voice[4000:] = 0.01 * torch.randn(4000, generator=torch.Generator().manual_seed(0))
    other = sum((2 * math.pi * 220 * k * times).sin() / k for k in range(1, 6)) / 10
    lengths = torch.tensor([len(voice)])
    alone = pitch(Padded(voice[None], lengths), rate=RATE, hop=160)[0][0]
    followed = pitch(Padded(torch.cat([voice, other])[None], lengths), rate=RATE, hop=160)[0][0]
    assert torch.equal(followed[: len(alone)], alone)
    assert len(alone) == (len(voice) - frame_samples(RATE)) // 160 + 1
    torch.testing.assert_close(alone[:20].exp(), torch.full((20,), 120.0), rtol=0.01, atol=0)


def test_a_tone_has_its_energy_and_crosses_zero_twice_a_turn():
    tone = 0.2 * (2 * math.pi * 1000 * torch.arange(3200) / RATE + 0.1).sin()
    waves = pad([tone])
    loudness = energy(waves, window=400, hop=160)
    torch.testing.assert_close(loudness, torch.full_like(loudness, math.log(0.02)), rtol=1e-3, atol=0)
    crossings = zero_crossings(waves, window=400, hop=160)
    torch.testing.assert_close(crossings, torch.full_like(crossings, 2000 / RATE), rtol=0.02, atol=0)
    assert crossings.shape == loudness.shape == (1, 18)
