"""Guards the temporal gap: which slices are drawn, their bins, and the loss against loops."""

import math
from pathlib import Path

import pytest
import torch

from sonorant.config import ConfigError
from sonorant.data.audio import load
from sonorant.data.manifest import read
from sonorant.encoders.build import EncoderConfig, build
from sonorant.encoders.log_mel import LogMelConfig
from sonorant.encoders.recurrent import GRUConfig
from sonorant.objectives.temporal_gap import Config
from sonorant.types import Batch, Padded, pad

SPEECH = Path(__file__).parent.parent / "fixtures" / "speech" / "manifest.jsonl"
SETTINGS = {"slice": 0.2, "max_gap": 0.8, "bins": 4, "pairs": 3, "hidden": 8}
SLICE, BIN = 3200, 3200  # samples


def objective(**settings):
    torch.manual_seed(0)
    encoder = build(EncoderConfig(frontend=LogMelConfig(mels=8), context=GRUConfig(dim=8, layers=1)))
    return Config(**SETTINGS | settings).build(encoder)


def speech():
    clips = [clip for clip in read(SPEECH) if 0.9 < clip.seconds < 1.6][:3]
    waves = [torch.from_numpy(load(clip, 16000)) for clip in clips]
    return Batch(pad([*waves, waves[0][: 2 * SLICE - 1]]), (1, 2, 3, 4))  # the last has no room for a pair


def test_slices_lie_in_the_utterance_apart_from_each_other_and_bins_are_equally_frequent():
    model = objective(pairs=4000)
    length = 2 * SLICE + 3 * BIN  # up to three bins of gap, and the first sample of the fourth
    starts = model.draw(length, torch.Generator().manual_seed(0))
    assert starts.min() == 0
    assert starts.max() <= length - SLICE
    gaps = starts[:, 1] - starts[:, 0] - SLICE
    assert gaps.min() >= 0
    counts = model.bin(gaps + SLICE).bincount(minlength=4)
    # binomial with a quarter: deviation 27
    assert (counts - 1000).abs().max() < 5 * 27
    assert torch.equal(model.bin(gaps + SLICE), gaps // BIN)
    assert gaps.max() == 3 * BIN
    last = starts[gaps == gaps.max()]
    assert (last[:, 0] == 0).all()  # no other place has room


@pytest.mark.parametrize(("samples", "bins"), [(2 * SLICE - 1, 0), (2 * SLICE, 1), (2 * SLICE + BIN - 1, 1)])
def test_short_utterances_have_the_bins_that_fit(samples, bins):
    starts = objective(pairs=50).draw(samples, torch.Generator().manual_seed(0))
    assert len(starts) == (50 if bins else 0)
    if bins:
        assert int(objective().bin(starts[:, 1] - starts[:, 0]).max()) == bins - 1


def test_the_loss_is_what_the_loops_say():
    model, batch = objective(), speech()
    found = model(batch)
    total, count, right, error = 0.0, 0, 0, 0.0
    rows = zip(batch.inputs.values, batch.inputs.lengths.tolist(), batch.generators(), strict=True)
    for wave, length, generator in rows:
        for first, second in model.draw(length, generator).tolist():
            means = []
            for start in (first, second):
                alone = wave[start : start + SLICE][None]
                frames = model.encoder(Padded(alone, torch.tensor([SLICE]))).last.values[0]
                means.append(frames.sum(0) / len(frames))
            scores = model.predict(torch.cat(means)).tolist()
            gap = second - first - SLICE
            highest = scores.index(max(scores))
            total -= scores[gap // BIN] - math.log(sum(math.exp(score) for score in scores))
            right += highest == gap // BIN
            error += abs((highest + 0.5) * 0.2 - gap / 16000)
            count += 1
    assert count == int(found.count) == 9
    assert float(found.total.detach()) == pytest.approx(total, rel=1e-4)
    assert float(found.metrics["accuracy"]) == pytest.approx(right / 9)
    assert float(found.metrics["error_seconds"]) == pytest.approx(error / 9, rel=1e-4)


def test_a_batch_without_a_pair_has_no_target():
    loss = objective()(Batch(pad([torch.zeros(4000)]), (1,)))
    assert (float(loss.total), int(loss.count)) == (0, 0)


def test_a_slice_has_a_frame():
    with pytest.raises(ConfigError, match=r"slice: 0.01 s give no frame"):
        objective(slice=0.01)
