"""Guards features of clips that are too long to be encoded at once."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest
import soundfile
import torch

from sonorant.config import convert
from sonorant.data.audio import load
from sonorant.data.chunks import cut, overlapping
from sonorant.data.manifest import Clip, read
from sonorant.encoders.build import EncoderConfig, build
from sonorant.evaluate.store import FeatureStore
from sonorant.recipes import features, long
from sonorant.recipes.features import extract

SHORT, MARGIN = 4.0, 1.5  # seconds, in the place of a minute and five seconds


@pytest.fixture(scope="module")
def recording(tmp_path_factory, speech):
    """Clips in one file at another rate than the encoder's, of which 11.3 s are a clip, and one of 3 s."""
    path = tmp_path_factory.mktemp("long") / "long.flac"
    samples = np.concatenate([load(clip, 24000) for clip in read(speech)[:14]])
    soundfile.write(path, samples, 24000)
    assert len(samples) > 12.5 * 24000
    clip = Clip(id="long", path=str(path), start=24000, samples=round(11.3 * 24000), rate=24000)
    return [clip, msgspec.structs.replace(clip, id="short", samples=3 * 24000)]


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(long, "LONG", SHORT)
    monkeypatch.setattr(long, "MARGIN", MARGIN)
    monkeypatch.setattr(features, "LONG", SHORT)


def encoder(normalize="none"):
    """A convolution sees 7 frames, 0.28 s, to either side in a layer; attention adds nothing."""
    torch.manual_seed(0)
    parts = {
        "frontend": {"name": "log_mel", "mels": 20, "stack": 4, "normalize": normalize},
        "context": {"name": "conformer", "dim": 16, "layers": 2, "heads": 1, "kernel": 15},
    }
    model = build(convert(parts, EncoderConfig))
    for layer in model.context.layers:
        torch.nn.init.zeros_(layer.attention.outward.weight)
    return model


def stored(folder, layer):
    store = FeatureStore(folder)
    return dict(zip(store.ids, store.read(layer, store.ids), strict=True))


def test_stretches_join_to_the_frames_of_the_whole(tmp_path, recording, small, monkeypatch):
    extract(encoder(), recording, tmp_path / "stretches", provenance={}, precision="fp32")
    monkeypatch.setattr(features, "LONG", 60.0)
    extract(encoder(), recording, tmp_path / "whole", provenance={}, precision="fp32")
    for layer in ("frontend", "layer_0", "layer_1"):
        found, expected = (stored(tmp_path / name, layer) for name in ("stretches", "whole"))
        for name in ("short", "long"):
            # half precision, and the audio of the whole was rounded to 16 bits, which silence notices
            error = (found[name] - expected[name]).norm(dim=1) / expected[name].norm(dim=1)
            assert error.max() < 0.05
            assert error.mean() < 0.003


def test_sections_join_to_those_of_the_whole(tmp_path, recording, small, monkeypatch):
    model = encoder("utterance")
    extract(model, recording, tmp_path / "stretches", provenance={}, sections=0.5, precision="fp32")
    monkeypatch.setattr(features, "LONG", 60.0)
    extract(model, recording, tmp_path / "whole", provenance={}, sections=0.5, precision="fp32")
    found, expected = (stored(tmp_path / name, "layer_1")["long"] for name in ("stretches", "whole"))
    assert len(found) == len(expected) > 250
    assert (found - expected).norm() / expected.norm() < 0.01


def test_no_more_than_a_stretch_is_encoded_at_once(tmp_path, recording, small):
    model, seen = encoder(), []
    model.frontend.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].values.numel()))
    extract(model, recording, tmp_path / "stretches", provenance={}, precision="fp32")
    extract(model, recording, tmp_path / "sections", provenance={}, sections=0.5, precision="fp32")
    assert 16000 * SHORT - 640 <= max(seen) <= 16000 * (SHORT + 1)  # sections see a little of each other


def test_only_the_layers_that_are_asked_for_are_kept(tmp_path, recording, small):
    extract(encoder(), recording, tmp_path / "one", provenance={}, layers=["layer_1"], precision="fp32")
    assert FeatureStore(tmp_path / "one").layers == ("layer_1",)


def test_a_manifest_with_a_long_clip_is_transcribed_in_stretches(monkeypatch, recording, finetuned):
    from sonorant.recipes import recognise

    recogniser, seen = recognise.load_recogniser(finetuned), []

    def watched(inputs):
        seen.append(inputs.values.shape[1])
        return recogniser.log_probabilities(inputs)

    monkeypatch.setattr(recognise, "LONG", SHORT)
    monkeypatch.setattr(recognise, "TranscribeConfig", lambda **each: long_config(**each))
    hypotheses, _ = recognise.recognise(recording, replace(recogniser, log_probabilities=watched))
    assert [each.id for each in hypotheses] == ["long", "short"]
    assert hypotheses[0].hypothesis
    assert max(seen) == 4 * 16000


def long_config(**each):
    from sonorant.asr.transcribe import TranscribeConfig

    return TranscribeConfig(chunk_seconds=4.0, margin_seconds=1.0, **each)


def test_audio_is_cut_where_it_should_be():
    audio = np.arange(100, dtype=np.float32)
    pieces = [audio[:7], audio[7:50], audio[50:51], audio[51:]]
    bounds = [(0, 12), (10, 60), (60, 61), (90, 100)]
    for found, (start, end) in zip(cut(pieces, bounds), bounds, strict=True):
        np.testing.assert_array_equal(found, audio[start:end])
    found = list(overlapping(pieces, 40, 30))
    assert [(part[0], part[-1], final) for part, final in found] == [
        (0, 39, False), (30, 69, False), (60, 99, True)
    ]  # fmt: skip
