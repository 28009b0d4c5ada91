"""Guards APC: which frames are targets, what it refuses, and that padding and neighbours change nothing."""

import pytest
import torch
from cut_speech import speech

from sonorant.config import ConfigError
from sonorant.encoders.build import EncoderConfig, build
from sonorant.encoders.convolutions import ConvolutionsConfig
from sonorant.encoders.log_mel import LogMelConfig
from sonorant.encoders.recurrent import GRUConfig
from sonorant.objective import objective_config
from sonorant.objectives.apc import Config
from sonorant.types import Batch, Padded


def objective(shift=3, **context):
    torch.manual_seed(0)
    gru = GRUConfig(**({"dim": 16, "layers": 2} | context))
    config = EncoderConfig(frontend=LogMelConfig(mels=20), context=gru)
    return Config(shift=shift).build(build(config))


def test_the_default_shift_is_five_frames_and_a_shift_of_zero_is_refused():
    assert objective_config({"name": "apc"}) == Config(shift=5)
    with pytest.raises(ConfigError, match="shift"):
        objective_config({"name": "apc", "shift": 0})


def test_a_context_that_sees_the_future_is_refused():
    with pytest.raises(ValueError, match="causal"):
        objective(bidirectional=True)


def test_frames_that_are_learned_are_refused():
    config = EncoderConfig(frontend=ConvolutionsConfig(dim=8), context=GRUConfig(dim=16, layers=1))
    with pytest.raises(ValueError, match="log_mel"):
        Config().build(build(config))


def test_the_targets_are_the_frames_that_have_a_predecessor():
    model, batch = objective(shift=3), speech(1.0, 0.5)
    frames = model.encoder.frontend(batch.inputs)
    assert model(batch).count == (frames.lengths - 3).sum()


@pytest.mark.parametrize("shift", [48, 49, 500])
def test_an_utterance_no_longer_than_the_shift_contributes_nothing(shift):
    batch = speech(0.5)  # 48 frames
    loss = objective(shift=shift)(batch)
    loss.total.backward()
    assert loss.total == 0
    assert loss.count == 0
    assert all(torch.isfinite(value) for value in loss.metrics.values())


def test_padding_and_neighbours_change_nothing():
    model, batch = objective(), speech(1.0, 0.6)
    together = model(batch)
    apart = []
    for row, length in enumerate(batch.inputs.lengths.tolist()):
        wave = batch.inputs.values[row : row + 1, :length]
        noisy = torch.cat([wave, torch.ones(1, 3000)], dim=1)  # the padding is not even silent
        apart.append(model(Batch(Padded(noisy, torch.tensor([length])), (row,))))
    assert sum(part.count for part in apart) == together.count
    torch.testing.assert_close(sum(part.total for part in apart), together.total, rtol=1e-5, atol=1e-5)


def test_predicting_no_change_is_as_good_as_copying():
    """With silent GRU layers the residual hands x_t on: the relative error is 1, which anchors the figure."""
    model = objective(shift=2, dim=20)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        torch.nn.init.eye_(model.encoder.projection.weight)
        torch.nn.init.eye_(model.predict.weight)
    metrics = model(speech(0.7)).metrics
    torch.testing.assert_close(metrics["relative_error"], torch.tensor(1.0))
    torch.testing.assert_close(metrics["error"], metrics["error_of_copying"])


def test_training_beats_copying():
    model, batch = objective(layers=1), speech(0.6, 0.5)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-2)
    for _ in range(30):
        loss = model(batch)
        optimizer.zero_grad()
        (loss.total / loss.count).backward()
        optimizer.step()
    assert loss.metrics["relative_error"] < 0.9
