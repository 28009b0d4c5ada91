"""Guards features in sections: the frames of whole utterances, of which none has seen beyond its section."""

import msgspec
import pytest
import soundfile
import torch

from sonorant.config import ConfigError, convert
from sonorant.data.manifest import read
from sonorant.encoders.build import EncoderConfig, build
from sonorant.evaluate.store import FeatureStore, section_bounds
from sonorant.recipes.features import extract, log_mel

FRONTENDS = [
    {"name": "log_mel", "mels": 20, "stack": 4},
    {"name": "log_mel", "mels": 20, "normalize": "none"},
    {"name": "convolutions", "dim": 8},
]
CONTEXTS = [
    {"name": "conformer", "dim": 16, "layers": 1, "kernel": 7},
    {"name": "gru", "dim": 16, "layers": 1},
]


def encoder(frontend, context):
    torch.manual_seed(0)
    return build(convert({"frontend": frontend, "context": context}, EncoderConfig))


@pytest.fixture
def clips(speech):
    return sorted(read(speech), key=lambda clip: clip.seconds)[::20]


def frames(clips, out, model, **more):
    extract(model, clips, out, provenance={}, **more)
    store = FeatureStore(out)
    return store, dict(zip(store.ids, store.read(store.layers[-1], store.ids), strict=True))


@pytest.mark.parametrize("frontend", FRONTENDS)
@pytest.mark.parametrize("context", CONTEXTS)
def test_sections_have_the_frames_of_whole_utterances(frontend, context, clips, tmp_path):
    model = encoder(frontend, context)
    whole, expected = frames(clips, tmp_path / "whole", model)
    store, found = frames(clips, tmp_path / "sections", model, sections=0.7)
    assert (store.section, store.frame_seconds) == (round(0.7 / store.frame_seconds), whole.frame_seconds)
    assert (store.sees_future, whole.sees_future) == (False, context["name"] == "conformer")
    assert whole.section is None
    assert {name: values.shape for name, values in found.items()} == {
        name: values.shape for name, values in expected.items()
    }
    name, values = min(expected.items(), key=lambda item: len(item[1]))
    assert len(section_bounds(len(values), store.section)) == 2  # one section, which is the whole
    assert (values - found[name]).abs().max() < 0.05 * values.abs().max()  # bfloat16, and other padding


@pytest.mark.parametrize("frontend", FRONTENDS)
def test_no_frame_sees_beyond_its_section(frontend, clips, tmp_path):
    model = encoder(frontend, CONTEXTS[0])
    clip = clips[-1]
    store, before = frames([clip], tmp_path / "before", model, sections=0.4)
    start, end = section_bounds(len(before[clip.id]), store.section)[1:3]
    wave, rate = soundfile.read(clip.path)
    last = store.centre(end - 1) + store.first_centre  # seconds, where the second section ends
    wave[round(last * rate) + 1 :] *= -0.5
    soundfile.write(tmp_path / "other.flac", wave, rate)
    other = msgspec.structs.replace(clip, path=str(tmp_path / "other.flac"))
    _, after = frames([other], tmp_path / "after", model, sections=0.4)
    same = (before[clip.id] == after[clip.id]).all(1)
    assert same[:end].all()
    assert not same[end:].any()
    assert 0 < start < end


@pytest.mark.parametrize("frontend", FRONTENDS)
def test_a_section_hears_two_seconds_before_it_and_no_more(frontend, clips, tmp_path):
    model = encoder(frontend, CONTEXTS[0])
    clip = clips[-1]
    store, before = frames([clip], tmp_path / "before", model, sections=0.3)
    bounds = section_bounds(len(before[clip.id]), store.section)
    wave, rate = soundfile.read(clip.path)
    wave[: round(0.1 * rate)] = 0.1 * torch.randn(round(0.1 * rate)).numpy()
    soundfile.write(tmp_path / "other.flac", wave, rate)
    other = msgspec.structs.replace(clip, path=str(tmp_path / "other.flac"))
    _, after = frames([other], tmp_path / "after", model, sections=0.3)
    same = (before[clip.id] == after[clip.id]).all(1)
    hears = [start * store.frame_seconds < 2.0 + 0.1 for start in bounds[:-1]]
    assert hears[-1] is False
    for heard, start, end in zip(hears, bounds, bounds[1:], strict=False):
        assert same[start:end].all() != heard


def test_sections_shorter_than_a_frame_are_refused(clips, tmp_path):
    with pytest.raises(ConfigError, match=r"0\.001 s are shorter than a frame of 0\.01 s"):
        extract(log_mel(), clips, tmp_path / "f", provenance={}, sections=0.001)
