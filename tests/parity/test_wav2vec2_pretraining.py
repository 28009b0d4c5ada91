"""Guards wav2vec 2.0's pre-training loss and gradients against transformers, on equal weights and draws.

transformers sums the contrastive and diversity terms over the hidden frames as fairseq does, with two
differences: it has no penalty on the features, and without training its perplexity is of the codes where
fairseq's is of the mean softmax. Its perplexity has no 1e-7 inside the logarithm.
"""

from itertools import pairwise

import pytest
import torch
from msgspec import structs
from transformers import Wav2Vec2Config, Wav2Vec2ForPreTraining
from transformers.models.wav2vec2.modeling_wav2vec2 import Wav2Vec2GumbelVectorQuantizer

from sonorant.encoders.build import EncoderConfig, build
from sonorant.encoders.convolutions import ConvolutionsConfig
from sonorant.encoders.transformer import TransformerConfig
from sonorant.nn.product_quantizer import GumbelProductQuantizer
from sonorant.objectives.wav2vec2 import Config
from sonorant.types import Batch, pad

GROUPS, ENTRIES, NEGATIVES, LAYERS = 2, 8, 7, 2
CLOSE = {"rtol": 2e-5, "atol": 2e-5}  # single precision through 7 convolutions and 2 layers


def theirs(kind):
    torch.manual_seed(0)
    nothing = dict.fromkeys(
        ("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout", "layerdrop"), 0.0
    )
    config = Wav2Vec2Config(
        hidden_size=32,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        intermediate_size=48,
        conv_dim=(24,) * 7,
        conv_bias=kind == "layer",
        feat_extract_norm=kind,
        do_stable_layer_norm=kind == "layer",
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        num_codevector_groups=GROUPS,
        num_codevectors_per_group=ENTRIES,
        codevector_dim=16,
        proj_codevector_dim=16,
        feat_quantizer_dropout=0.0,
        **nothing,
    )
    model = Wav2Vec2ForPreTraining(config)
    with torch.no_grad():  # the codes have to differ between frames, and so have biases to count
        model.quantizer.weight_proj.weight.normal_()
        model.quantizer.codevectors.uniform_()
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.1)
    return model.train()


def ours(kind, **changes):
    encoder = EncoderConfig(
        frontend=ConvolutionsConfig(dim=24, norm="group_unmasked" if kind == "group" else "layer"),
        context=TransformerConfig(
            dim=32,
            layers=LAYERS,
            heads=4,
            feedforward=48,
            norm="post" if kind == "group" else "pre",
            position_kernel=16,
            position_groups=4,
            dropout=0.0,
        ),
    )
    settings = {"groups": GROUPS, "entries": ENTRIES, "final_dim": 16, "negatives": NEGATIVES}
    return Config(**(settings | {"feature_penalty": 0.0, "mask_length": 4} | changes)).build(build(encoder))


NAMES = {  # parts of this project's parameter names, and transformers' for them
    "mask_embedding": "wav2vec2.masked_spec_embed",
    "quantizer.codewords": "quantizer.codevectors",
    "encoder.context.positions.length": "POSITIONS.parametrizations.weight.original0",
    "encoder.context.positions.direction": "POSITIONS.parametrizations.weight.original1",
    "encoder.context.positions.bias": "POSITIONS.bias",
    "POSITIONS": "wav2vec2.encoder.pos_conv_embed.conv",
    "encoder.frontend.layers": "wav2vec2.feature_extractor.conv_layers",
    "encoder.frontend.norm": "wav2vec2.feature_projection.layer_norm",
    "encoder.projection": "wav2vec2.feature_projection.projection",
    "encoder.context": "wav2vec2.encoder",
    "quantizer.logits": "quantizer.weight_proj",
    "project_context": "project_hid",
    "project_code": "project_q",
    "attention.outward": "attention.out_proj",
    "attention_norm": "layer_norm",
    "feedforward_norm": "final_layer_norm",
    "feedforward.0": "feed_forward.intermediate_dense",
    "feedforward.3": "feed_forward.output_dense",
    ".norm.": ".layer_norm.",
}


def matched(model, objective):
    """This project's parameters, each with transformers' tensors of the same meaning."""
    table = dict(model.named_parameters())
    for name, parameter in objective.named_parameters():
        other = name
        for part, counterpart in NAMES.items():
            other = other.replace(part, counterpart)
        keys = [other.replace("inward", f"{one}_proj") for one in "qkv"] if "inward" in other else [other]
        yield name, parameter, [table.pop(key) for key in keys]
    assert not table, "parameters of transformers that have no counterpart here"


def pair(kind, **changes):
    model, objective = theirs(kind), ours(kind, **changes)
    with torch.no_grad():
        for _, parameter, parts in matched(model, objective):
            parameter.copy_(torch.cat(list(parts)).view_as(parameter))
    return model, objective.train()


def batch():
    torch.manual_seed(4)
    return Batch(pad([torch.randn(n) for n in (16000, 9000, 12345)]), (11, 12, 13))


def run_theirs(model, batch, draws, monkeypatch):
    """transformers' loss with this project's mask, negatives and Gumbel noise in place of its own."""
    size, time = draws.mask.shape
    counts = draws.mask.sum(1).tolist()
    negatives = torch.zeros(size, time, NEGATIVES, dtype=torch.long)
    bounds = torch.tensor([0, *counts]).cumsum(0).tolist()
    for row, (first, last) in enumerate(pairwise(bounds)):
        hidden = draws.mask[row].nonzero()[:, 0]
        negatives[row, hidden] = row * time + hidden[draws.negatives[first:last]]
    if draws.noise is not None:
        noise = torch.zeros(size, time, GROUPS, ENTRIES)
        noise[draws.mask] = draws.noise
        fixed = (-noise).exp().view(-1, ENTRIES)  # Gumbel noise is minus the logarithm of an exponential
        monkeypatch.setattr(torch.Tensor, "exponential_", lambda self: self.copy_(fixed))
    result = model(
        batch.inputs.values,
        attention_mask=batch.inputs.mask.long(),
        mask_time_indices=draws.mask,
        sampled_negative_indices=negatives,
    )
    monkeypatch.undo()
    return result


def draws_of(objective, batch):
    return objective.draw(objective.encoder.frontend(batch.inputs), batch.generators())


@pytest.mark.parametrize("kind", ["group", "layer"])
def test_loss_terms_and_gradients_agree_in_training(kind, monkeypatch):
    model, objective = pair(kind)
    data = batch()
    draws = draws_of(objective, data)
    expected = run_theirs(model, data, draws, monkeypatch)
    loss = objective(data)
    count = draws.mask.sum()

    assert loss.count == count > 20
    assert loss.metrics["same_negatives"] > 0  # the -inf are met
    torch.testing.assert_close(
        loss.metrics["contrastive"] * count, expected.contrastive_loss.detach(), **CLOSE
    )
    torch.testing.assert_close(
        loss.metrics["prob_perplexity"], expected.codevector_perplexity.detach(), **CLOSE
    )
    torch.testing.assert_close(loss.total, expected.loss, **CLOSE)

    loss.total.backward()
    expected.loss.backward()
    for name, parameter, parts in matched(model, objective):
        gradient = torch.cat([part.grad for part in parts]).view_as(parameter)
        worst = (parameter.grad - gradient).abs().max() / gradient.abs().max().clamp(min=1e-3)
        assert worst < 2e-5, (name, worst)


def test_the_contrastive_loss_agrees_without_training(monkeypatch):
    model, objective = pair("group")
    model.eval()
    objective.eval()
    data = batch()
    draws = draws_of(objective, data)
    assert draws.noise is None
    expected = run_theirs(model, data, draws, monkeypatch)
    loss = objective(data)
    contrastive = loss.metrics["contrastive"] * loss.count
    torch.testing.assert_close(contrastive, expected.contrastive_loss, **CLOSE)


def test_the_penalty_is_the_mean_square_of_transformers_features_over_real_frames():
    model, objective = pair("layer", feature_penalty=10.0)
    data = batch()
    frames = [objective.encoder.frontend.frames(n) for n in data.inputs.lengths.tolist()]
    features = model.wav2vec2.feature_extractor(data.inputs.values)
    squares = [one[:, :n].square().mean() for one, n in zip(features, frames, strict=True)]
    hidden = draws_of(objective, data).mask.sum(1)
    penalty = (torch.stack(squares) * hidden).sum()

    loss = objective(data)
    objective.config = structs.replace(objective.config, feature_penalty=0.0)
    torch.testing.assert_close(loss.total - objective(data).total, 10 * penalty, rtol=1e-4, atol=1e-4)


def test_a_collapsed_codebook_has_transformers_zero_loss(monkeypatch):
    model, objective = pair("group")
    for linear in (model.quantizer.weight_proj, objective.quantizer.logits):
        torch.nn.init.zeros_(linear.weight)
        with torch.no_grad():
            linear.bias.copy_(torch.eye(ENTRIES)[0].repeat(GROUPS) * 1000)
    data = batch()
    expected = run_theirs(model, data, draws_of(objective, data), monkeypatch)
    metrics = objective(data).metrics
    assert expected.contrastive_loss == metrics["contrastive"] == 0
    torch.testing.assert_close(metrics["code_perplexity"], expected.codevector_perplexity)


@pytest.mark.parametrize("temperature", [2.0, 0.5])
def test_the_quantiser_alone_agrees(temperature, monkeypatch):
    torch.manual_seed(1)
    config = Wav2Vec2Config(
        conv_dim=(24,) * 7, num_codevector_groups=4, num_codevectors_per_group=6, codevector_dim=20
    )
    reference = Wav2Vec2GumbelVectorQuantizer(config)
    quantizer = GumbelProductQuantizer(24, 20, groups=4, entries=6, temperature=(temperature, 1.0, 0.0))
    reference.temperature = temperature
    with torch.no_grad():
        reference.codevectors.copy_(quantizer.codewords.view(1, 24, 5))
        reference.weight_proj.load_state_dict(quantizer.logits.state_dict())
    frames = torch.randn(30, 24)
    noise = quantizer.noise(30, torch.Generator().manual_seed(2))
    fixed = (-noise).exp().view(-1, 6)
    monkeypatch.setattr(torch.Tensor, "exponential_", lambda self: self.copy_(fixed))
    values, perplexity = reference(frames[None])
    found = quantizer(frames, noise)
    torch.testing.assert_close(found.values, values[0])
    torch.testing.assert_close(found.prob_perplexity, perplexity)

    weights = torch.randn(30, 20)
    (found.values * weights).sum().backward()
    (values[0] * weights).sum().backward()
    torch.testing.assert_close(quantizer.logits.weight.grad, reference.weight_proj.weight.grad)
    torch.testing.assert_close(quantizer.codewords.grad.view(1, 24, 5), reference.codevectors.grad)

    reference.eval()
    values, perplexity = reference(frames[None])
    found = quantizer(frames, None)
    torch.testing.assert_close(found.values, values[0])
    torch.testing.assert_close(found.code_perplexity, perplexity)
