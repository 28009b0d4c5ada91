"""Guards tasks about speakers: embeddings and their margin, mixtures that say who speaks when, the better
assignment."""

import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from sonorant.data.manifest import Clip, read
from sonorant.data.overlap import mixtures, spoken
from sonorant.evaluate.sampling import SamplingError
from sonorant.nn.x_vector import PooledVector, XVector, am_softmax
from sonorant.task import Times, find
from sonorant.tasks.sd import activity
from sonorant.types import Padded

SPEECH = Path(__file__).parents[1] / "fixtures" / "speech" / "manifest.jsonl"
ASV, SD = find("asv"), find("sd")
TIMES = Times(0.02, 0.01)


def test_the_margin_softmax_is_its_formula():
    generator = torch.Generator().manual_seed(0)
    cosines = torch.rand(4, 3, generator=generator) * 2 - 1
    speakers = torch.tensor([0, 2, 1, 1])
    expected = 0.0
    for row, own in zip(cosines.tolist(), speakers.tolist(), strict=True):
        top = math.exp(30 * (row[own] - 0.4))
        rest = sum(math.exp(30 * value) for place, value in enumerate(row) if place != own)
        expected -= math.log(top / (top + rest))
    assert am_softmax(cosines, speakers).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("kind", [XVector, PooledVector])
def test_embeddings_ignore_neighbours_and_all_parts_learn(kind):
    torch.manual_seed(0)
    model = kind(6, 5, width=0.03)
    frames = Padded(torch.randn(3, 40, 6), torch.tensor([40, 9, 1]))
    embeddings, cosines = model(frames)
    assert cosines.shape == (3, 5)
    assert cosines.abs().max() <= 1 + 1e-6
    for row, length in ((1, 9), (2, 1)):
        alone, _ = model(Padded(frames.values[row : row + 1, :length], torch.tensor([length])))
        torch.testing.assert_close(embeddings[row : row + 1], alone, rtol=1e-4, atol=1e-5)
    am_softmax(cosines, torch.tensor([0, 1, 2])).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_verification_needs_trials_of_both_kinds_and_new_speakers_teach_nothing():
    clips = [Clip(f"c{n}", "x.wav", speaker=f"s{n % 10}") for n in range(50)]
    (parts,) = ASV.parts(clips)
    voices = [{int(name[1:]) % 10 for name in side} for side in (parts.train, parts.validation, parts.test)]
    assert [len(each) for each in voices] == [6, 2, 2]
    assert not voices[0] & voices[2]
    with pytest.raises(SamplingError, match="5 speakers: at least six"):
        ASV.parts(clips[:5])
    with pytest.raises(SamplingError, match="speakers in 2 clips"):
        ASV.parts(clips[:10])
    task = ASV(clips[:5], TIMES)
    output = torch.randn(2, 3), torch.rand(2, 5)
    total, count = task.loss(output, [clips[7], clips[2]])  # s7 is new
    assert count == 1
    torch.testing.assert_close(total, am_softmax(output[1][1:], torch.tensor([2])))
    assert task.loss(output, [clips[7], clips[8]])[1] == 0


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    clips = [clip for clip in read(SPEECH) if clip.language in ("en", "fr", "it")]
    return clips, mixtures(clips[::4], tmp_path_factory.mktemp("mixed"), count=6)


def test_mixtures_say_who_speaks_when(mixed, tmp_path):
    clips, made = mixed
    assert len(made) == 6
    again = mixtures(clips[::4], tmp_path / "again", count=6)
    for clip, other in zip(made, again, strict=True):
        wave, rate = soundfile.read(clip.path)
        assert (len(wave), rate) == (clip.samples, clip.rate)
        assert np.array_equal(wave, soundfile.read(other.path)[0])
        assert clip.units == other.units
        assert len({name for name, _, _ in clip.units}) == 2
        # where nobody is said to speak it is quiet, where somebody is it is not
        frames = np.square(wave[: len(wave) // 160 * 160]).reshape(-1, 160).mean(1)
        active = activity(clip, torch.arange(len(frames)) * 0.01 + 0.005).any(1).numpy()
        if not active.all():
            assert frames[~active].mean() < 0.02 * frames[active].mean()
    assert mixtures([clips[0]], tmp_path, count=3) == []


def test_units_and_pauses_decide_where_they_are_known():
    clip = Clip("a", "x.wav", units=[("SIL", 0.0, 0.4), ("A", 0.4, 0.6), ("B", 0.65, 0.8), ("C", 1.5, 9.0)])
    found = spoken(clip, np.zeros(32000, np.float32), lambda name: name == "SIL")
    assert found == [(0.4, 0.8), (1.5, 2.0)]


def test_the_loss_takes_the_better_assignment():
    clip = Clip("a", "x.wav", samples=1600, rate=16000, units=[("x", 0.0, 0.06), ("y", 0.04, 0.1)])
    task = SD([clip], TIMES)
    truth = torch.tensor([[1, 0], [1, 0], [1, 1], [0, 1], [0, 1]])
    assert torch.equal(activity(clip, 0.01 + 0.02 * torch.arange(5)), truth.bool())
    logits = torch.randn(1, 5, 2)
    swapped = logits.flip(2)
    losses = [task.loss(Padded(each, torch.tensor([5])), [clip])[0] for each in (logits, swapped)]
    torch.testing.assert_close(*losses)
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    slow = min(bce(each[0], truth.float(), reduction="sum").item() for each in (logits, swapped))
    assert losses[0].item() == pytest.approx(slow, rel=1e-5)


def test_a_perfect_diariser_makes_no_errors_at_any_frame_rate():
    clip = Clip("a", "x.wav", samples=32000, rate=16000, units=[("x", 0.0, 1.2), ("y", 0.8, 2.0)])
    for hop in (0.01, 0.02, 0.04):
        task = SD([clip], Times(hop, hop / 2))
        frames = activity(clip, hop / 2 + hop * torch.arange(round(2 / hop)))
        assert task.score([clip, clip], [frames, frames.flip(1)])[0].value < 0.01
        assert task.score([clip, clip], [~frames & False, frames])[0].value == pytest.approx(0.5)
