"""Guards the attention decoder beside CTC: which parts learn, what its frames are, and mistakes."""

import pytest
import torch

from sonorant.config import ConfigError, convert
from sonorant.encoders.build import EncoderConfig, build
from sonorant.encoders.log_mel import LogMelConfig
from sonorant.encoders.recurrent import GRUConfig
from sonorant.objective import objective_config
from sonorant.objectives.seq2seq import Config
from sonorant.types import Batch, pad

SMALL = {"dim": 16, "layers": 1, "heads": 2, "feedforward": 16, "dropout": 0.0}


def objective(**settings):
    torch.manual_seed(0)
    context = GRUConfig(dim=24, layers=2, bidirectional=True)
    encoder = build(EncoderConfig(frontend=LogMelConfig(mels=20, stack=2), context=context))
    return convert({"labels": 6, "decoder": SMALL, "dropout": 0.0} | settings, Config).build(encoder)


def batch():
    """Tones that tell the labels: a pitch for each, 0.2 s long."""
    words = [[1, 2, 3], [3, 3, 5, 4], [2]]
    time = torch.arange(3200) / 16000
    waves = [torch.cat([torch.sin(6.2832 * 300 * label * time) for label in each]) for each in words]
    return Batch(pad(waves), (1, 2, 3), pad([torch.tensor(each) for each in words]))


def test_both_branches_learn_tones_by_heart():
    unmasked = {"time_mask_probability": 0.0, "channel_mask_probability": 0.0}
    model = objective(label_smoothing=0.0, **unmasked)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    for step in range(1, 80):
        optimizer.zero_grad()
        loss = model(batch())
        (loss.total / loss.count).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        model.after_step(step)
    assert loss.metrics["accuracy"] == 1
    assert loss.metrics["attention_loss"] < 0.1
    assert loss.metrics["ctc_loss"] < 0.3
    assert loss.metrics["blank_share"] < 1


def test_the_encoder_waits_as_for_ctc_while_the_decoder_learns():
    model = objective(freeze_context=1)
    model(batch()).total.backward()
    assert all(each.grad is None for each in model.encoder.parameters())
    assert all(each.grad is not None for each in model.decoder.parameters())
    assert model.head.weight.grad.abs().max() > 0
    model.after_step(1)
    model(batch()).total.backward()
    assert all(each.grad is not None for each in model.encoder.context.parameters())


def test_without_weight_ctc_teaches_nothing_and_raises_no_alarm():
    model = objective(ctc_weight=0.0)
    model(batch()).total.backward()
    assert model.head.weight.grad is None
    assert not model.signs()
    assert objective().signs()


def test_frames_are_ctcs_log_probabilities_and_the_layer_that_the_decoder_reads():
    model = objective(layer=0).eval()
    with torch.no_grad():
        found = model.frames(batch().inputs)
        layer = model.encoder(batch().inputs).layers[0]
    length = int(found.lengths[2])
    torch.testing.assert_close(found.values[2, :length, 6:], layer[2, :length])
    expected = model.head(layer).log_softmax(-1)[2, :length]
    torch.testing.assert_close(found.values[2, :length, :6], expected)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="no labels"):
        objective()(Batch(batch().inputs, (1, 2, 3)))
    with pytest.raises(ConfigError, match=r"decoder.heads 3: twice of it must divide decoder.dim 16"):
        objective(decoder=SMALL | {"heads": 3})
    with pytest.raises(ConfigError, match=r"objective\.ctc_weight"):
        objective_config({"name": "seq2seq", "labels": 5, "ctc_weight": 1})
