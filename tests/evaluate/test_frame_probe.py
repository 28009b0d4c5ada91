"""Guards the frame probe: right where frames tell the label, chance where they do not."""

import math

import msgspec
import pytest
import torch

from sonorant.data.manifest import Clip
from sonorant.evaluate.information import labelled
from sonorant.evaluate.labels import LabelError, frame_labels
from sonorant.evaluate.linear import ProbeConfig, standardizer
from sonorant.evaluate.probe import probe
from sonorant.evaluate.sampling import Parts
from sonorant.evaluate.store import FeatureStore, FeatureWriter

NAMES = tuple(f"u{number}" for number in range(30))
PARTS = Parts(train=NAMES[:18], validation=NAMES[18:22], test=NAMES[22:])
QUICK = ProbeConfig(learning_rates=(1e-3, 1e-2, 5e-2), updates=200, checks=8, batch=128)
LABELS = ("a", "e", "s", "SIL")


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    """Thirty utterances of units of two frames, with features that tell them and features that do not."""
    generator = torch.Generator().manual_seed(0)
    spoken = torch.randint(4, (30, 40), generator=generator).repeat_interleave(2, 1)
    path = tmp_path_factory.mktemp("speech") / "f"
    with FeatureWriter(path, frame_seconds=0.02, first_centre=0.01, provenance={}) as writer:
        for name, row in zip(NAMES, spoken, strict=True):
            useful = torch.eye(4)[row] + 0.01 * torch.randn(len(row), 4, generator=generator)
            scaled = torch.cat([useful * 0.1 + 5, 1e3 * torch.randn(len(row), 2, generator=generator)], 1)
            noise = torch.randn(len(row), 6, generator=generator)
            writer.add(name, {"useful": useful, "scaled": scaled, "noise": noise})
    clips = [
        Clip(
            id=name,
            path=f"{name}.wav",
            units=[
                (LABELS[label], 0.04 * place, 0.04 * (place + 1))
                for place, label in enumerate(row[::2].tolist())
                if label != 3  # silence is what no unit covers
            ],
        )
        for name, row in zip(NAMES, spoken, strict=True)
    ]
    return FeatureStore(path), clips


@pytest.mark.parametrize("layer", ["useful", "scaled"])
def test_separable_frames_are_all_named_whatever_their_scale(speech, layer):
    store, clips = speech
    result = probe(store, layer, clips, QUICK, parts=PARTS)
    assert result.accuracy == 1
    assert (result.low, result.high, result.speech_accuracy) == (1, 1, 1)
    assert result.classes == 4
    assert result.silence == pytest.approx(0.25, abs=0.05)
    assert (result.test_utterances, result.test_frames, result.unseen) == (8, 640, 0)
    assert list(result.sweep) == [1e-3, 1e-2, 5e-2]
    assert result.learning_rate == min(result.sweep, key=result.sweep.get)


def test_noise_is_named_by_chance(speech):
    store, clips = speech
    result = probe(store, "noise", clips, QUICK, parts=PARTS)
    assert result.accuracy == pytest.approx(0.25, abs=0.06)
    assert result.commonest == pytest.approx(0.25, abs=0.06)
    assert result.low < result.accuracy < result.high


def test_labels_of_others_are_named_by_chance(speech):
    store, clips = speech
    moved = [
        Clip(id=NAMES[(number + 1) % 30], path="x", units=clip.units) for number, clip in enumerate(clips)
    ]
    assert probe(store, "useful", moved, QUICK, parts=PARTS).accuracy == pytest.approx(0.25, abs=0.1)


def test_a_label_that_training_lacks_counts_as_wrong(speech):
    store, clips = speech
    renamed = [
        Clip(
            id=clip.id,
            path="x",
            units=[("q" if label == "s" else label, *span) for label, *span in clip.units],
        )
        if clip.id in PARTS.test[:4]
        else clip
        for clip in clips
    ]
    result = probe(store, "useful", renamed, QUICK, parts=PARTS)
    assert result.unseen > 50
    assert result.classes == 4
    assert result.accuracy == pytest.approx(1 - result.unseen / result.test_frames)


def test_a_rate_that_is_too_small_is_not_the_one_that_is_reported(speech):
    store, clips = speech
    slow = ProbeConfig(learning_rates=(1e-6, 1e-2), updates=100, checks=4, batch=128)
    assert probe(store, "useful", clips, slow, parts=PARTS).learning_rate == 1e-2


def test_utterances_without_units_are_left_out_and_none_at_all_is_an_error(speech):
    store, clips = speech
    some = probe(store, "useful", clips[:20], QUICK)
    assert some.train_frames + some.test_frames < 20 * 80
    with pytest.raises(LabelError, match="no utterance has units"):
        probe(store, "useful", [Clip(id=name, path="x") for name in NAMES], QUICK)


def test_a_frame_has_the_label_of_its_centre():
    units = [("b", 0.1, 0.2), ("a", 0.0, 0.1), ("c", 0.25, 0.3)]
    centres = (0.0, 0.0999, 0.1, 0.19, 0.2, 0.26, 0.3)
    assert frame_labels(units, centres) == ["a", "a", "b", "b", "SIL", "c", "SIL"]
    assert frame_labels([], [0.5]) == ["SIL"]


def test_a_constant_dimension_is_zero_and_not_magnified_rounding():
    frames = torch.cat([torch.full((50, 1), 1234.567), torch.randn(50, 1) * 7 + 3], 1)
    standardize = standardizer(frames)
    standard = standardize(frames)
    assert (standard[:, 0] == 0).all()
    assert standard[:, 1].mean().item() == pytest.approx(0, abs=1e-5)
    assert standard[:, 1].square().mean().item() == pytest.approx(1, abs=1e-4)


def test_a_hidden_layer_reads_what_no_line_separates(tmp_path):
    generator = torch.Generator().manual_seed(1)
    path = tmp_path / "f"
    clips = []
    with FeatureWriter(path, frame_seconds=0.02, first_centre=0.01, provenance={}) as writer:
        for name in NAMES:
            frames = torch.randn(80, 2, generator=generator).sign() * (
                1 + 0.1 * torch.rand(80, 2, generator=generator)
            )
            writer.add(name, {"z": frames})
            names = ["ab"[int(same)] for same in frames.prod(1) > 0]  # exclusive or
            units = [(label, 0.02 * at, 0.02 * (at + 1)) for at, label in enumerate(names)]
            clips.append(Clip(id=name, path="x", units=units))
    store = FeatureStore(path)
    assert probe(store, "z", clips, QUICK, parts=PARTS).accuracy == pytest.approx(0.5, abs=0.06)
    deep = msgspec.structs.replace(QUICK, hidden=16)
    assert probe(store, "z", clips, deep, parts=PARTS).accuracy > 0.99
    assert labelled(store, "z", clips, QUICK, parts=PARTS).bound.nats == pytest.approx(0, abs=0.02)
    told = labelled(store, "z", clips, deep, parts=PARTS)
    assert told.bound.nats == pytest.approx(math.log(2), abs=0.03)
    assert told.shuffled.nats == pytest.approx(0, abs=0.03)


def test_a_hidden_layer_stops_before_it_learns_noise_by_heart(speech):
    store, clips = speech
    deep = msgspec.structs.replace(QUICK, hidden=64)
    assert abs(labelled(store, "noise", clips, deep, parts=PARTS).bound.nats) < 0.03
