"""Guards MFCC and deltas against Kaldi's definitions written out as loops, and kaldi-native-fbank."""

import math
from pathlib import Path

import kaldi_native_fbank as kaldi
import numpy as np
import pytest
import torch

from sonorant.data.audio import load
from sonorant.data.manifest import read
from sonorant.encoders.mfcc import MFCC
from sonorant.nn.features import log_mel, mfcc, with_deltas
from sonorant.types import Padded, pad

SPEECH = Path(__file__).parent.parent / "fixtures" / "speech" / "manifest.jsonl"


@pytest.fixture(scope="module")
def speech():
    clips = [clip for clip in read(SPEECH) if 0.9 < clip.seconds < 1.6][:4]
    return pad([torch.from_numpy(load(clip, 16000)) for clip in clips])


def cepstrum(energies, count):
    """DCT-II with an orthonormal basis, then the lifter 1 + L/2 sin(pi i / L), L = 22."""
    size = len(energies)
    values = []
    for i in range(count):
        total = sum(e * math.cos(math.pi * i * (2 * j + 1) / (2 * size)) for j, e in enumerate(energies))
        total *= math.sqrt((1 if i == 0 else 2) / size)
        values.append(total * (1 + 11 * math.sin(math.pi * i / 22)))
    return values


def deltas(rows, order):
    """The regression's slope over two frames on either side; the second order repeats it on the filter."""
    filters = {0: 1.0}
    for _ in range(order):
        grown = {}
        for place, weight in filters.items():
            for n in range(-2, 3):
                grown[place + n] = grown.get(place + n, 0.0) + weight * n / 10
        filters = grown
    last = len(rows) - 1
    return [
        [
            sum(weight * rows[min(max(t + n, 0), last)][d] for n, weight in filters.items())
            for d in range(len(rows[0]))
        ]
        for t in range(len(rows))
    ]


def test_coefficients_are_what_the_loops_say(speech):
    found = mfcc(speech, rate=16000)
    energies = log_mel(speech, rate=16000, mels=23)
    for row, time in ((0, 3), (2, 40), (3, 11)):
        expected = torch.tensor(cepstrum(energies.values[row, time].tolist(), 13))
        torch.testing.assert_close(found.values[row, time], expected, rtol=1e-4, atol=1e-4)
    assert (found.values[~found.mask] == 0).all()


def test_speech_has_kaldis_coefficients(speech):
    options = kaldi.MfccOptions()
    options.frame_opts.dither = 0.0
    options.frame_opts.snip_edges = True
    options.use_energy = False
    options.num_ceps = 13
    options.mel_opts.num_bins = 23
    options.mel_opts.high_freq = 0.0
    computer = kaldi.OnlineMfcc(options)
    wave = speech.values[0, : speech.lengths[0]].numpy()
    computer.accept_waveform(16000, wave * 2**15)
    computer.input_finished()
    expected = np.stack([computer.get_frame(i) for i in range(computer.num_frames_ready)])
    found = mfcc(speech, rate=16000)
    assert int(found.lengths[0]) == len(expected)
    # of values up to 200 in single precision, of which a lifter of up to 12 makes the rounding larger
    np.testing.assert_allclose(found.values[0, : len(expected)].numpy(), expected, rtol=0, atol=0.02)


@pytest.mark.parametrize("lengths", [[1, 7], [12, 3]])
def test_slopes_are_what_the_loops_say_up_to_the_ends_of_each_utterance(lengths):
    values = torch.randn(2, max(lengths), 3, generator=torch.Generator().manual_seed(0))
    found = with_deltas(Padded(values, torch.tensor(lengths)))
    for row, length in enumerate(lengths):
        rows = values[row, :length].tolist()
        expected = torch.tensor([deltas(rows, order) for order in range(3)]).permute(1, 0, 2).flatten(1)
        torch.testing.assert_close(found.values[row, :length], expected, rtol=1e-5, atol=1e-5)
        assert (found.values[row, length:] == 0).all()


def test_the_front_end_counts_its_frames():
    frontend = MFCC(16000)
    waves = [torch.randn(n, generator=torch.Generator().manual_seed(n)) for n in (400, 1999, 4000)]
    frames = frontend(pad(waves))
    assert frames.values.shape[2] == frontend.dim
    assert frames.lengths.tolist() == [frontend.frames(len(wave)) for wave in waves]
    assert frontend.window == 400
