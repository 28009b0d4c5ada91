"""Guards what the label-free score foretells: the spectrum without its level, in its log-mel frames."""

from pathlib import Path

import pytest
import torch

from sonorant.data.audio import load
from sonorant.data.manifest import read
from sonorant.encoders.log_mel import LogMel, LogMelConfig
from sonorant.encoders.mfcc import MFCC
from sonorant.encoders.spectral_shape import SpectralShape
from sonorant.recipes.features import spectral_shape
from sonorant.types import pad

SPEECH = Path(__file__).parents[1] / "fixtures" / "speech"


@pytest.fixture(scope="module")
def waves():
    return [torch.from_numpy(load(clip, 16000)) for clip in list(read(SPEECH / "manifest.jsonl"))[:3]]


@pytest.mark.parametrize("stack", [1, 4])
def test_every_ten_milliseconds_keep_their_shape_and_lose_their_level(waves, stack):
    front = LogMel(LogMelConfig(mels=20, stack=stack))
    shapes, energies = SpectralShape(front)(pad(waves)), front(pad(waves))
    assert (shapes.lengths == energies.lengths).all()
    assert shapes.values.shape == energies.values.shape
    assert (shapes.values[~shapes.mask] == 0).all()
    found, before = (each.values[each.mask].view(-1, 20) for each in (shapes, energies))
    assert found.mean(1).abs().max() < 1e-5
    assert torch.allclose(found.diff(dim=1), before.diff(dim=1), atol=1e-5)
    assert before.mean(1).std() > 10 * found.mean(1).std()


def test_a_louder_syllable_has_the_same_shapes(waves):
    """Within windows of one loudness, without the utterance's normalisation."""
    shape = SpectralShape(LogMel(LogMelConfig(mels=20, normalize="none")))
    louder = waves[0].clone()
    louder[8000:16000] *= 3
    one, other = (shape(pad([wave])).values[0] for wave in (waves[0], louder))
    inside = slice(52, 96)
    assert torch.allclose(one[inside], other[inside], atol=1e-3)
    assert (shape.frames(16000), shape.window, shape.stride) == (98, 400, 160)


def test_it_is_of_the_energies_that_an_upstream_reads():
    narrow = LogMel(LogMelConfig(mels=30, high=5500, stack=2))
    assert spectral_shape(narrow).log_mel is narrow
    other = spectral_shape(MFCC(8000))
    assert (other.rate, other.dim, other.stride) == (8000, 320, 320)
