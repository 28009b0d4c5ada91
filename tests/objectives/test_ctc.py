"""Guards fine-tuning by CTC: what is frozen and when it thaws, the masks, what counts, and padding."""

import json
import math
from pathlib import Path

import pytest
import soundfile
import torch

from sonorant.config import ConfigError
from sonorant.encoders.build import EncoderConfig, build
from sonorant.encoders.convolutions import ConvolutionsConfig
from sonorant.encoders.log_mel import LogMelConfig
from sonorant.encoders.recurrent import GRUConfig
from sonorant.encoders.transformer import TransformerConfig
from sonorant.encoders.tuning import masked
from sonorant.objective import objective_config
from sonorant.objectives.ctc import Config
from sonorant.types import Batch, Padded, pad

SPEECH = Path(__file__).parents[1] / "fixtures" / "speech"
UNMASKED = {"time_mask_probability": 0.0, "channel_mask_probability": 0.0, "dropout": 0.0}


def speech(*seconds, labels=((1, 2, 3), (3, 3), (2,))):
    """The first clips of the fixtures, cut to so many seconds."""
    lines = (SPEECH / "manifest.jsonl").read_text(encoding="utf8").splitlines()
    paths = [SPEECH / json.loads(line)["path"] for line in lines[: len(seconds)]]
    waves = [
        soundfile.read(path, dtype="float32", stop=round(16000 * length))[0]
        for path, length in zip(paths, seconds, strict=True)
    ]
    targets = [torch.tensor(each, dtype=torch.int64) for each in labels[: len(seconds)]]
    return Batch(pad([torch.from_numpy(wave) for wave in waves]), tuple(range(len(waves))), pad(targets))


def objective(**settings):
    torch.manual_seed(0)
    context = TransformerConfig(dim=16, layers=2, heads=2, feedforward=32, position_kernel=4, dropout=0.0)
    config = EncoderConfig(frontend=ConvolutionsConfig(dim=8), context=context)
    return Config(**({"labels": 5} | settings)).build(build(config))


def update(model, optimizer, step):
    """One update, and which parts of the model it changed."""
    parts = {
        "frontend": model.encoder.frontend,
        "projection": model.encoder.projection,
        "context": model.encoder.context,
        "head": model.head,
    }
    before = {name: [p.clone() for p in part.parameters()] for name, part in parts.items()}
    optimizer.zero_grad()
    loss = model(speech(1.0, 0.6))
    (loss.total / loss.count).backward()
    optimizer.step()
    model.after_step(step)
    return {
        name
        for name, part in parts.items()
        if any(not torch.equal(old, new) for old, new in zip(before[name], part.parameters(), strict=True))
    }


def test_frozen_parts_keep_their_weights_and_thaw_at_their_update():
    model = objective(freeze_context=2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
    assert update(model, optimizer, 1) == {"head"}
    assert all(p.grad is None for p in model.encoder.parameters())
    assert update(model, optimizer, 2) == {"head"}
    assert update(model, optimizer, 3) == {"head", "projection", "context"}
    assert all(p.grad is None for p in model.encoder.frontend.parameters())


def test_the_front_end_learns_when_it_is_not_frozen():
    model = objective(freeze_frontend=False)
    assert "frontend" in update(model, torch.optim.AdamW(model.parameters()), 1)


def test_a_resumed_run_knows_whether_the_context_is_still_frozen():
    model, resumed = objective(freeze_context=2), objective(freeze_context=2)
    model.after_step(2)
    resumed.load_state_dict(model.state_dict())
    assert "context" in update(resumed, torch.optim.AdamW(resumed.parameters()), 3)


@pytest.mark.parametrize("settings", [{}, UNMASKED], ids=["masked", "unmasked"])
def test_padding_and_neighbours_change_nothing(settings):
    model = objective(**(settings | {"dropout": 0.0, "freeze_frontend": False}))
    batch = speech(1.0, 0.6, 0.8)
    whole = model(batch)
    whole.total.backward()
    expected = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    total, count = 0.0, 0
    for row in range(3):
        length = int(batch.inputs.lengths[row])
        wave = torch.full((1, length + 4000), 9.0)
        wave[0, :length] = batch.inputs.values[row, :length]
        labels = torch.full((1, 6), 4)
        labels[0, : batch.labels.lengths[row]] = batch.labels.values[row, : batch.labels.lengths[row]]
        part = model(
            Batch(
                Padded(wave, batch.inputs.lengths[row : row + 1]),
                batch.seeds[row : row + 1],
                Padded(labels, batch.labels.lengths[row : row + 1]),
            )
        )
        part.total.backward()
        total, count = total + part.total.item(), count + int(part.count)
    assert total == pytest.approx(whole.total.item(), rel=1e-4)
    assert count == int(whole.count)
    found = [p.grad for p in model.parameters() if p.grad is not None]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_masks_come_from_the_utterances_seeds_and_only_in_training():
    model, batch = objective(dropout=0.0), speech(1.0)
    other = Batch(batch.inputs, (7,), batch.labels)
    assert model(batch).total == model(batch).total != model(other).total
    model.eval()
    assert model(batch).total == model(other).total


def test_masked_frames_are_the_embedding_and_masked_channels_are_zero():
    settings = {"time_mask_length": 2, "channel_mask_length": 2}
    batch = speech(1.0)
    frames = Padded(torch.ones(1, 49, 16), torch.tensor([49]))
    times = objective(**settings, channel_mask_probability=0.0)
    found = masked(frames, times.config, batch, times.mask_embedding).values[0]
    hidden = (found == times.mask_embedding).all(1)
    assert 0 < hidden.sum() < 49
    assert (found[~hidden] == 1).all()
    channels = objective(**settings, time_mask_probability=0.0)
    found = masked(frames, channels.config, batch, channels.mask_embedding).values[0]
    zero = (found == 0).all(0)
    assert 0 < zero.sum() < 16
    assert (found[:, ~zero] == 1).all()


def test_the_head_reads_the_layer_that_it_is_told():
    batch = speech(1.0)
    first, last = (objective(layer=layer).eval() for layer in (0, 1))
    hidden = first.encoder(batch.inputs).layers
    for model, layer in ((first, hidden[0]), (last, hidden[1]), (objective().eval(), hidden[1])):
        expected = model.head(layer).log_softmax(-1)
        torch.testing.assert_close(model.log_probabilities(batch.inputs).values, expected)
    with pytest.raises(ValueError, match=r"objective.layer: 2 .* 0 to 1"):
        objective(layer=2)(batch)


def test_the_head_reads_lower_layers_too_while_it_is_trained():
    batch = speech(1.0, 0.6)
    plain = [objective(**UNMASKED, layer=layer)(batch).total.item() for layer in (0, 1)]
    both = objective(**UNMASKED, intermediate_layers=(0,), intermediate_weight=0.4)
    assert both(batch).total.item() == pytest.approx(0.6 * plain[1] + 0.4 * plain[0], rel=1e-5)
    assert both.eval()(batch).total.item() == pytest.approx(plain[1], rel=1e-5)
    with pytest.raises(ValueError, match=r"objective.intermediate_layers: 2 .* 0 to 1"):
        objective(intermediate_layers=(2,))(batch)


ALWAYS = {"freeze_context": "always", "layer": "weighted"}


@pytest.mark.parametrize("head", ["linear", "recurrent"])
def test_a_frozen_encoder_stays_as_it_is_and_its_layers_are_weighed(head):
    model = objective(**ALWAYS, head=head)
    before = {name: each.clone() for name, each in model.named_parameters()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
    for step in (1, 2):
        update(model, optimizer, step)
    changed = {name for name, each in model.named_parameters() if not torch.equal(each, before[name])}
    assert changed == {"layers.scores", *(f"head.{name}" for name, _ in model.head.named_parameters())}


def test_the_weighted_sum_is_that_of_all_layers():
    model = objective(**ALWAYS).eval()
    model.layers.scores.data = torch.tensor([0.3, -0.4])
    batch = speech(1.0, 0.6)
    hidden = model.encoder(batch.inputs)
    low, high = math.exp(0.3), math.exp(-0.4)
    summed = (low * hidden.layers[0] + high * hidden.layers[1]) / (low + high)
    expected = model.head(summed).log_softmax(-1)
    found = model.log_probabilities(batch.inputs)
    torch.testing.assert_close(found.values[found.mask], expected[found.mask])


def test_nothing_of_a_frozen_encoder_is_masked_or_dropped():
    config = EncoderConfig(
        frontend=LogMelConfig(mels=20), context=GRUConfig(dim=16, layers=2, dropout=0.9), dropout=0.9
    )
    torch.manual_seed(0)
    model = Config(labels=5, dropout=0.0, **ALWAYS).build(build(config)).train()
    batch = speech(1.0, 0.6)
    masked_loss = model(batch).total
    assert model.encoder.training
    torch.testing.assert_close(model.eval()(batch).total, masked_loss)


def test_a_recurrent_head_does_not_see_padding():
    model = objective(**ALWAYS, head="recurrent").eval()
    alone, beside = (model.log_probabilities(each.inputs) for each in (speech(0.6), speech(0.6, 1.0)))
    length = int(alone.lengths[0])
    torch.testing.assert_close(beside.values[0, :length], alone.values[0, :length], atol=1e-5, rtol=1e-4)


def test_a_front_end_that_is_trained_below_a_frozen_context_is_refused():
    with pytest.raises(ConfigError, match="freeze_context"):
        objective_config({"name": "ctc", "labels": 5, "freeze_frontend": False, **ALWAYS})


def test_an_utterance_too_short_for_its_labels_adds_nothing():
    model = objective(**UNMASKED)
    fitting, both = speech(1.0), speech(1.0, 0.1, labels=((1, 2, 3), (1, 1, 1)))
    loss = model(both)
    assert loss.total.item() == pytest.approx(model(fitting).total.item(), rel=1e-4)
    assert loss.count == 3
    assert loss.metrics["too_short"] == 0.5
    assert 0 <= loss.metrics["blank_share"] <= 1


def test_a_batch_is_learned_by_heart():
    torch.manual_seed(0)
    context = GRUConfig(dim=32, layers=1, bidirectional=True)
    encoder = build(EncoderConfig(frontend=LogMelConfig(mels=20, stack=2), context=context))
    model, batch = Config(labels=5, **UNMASKED).build(encoder), speech(1.0, 0.6)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.03)
    for _ in range(120):
        optimizer.zero_grad()
        loss = model(batch)
        (loss.total / loss.count).backward()
        optimizer.step()
    assert loss.total / loss.count < 0.05


def test_mistakes_are_named():
    batch = speech(1.0)
    with pytest.raises(ValueError, match="no labels"):
        objective()(Batch(batch.inputs, batch.seeds))
    for label in (0, 5):
        labels = pad([torch.tensor([1, label])])
        with pytest.raises(ValueError, match=f"label {label} is not between 1 and 4"):
            objective()(Batch(batch.inputs, batch.seeds, labels))
    with pytest.raises(ConfigError, match="labels"):
        objective_config({"name": "ctc", "labels": 1})
