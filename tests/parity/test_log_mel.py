"""Guards the log-mel features against kaldi-native-fbank, an independent implementation, on real speech."""

import json
from pathlib import Path

import kaldi_native_fbank as kaldi
import numpy as np
import pytest
import soundfile
import torch

from sonorant.nn.features import log_mel
from sonorant.types import pad

SPEECH = Path(__file__).parent.parent / "fixtures" / "speech"
CLIPS = [json.loads(line)["path"] for line in (SPEECH / "manifest.jsonl").read_text().splitlines()][::10]

EPS = np.finfo(np.float32).eps


def rounding(samples, energies, *, rate):
    """How far two computations of these energies may lie apart, one of them Kaldi's in single precision.

    Spectrum: a bin's amplitude is a sum of one product a sample, each rounded by eps/2. Over n samples the
    errors add up like a random walk to a = sqrt(n) * eps/2 * |frame|, in both computations. An amplitude A
    with the error 2a has an energy with the error 4aA + 4a^2, and a band is a weighted sum of b bins, for
    which Cauchy and Schwarz bound the sum of A by sqrt(b * energy).

    Triangles: a point m on the mel scale is rounded by eps/2 twice, in the logarithm and in the product, and
    a weight is a quotient of two differences of points over a width of m / (bands + 1): it is off by up to
    4 * eps * (bands + 1). It weighs bins whose energies the band and its two neighbours share.

    Logarithms: rounded by eps/2 of up to 16, in both computations.
    """
    length, step = rate // 40, rate // 100
    frames = np.lib.stride_tricks.sliding_window_view(samples, length)[::step]
    amplitude = length**0.5 * EPS / 2 * np.linalg.norm(frames, axis=1, keepdims=True)
    bins = 16  # in the widest band
    spectrum = 4 * amplitude * np.sqrt(bins * energies) + 4 * bins * amplitude**2
    around = np.pad(energies, ((0, 0), (1, 1)))
    triangles = 4 * EPS * (energies.shape[1] + 1) * (around[:, :-2] + energies + around[:, 2:])
    return spectrum + triangles + 16 * EPS * energies


def reference(samples, *, rate, mels, low, high):
    options = kaldi.FbankOptions()
    options.frame_opts.samp_freq = rate
    options.frame_opts.dither = 0.0
    options.frame_opts.snip_edges = True
    options.frame_opts.window_type = "povey"
    options.mel_opts.num_bins = mels
    options.mel_opts.low_freq = low
    options.mel_opts.high_freq = high or 0.0  # Kaldi counts from the Nyquist frequency
    bank = kaldi.OnlineFbank(options)
    bank.accept_waveform(rate, samples)
    bank.input_finished()
    return np.stack([bank.get_frame(index) for index in range(bank.num_frames_ready)])


def assert_agree(samples, **options):
    steps = samples * np.float32(2**15)  # of 16-bit audio, which Kaldi takes
    expected = reference(steps, **options)
    found = log_mel(pad([torch.from_numpy(samples)]), **options)
    assert found.lengths.tolist() == [len(expected)]
    expected, values = np.exp(expected.astype(np.float64)), np.exp(found.values[0].double().numpy())
    assert (np.abs(values - expected) <= rounding(steps, expected, rate=options["rate"])).all()


@pytest.mark.parametrize("path", CLIPS)
def test_speech_has_kaldis_energies(path):
    samples, rate = soundfile.read(SPEECH / path, dtype="float32")
    assert_agree(samples, rate=rate, mels=80, low=20.0, high=None)


@pytest.mark.parametrize(
    ("rate", "mels", "low", "high"),
    [(16000, 40, 0.0, 7600.0), (8000, 23, 20.0, None), (22050, 80, 64.0, None)],
)
def test_other_rates_and_bands_agree(rate, mels, low, high):
    samples, _ = soundfile.read(SPEECH / CLIPS[0], dtype="float32")
    assert_agree(samples[:16000], rate=rate, mels=mels, low=low, high=high)


def test_silence_and_an_offset_agree():
    """The floor, and the removal of the mean."""
    noise = np.random.default_rng(0).normal(scale=1e-3, size=8000).astype(np.float32)
    noise[:4000] = 0
    assert_agree(noise, rate=16000, mels=80, low=20.0, high=None)
    assert_agree(noise + np.float32(0.25), rate=16000, mels=80, low=20.0, high=None)
