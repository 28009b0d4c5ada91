"""Guards PASE's targets: each lies around its frame of the encoder, as many as there are, padding or not."""

from pathlib import Path

import pytest
import torch

from sonorant.data.audio import load
from sonorant.data.manifest import read
from sonorant.nn.features import log_mel, mfcc
from sonorant.nn.targets import WINDOWS, Targets
from sonorant.types import Padded, pad

SPEECH = Path(__file__).parents[1] / "fixtures" / "speech" / "manifest.jsonl"
NAMES = list(WINDOWS)
GRIDS = {"sinc": (160, 160), "convolutions": (320, 400), "stacked": (640, 880), "kaldi": (160, 400)}


def targets(grid="sinc", *, deltas=False):
    stride, window = GRIDS[grid]
    return Targets(rate=16000, stride=stride, window=window, size=512, coefficients=13, deltas=deltas)


def speech():
    clips = [clip for clip in read(SPEECH) if 0.9 < clip.seconds < 1.6][:2]
    return [torch.from_numpy(load(clip, 16000)) for clip in clips]


def frames(grid, waves):
    stride, window = GRIDS[grid]
    return pad([torch.zeros((len(wave) - window) // stride + 1, 1) for wave in waves])


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("name", NAMES)
def test_a_click_is_heard_where_it_is(grid, name):
    """In the middle of a frame: that one hears most of it, and as much before as behind it."""
    stride, window = GRIDS[grid]
    wave = torch.zeros(16000)
    place = 12
    click = window // 2 + place * stride
    wave[click] = 0.9
    wave[click + 1] = -0.9
    found = targets(grid)(pad([wave]), frames(grid, [wave]), [name])[name].values[0]
    loud = found[:, 2] if name == "prosody" else found[:, 0] if name.startswith("mfcc") else found.mean(1)
    assert loud[place] > loud.max() - 1e-4
    reach = round(WINDOWS[name] * 16000 / 2 / stride) + 1
    around = (loud - loud[0]).abs() > 0.5
    heard = around.nonzero().flatten()
    assert abs((heard.min() + heard.max()).item() / 2 - place) <= 0.5
    assert heard.max() - place <= reach


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("deltas", [False, True])
def test_neighbours_and_padding_change_nothing(grid, deltas):
    one, two = speech()
    noise = torch.randn(2, 50000, generator=torch.Generator().manual_seed(0))
    together = pad([one, two])
    noise[together.mask.nonzero(as_tuple=True)] = together.values[together.mask]
    batch = frames(grid, [one, two])
    found = targets(grid, deltas=deltas)(Padded(noise, together.lengths), batch, NAMES)
    for row, wave in enumerate((one, two)):
        alone = targets(grid, deltas=deltas)(pad([wave]), frames(grid, [wave]), NAMES)
        for name, each in alone.items():
            length = int(batch.lengths[row])
            assert each.values.shape == (1, length, targets(grid, deltas=deltas).dim(name))
            torch.testing.assert_close(found[name].values[row, :length], each.values[0], msg=name)
            assert not found[name].values[row, length:].any()
            assert torch.equal(found[name].lengths, batch.lengths)


def test_on_kaldis_frames_they_are_kaldis():
    waves = pad(speech())
    batch = frames("kaldi", speech())
    found = targets("kaldi")(waves, batch, ["fbank", "mfcc"])
    torch.testing.assert_close(found["fbank"].values, log_mel(waves, rate=16000, mels=40).values)
    torch.testing.assert_close(found["mfcc"].values, mfcc(waves, rate=16000).values)


def test_chunks_are_the_samples_in_order():
    wave = torch.arange(1, 1001).float()
    chunks = targets("sinc").chunks(pad([wave]), pad([torch.zeros(6, 1)]))
    assert torch.equal(chunks.values[0].flatten(), wave[:960])
    chunks = targets("convolutions").chunks(pad([wave]), pad([torch.zeros(2, 1)]))
    assert torch.equal(chunks.values[0].flatten(), wave[40:680])
