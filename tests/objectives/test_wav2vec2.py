"""Guards wav2vec 2.0's objective: its draws, what reaches the loss, and the signs of a collapse."""

import pytest
import torch
from cut_speech import speech

from sonorant.config import ConfigError
from sonorant.encoders.build import EncoderConfig, build
from sonorant.encoders.convolutions import ConvolutionsConfig
from sonorant.encoders.log_mel import LogMelConfig
from sonorant.encoders.transformer import TransformerConfig
from sonorant.objective import objective_config
from sonorant.objectives.wav2vec2 import Config
from sonorant.types import Batch, Padded

GROUPS = 2


def alone(batch, row, padding=0):
    """One utterance of a batch, with so many samples of noise where padding should be."""
    length = int(batch.inputs.lengths[row])
    wave = torch.cat([batch.inputs.values[row, :length], torch.ones(padding)])
    return Batch(Padded(wave[None], torch.tensor([length])), (batch.seeds[row],))


def objective(frontend=None, **changes):
    torch.manual_seed(0)
    context = TransformerConfig(
        dim=16, layers=1, heads=2, feedforward=16, position_kernel=8, position_groups=2, dropout=0.0
    )
    encoder = build(EncoderConfig(frontend=frontend or ConvolutionsConfig(dim=12), context=context))
    settings = {"entries": 6, "final_dim": 8, "negatives": 5, "mask_length": 4, "groups": GROUPS}
    return Config(**(settings | changes)).build(encoder)


def test_the_defaults_are_the_papers():
    config = objective_config({"name": "wav2vec2"})
    assert (config.mask_probability, config.mask_length, config.negatives) == (0.65, 10, 100)
    assert (config.groups, config.entries, config.final_dim) == (2, 320, 256)
    assert (config.temperature_start, config.temperature_decay, config.temperature_floor) == (
        2,
        0.999995,
        0.5,
    )
    assert (config.logit_temperature, config.diversity, config.feature_penalty) == (0.1, 0.1, 10)


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(ConfigError, match="negatives"):
        objective_config({"name": "wav2vec2", "negatives": 0})
    with pytest.raises(ValueError, match="9 output dimensions do not divide into 2 groups"):
        objective(final_dim=9)


def test_the_loss_depends_on_the_seeds_alone():
    model, batch = objective(), speech(0.8, 0.6)
    first = model(batch).total
    torch.manual_seed(99)
    assert torch.equal(model(batch).total, first)
    other = Batch(batch.inputs, (5, 6))
    assert not torch.equal(model(other).total, first)


@pytest.mark.parametrize("frontend", [ConvolutionsConfig(dim=12), LogMelConfig(mels=12, stack=2)])
def test_without_diversity_padding_and_neighbours_change_nothing(frontend):
    model, batch = objective(frontend, diversity=0.0), speech(0.8, 0.5)
    together = model(batch)
    apart = [model(alone(batch, row, padding=2500)) for row in range(2)]
    assert not model.couples_utterances
    assert sum(part.count for part in apart) == together.count
    torch.testing.assert_close(sum(part.total for part in apart), together.total, rtol=1e-5, atol=1e-5)


def test_the_diversity_term_couples_utterances_and_says_so():
    model, batch = objective(), speech(0.8, 0.5)
    assert model.couples_utterances
    apart = sum(model(alone(batch, row)).total for row in range(2))
    assert (apart - model(batch).total).abs() > 1e-3


def test_padding_changes_nothing_with_every_term():
    model, batch = objective(), speech(0.7)
    plain, padded = model(batch), model(alone(batch, 0, padding=4000))
    torch.testing.assert_close(padded.total, plain.total, rtol=1e-5, atol=1e-5)
    for name, value in plain.metrics.items():
        torch.testing.assert_close(padded.metrics[name], value, rtol=1e-5, atol=1e-5)


def test_hidden_frames_reach_the_context_as_the_mask_embedding():
    model, batch = objective(), speech(0.8, 0.5)
    seen = []
    model.encoder.context.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].values))
    model(batch)
    frames = model.encoder.frontend(batch.inputs)
    mask = model.draw(frames, batch.generators()).mask
    assert torch.equal(seen[0][mask], model.mask_embedding.expand(int(mask.sum()), -1))
    rest = frames.mask & ~mask
    torch.testing.assert_close(seen[0][rest], model.encoder.project(frames).values[rest])


def test_negatives_are_the_other_hidden_frames_of_the_utterance_equally_often():
    model, batch = objective(negatives=4000), speech(0.8, 0.5)
    draws = model.draw(model.encoder.frontend(batch.inputs), batch.generators())
    counts = draws.mask.sum(1).tolist()
    for drawn, count in zip(draws.negatives.split(counts), counts, strict=True):
        for own, row in enumerate(drawn):
            found = torch.bincount(row, minlength=count) / 4000
            expected = torch.full((count,), 1 / (count - 1))
            expected[own] = 0
            assert len(found) == count
            assert found[own] == 0
            assert (found - expected).abs().max() < 5 * (expected.max() / 4000).sqrt()


def test_training_and_validation_share_masks_and_negatives_but_only_training_draws_noise():
    model, batch = objective(), speech(0.6)
    frames = model.encoder.frontend(batch.inputs)
    training = model.train().draw(frames, batch.generators())
    validation = model.eval().draw(frames, batch.generators())
    assert torch.equal(training.mask, validation.mask)
    assert torch.equal(training.negatives, validation.negatives)
    assert training.noise is not None
    assert validation.noise is None


def test_a_collapsed_codebook_shows_in_the_figures_although_the_loss_is_zero():
    model = objective()
    with torch.no_grad():
        model.quantizer.logits.weight.zero_()
        model.quantizer.logits.bias.copy_(torch.eye(6)[0].repeat(GROUPS) * 1000)
    metrics = model(speech(0.8, 0.5)).metrics
    assert metrics["contrastive"] == 0
    assert metrics["accuracy"] == 1
    assert metrics["same_negatives"] == 1
    torch.testing.assert_close(metrics["code_perplexity"], torch.tensor(float(GROUPS)))
    torch.testing.assert_close(metrics["prob_perplexity"], torch.tensor(float(GROUPS)))


def test_a_healthy_start_shows_none_of_it():
    metrics = objective(entries=40, negatives=50)(speech(1.5, 1.2)).metrics
    assert metrics["contrastive"] > 1
    assert metrics["accuracy"] < 0.5
    assert metrics["same_negatives"] < 0.5
    assert metrics["code_perplexity"] > 2 * GROUPS


def test_an_utterance_with_fewer_than_two_hidden_frames_contributes_nothing():
    model, batch = objective(), speech(0.8, 0.026)  # the second has a single frame
    alone_loss, loss = model(alone(batch, 0)), model(batch)
    assert loss.count == alone_loss.count
    torch.testing.assert_close(loss.total, alone_loss.total, rtol=1e-5, atol=1e-5)

    nothing = model(alone(batch, 1))
    nothing.total.backward()
    assert nothing.count == 0
    assert nothing.total == 0
    assert all(torch.isfinite(value) for value in nothing.metrics.values())
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())


def test_a_short_utterance_still_has_targets_whatever_its_seed():
    model = objective(mask_length=10)
    frames = model.encoder.frontend(speech(0.16).inputs)  # seven frames: less than a span
    counts = [model.draw(frames, [torch.Generator().manual_seed(seed)]).mask.sum() for seed in range(30)]
    assert min(counts) >= 2


def test_the_gradient_reaches_every_parameter():
    model = objective()
    model(speech(0.8, 0.5)).total.backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


def test_the_temperature_falls_to_its_floor_and_is_saved():
    model = objective(temperature_decay=0.9)
    model.after_step(1)
    torch.testing.assert_close(model.quantizer.temperature, torch.tensor(1.8))
    model.after_step(100)
    assert model.quantizer.temperature == 0.5
    resumed = objective(temperature_decay=0.9)
    resumed.load_state_dict(model.state_dict())
    assert resumed.quantizer.temperature == 0.5


def test_bf16_gives_nearly_the_same_loss():
    model, batch = objective(), speech(0.8, 0.5)
    model.eval()
    exact = model(batch)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model(batch)
    rounded.total.backward()
    assert rounded.total.dtype == torch.float32
    torch.testing.assert_close(rounded.total, exact.total, rtol=0.05, atol=0)


def test_similarities_keep_single_precision_under_bf16():
    model = objective().eval()
    codes, negatives = torch.arange(6).view(3, 2), torch.tensor([[1], [2], [0]])
    with torch.autocast("cpu", torch.bfloat16):
        values = model.logits(torch.randn(3, 16), torch.randn(3, 8), codes, negatives, [3])[:, 1]
    assert not torch.equal(values, values.bfloat16().float())


def test_training_tells_hidden_frames_apart():
    model, batch = objective(entries=20, feature_penalty=0.0), speech(0.8, 0.7)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(40):
        loss = model(batch)
        optimizer.zero_grad()
        (loss.total / loss.count).backward()
        optimizer.step()
        losses.append(loss.metrics["contrastive"].item())
    assert losses[-1] < 0.7 * losses[0]
    assert loss.metrics["code_perplexity"] > 2 * GROUPS  # not by a collapse
