"""Guards CPC: which frames are predicted from which, where negatives come from, and what it refuses."""

import pytest
import torch
from cut_speech import speech

from sonorant.config import ConfigError
from sonorant.encoders.build import EncoderConfig, build
from sonorant.encoders.log_mel import LogMelConfig
from sonorant.encoders.recurrent import GRUConfig, LSTMConfig
from sonorant.objective import objective_config
from sonorant.objectives.cpc import Config
from sonorant.types import Padded


def objective(context=None, **changes):
    torch.manual_seed(0)
    context = context or LSTMConfig(dim=16, layers=1)
    encoder = build(EncoderConfig(frontend=LogMelConfig(mels=12), context=context))
    settings = {"steps": 4, "negatives": 9, "heads": 2, "feedforward": 24, "dropout": 0.0}
    return Config(**(settings | changes)).build(encoder)


def test_the_defaults_are_the_papers():
    config = objective_config({"name": "cpc"})
    assert (config.steps, config.negatives, config.predictor) == (12, 128, "transformer")
    assert (config.heads, config.feedforward, config.dropout) == (8, 2048, 0.1)
    assert not objective().couples_utterances
    assert objective(negatives_from="batch").couples_utterances


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"cpc: predicts the future, .* choose a causal one"):
        objective(GRUConfig(dim=16, layers=1, bidirectional=True))
    with pytest.raises(ConfigError, match=r"twice heads 6 must divide encoder.context.dim 16"):
        objective(heads=3)


@pytest.mark.parametrize("predictor", ["transformer", "linear"])
def test_no_prediction_sees_what_comes_later(predictor):
    model = objective(predictor=predictor)
    values = torch.randn(1, 20, 16)
    later = values.clone()
    later[:, 12:] += 1
    for predict in model.predictors:
        first, second = predict(values), predict(later)
        torch.testing.assert_close(first[:, :12], second[:, :12])
        assert not torch.allclose(first[:, 12:], second[:, 12:], atol=1e-3)


def test_a_perfect_prediction_of_step_k_is_right_at_step_k_alone():
    """Predictions that are the frame two steps ahead: nothing but an accuracy of 1 at k = 2 will do."""
    model = objective(steps=4, negatives=200)
    generator = torch.Generator().manual_seed(1)
    frames = torch.nn.functional.normalize(torch.randn(1, 30, 12, generator=generator), dim=-1)
    predicted = frames.roll(-2, 1)[:, None].expand(1, 4, 30, 12)
    (logits,) = model.logits(predicted, Padded(frames, torch.tensor([30])), [generator])
    assert logits.shape == (4, 26, 201)
    right = (logits[..., :1] > logits[..., 1:]).all(-1).float().mean(1)
    assert right[1] == 1
    assert right[[0, 2, 3]].max() < 0.1


def test_negatives_come_from_where_they_should():
    """Two utterances of frames that point two ways: the similarities tell whose a negative is."""
    frames = torch.zeros(2, 12, 12)
    frames[0, :, 0], frames[1, :, 1] = 12, 24
    padded = Padded(frames, torch.tensor([12, 9]))
    ones = torch.ones(2, 4, 12, 12)
    generators = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    within = [each.unique().tolist() for each in objective().logits(ones, padded, generators)]
    assert within == [[-torch.inf, 1], [-torch.inf, 2]]
    across = objective(negatives_from="batch").logits(ones, padded, generators)
    assert [each.unique().tolist() for each in across] == [[-torch.inf, 1, 2]] * 2
    assert [each[..., 0].unique().item() for each in across] == [1, 2]


@pytest.mark.parametrize("length", [4, 5])
def test_an_utterance_no_longer_than_the_steps_contributes_nothing(length):
    model = objective(steps=length)
    short, long = speech(0.065), speech(0.065, 0.4)  # 5 frames, and with them 38
    expected = 0 if length == 5 else length
    assert model(short).count == expected
    assert model(long).count == expected + (38 - length) * length
    figures = model(short).metrics.values()
    assert all(torch.isfinite(value) for value in (model(short).total, *figures))


def test_what_is_right_is_counted_exactly_in_bfloat16(monkeypatch):
    model = objective(steps=1)
    right = torch.tensor([1.0, 0.0]).expand(1, 87, 2)
    monkeypatch.setattr(model, "logits", lambda *_: [right] * 3)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(speech(0.9, 0.9, 0.9))
    assert loss.count == 261  # no number in bfloat16
    assert loss.metrics["accuracy_1"] == 1


def test_training_raises_the_accuracy():
    model, batch = objective(steps=2), speech(0.6, 0.5)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    told = []
    for _ in range(30):
        loss = model(batch)
        optimizer.zero_grad()
        (loss.total / loss.count).backward()
        optimizer.step()
        told.append(loss.metrics)
    assert all(told[-1][f"accuracy_{k}"] > told[0][f"accuracy_{k}"] + 0.1 for k in (1, 2))
