"""Guards training on several kinds of data: which weights synthetic audio meets and changes, and its loss."""

import copy

import pytest
import torch

from sonorant.config import convert
from sonorant.encoders.build import EncoderConfig, build
from sonorant.objectives import ctc, seq2seq
from sonorant.types import Batch, pad

CONTEXTS = {
    "pre": {"name": "transformer", "dim": 16, "layers": 3, "heads": 2, "feedforward": 16, "norm": "pre",
            "position_kernel": 8, "position_groups": 2, "dropout": 0.0},
    "post": {"name": "transformer", "dim": 16, "layers": 3, "heads": 2, "feedforward": 16, "dropout": 0.0,
             "position_kernel": 8, "position_groups": 2},
    "conformer": {"name": "conformer", "dim": 16, "layers": 3, "heads": 2, "kernel": 3, "dropout": 0.0},
    "gru": {"name": "gru", "dim": 16, "layers": 3, "bidirectional": True},
}  # fmt: skip
DECODER = {"dim": 8, "layers": 1, "heads": 2, "feedforward": 8, "dropout": 0.0}
SETTINGS = {"labels": 5, "dropout": 0.0, "freeze_frontend": False, "time_mask_probability": 0.3}


def model(context="gru", kind=seq2seq, **complementary):
    torch.manual_seed(2)
    frontend = {"name": "convolutions", "dim": 8, "norm": "layer"}
    encoder = build(convert({"frontend": frontend, "context": CONTEXTS[context]}, EncoderConfig))
    decoder = {"decoder": DECODER} if kind is seq2seq else {}
    found = convert({**SETTINGS, **decoder, "complementary": complementary}, kind.Config).build(encoder)
    with torch.no_grad():
        for parameter in found.parameters():  # so that every one of them counts
            parameter.add_(0.05 * torch.randn(parameter.shape))
    return found.train()


def batch(kind, seed=0):
    generator = torch.Generator().manual_seed(1)
    waves = [torch.randn(samples, generator=generator) for samples in (6000, 8000)]
    return Batch(
        pad(waves), (seed, seed + 1), pad([torch.tensor([1, 3]), torch.tensor([4, 2, 2])]), kind=kind
    )


def gradients(found, *batches):
    """The gradient of each parameter's name, those that are None or all zero left out."""
    found.zero_grad()
    for each in batches:
        torch.manual_seed(0)
        found(each).total.backward()
    named = {name: each.grad for name, each in found.named_parameters()}
    return {name: grad.clone() for name, grad in named.items() if grad is not None and grad.any()}


def shallow(found, layers):
    """Written out: the front end, the projection, the first layers, and what is added before them."""
    names = [name for name, _ in found.named_parameters()]
    first = tuple(f"encoder.context.layers.{number}." for number in range(layers))
    before = ("encoder.frontend.", "encoder.projection.", "encoder.context.positions.", *first)
    if getattr(found.encoder.context.config, "norm", "") == "post":
        before = (*before, "encoder.context.norm.")
    return {name for name in names if name.startswith(before)} | {"mask_embedding"}


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("kind", [seq2seq, ctc])
def test_a_blocked_batch_of_synthetic_audio_changes_no_shallow_layer(context, kind):
    found = model(context, kind, block=1.0, layers=2)
    expected = shallow(found, 2)
    free = gradients(model(context, kind), batch("text"))
    blocked = gradients(found, batch("text"))
    assert expected < free.keys()
    assert blocked.keys() == free.keys() - expected
    for name, gradient in blocked.items():
        torch.testing.assert_close(gradient, free[name])
    for other in ("speech", "paired", None):
        assert gradients(found, batch(other)).keys() == free.keys()
    both = gradients(found, batch("text"), batch("speech"))  # in one step
    assert torch.equal(
        both["encoder.projection.weight"], gradients(found, batch("speech"))["encoder.projection.weight"]
    )


def test_a_share_of_the_batches_is_blocked_and_always_the_same_ones():
    found = model(block=0.3)

    def blocked():
        return [
            found.complementary.shallow(found.encoder, batch("text", seed)) is not None for seed in range(400)
        ]

    assert sum(blocked()) / 400 == pytest.approx(0.3, abs=0.07)
    assert blocked() == blocked()
    assert not any(
        found.complementary.shallow(found.encoder, batch("speech", seed)) is not None for seed in range(20)
    )


def test_layers_of_its_own_learn_from_synthetic_audio_and_the_real_ones_from_speech():
    found = model("pre", parallel=True, layers=2, block=1.0)
    copies = {f"complementary.copies.{number}" for number in range(len(found.complementary.copies))}
    real = shallow(found, 2)
    text, speech = gradients(found, batch("text")), gradients(found, batch("speech"))
    assert not real & text.keys()
    assert copies <= text.keys()
    assert real <= speech.keys()
    assert not copies & speech.keys()
    assert text.keys() - copies == speech.keys() - real


def test_layers_of_its_own_start_as_the_real_ones_and_inference_does_not_meet_them():
    found = model(parallel=True)
    with torch.no_grad():
        for name, each in zip(found.complementary.names, found.complementary.copies, strict=True):
            each.copy_(found.encoder.get_parameter(name))
    before = found(batch("text")).total
    torch.testing.assert_close(before, found(batch("speech")).total)
    inferred = copy.deepcopy(found).eval().frames(batch(None).inputs).values
    with torch.no_grad():
        for each in found.complementary.copies:
            each.add_(1.0)
    assert not torch.isclose(found(batch("text")).total, before)
    torch.testing.assert_close(found(batch("speech")).total, before)
    assert torch.equal(found.eval().frames(batch(None).inputs).values, inferred)
    assert torch.equal(found(batch("text")).total, found(batch("speech")).total)  # in evaluation, too


def test_the_copies_are_of_the_weights_that_there_are():
    torch.manual_seed(0)
    encoder = build(convert({"frontend": {"name": "log_mel"}, "context": CONTEXTS["gru"]}, EncoderConfig))
    settings = {**SETTINGS, "decoder": DECODER, "complementary": {"parallel": True, "layers": 1}}
    found = convert(settings, seq2seq.Config).build(encoder).complementary
    deep = ("context.layers.1", "context.layers.2")
    assert found.names == [name for name, _ in encoder.named_parameters() if not name.startswith(deep)]
    for name, each in zip(found.names, found.copies, strict=True):
        assert torch.equal(each, encoder.get_parameter(name))
        assert each is not encoder.get_parameter(name)


def test_the_loss_is_that_of_speech_and_lambda_times_that_of_synthetic_audio():
    plain, found = model(), model(weight=0.25)
    expected = plain(batch("speech")).total + 0.25 * plain(batch("text")).total
    torch.testing.assert_close(found(batch("speech")).total + found(batch("text")).total, expected)
    assert found(batch("text")).count == plain(batch("text")).count
    by_hand = gradients(plain, batch("speech"))
    for name, gradient in gradients(plain, batch("text")).items():
        by_hand[name] = by_hand.get(name, 0) + 0.25 * gradient
    together = gradients(found, batch("speech"), batch("text"))
    assert together.keys() == by_hand.keys()
    for name, gradient in together.items():
        torch.testing.assert_close(gradient, by_hand[name], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.eval()(batch("text")).total, plain.eval()(batch("text")).total)


def test_a_log_has_the_loss_of_every_kind_of_the_last_step_that_had_it():
    found = model(weight=3.0)
    means = {}
    for step, kind in enumerate(("speech", "text", "speech", "paired"), start=1):
        for each in found.statistics():
            each.zero_()
        loss = found(batch(kind, seed=step))
        known = {name: float(value) for name, value in loss.metrics.items() if name.startswith("loss_")}
        assert known == pytest.approx(means)
        weight = 3.0 if kind == "text" else 1.0
        means[f"loss_{kind}"] = float(loss.total.detach() / loss.count) / weight
        found.after_step(step)
    assert means.keys() == {"loss_speech", "loss_text", "loss_paired"}


def test_the_default_is_four_layers_or_half_of_a_shallow_encoder():
    names = model("gru", parallel=True).complementary.names
    assert {name.split(".")[2] for name in names if name.startswith("context")} == {"0"}
    with pytest.raises(ValueError, match=r"objective\.complementary\.layers: 4, but the context has 3"):
        model("gru", layers=4)
