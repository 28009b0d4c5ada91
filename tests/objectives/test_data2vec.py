"""Guards data2vec's teacher: what it follows, what it shares, and that nothing but its average moves it."""

import pytest
import torch
from cut_speech import speech

from sonorant.encoders.build import EncoderConfig, build
from sonorant.encoders.conformer import ConformerConfig
from sonorant.encoders.log_mel import LogMelConfig
from sonorant.encoders.recurrent import GRUConfig
from sonorant.encoders.transformer import TransformerConfig
from sonorant.objective import objective_config
from sonorant.objectives.data2vec import Config


def objective(context=None, **changes):
    torch.manual_seed(0)
    context = context or TransformerConfig(
        dim=16, layers=2, heads=2, feedforward=24, position_kernel=8, position_groups=2, dropout=0.4
    )
    encoder = build(EncoderConfig(frontend=LogMelConfig(mels=12, stack=2), context=context))
    return Config(**({"top_layers": 2, "mask_length": 4} | changes)).build(encoder)


def moved(model):
    """The teacher's weights, by their names, after those of the student have all moved by one."""
    with torch.no_grad():
        for parameter in model.encoder.context.parameters():
            parameter.add_(1)
    return {name: value.clone() for name, value in model.teacher.context.named_parameters()}


def test_the_defaults_are_the_papers():
    config = objective_config({"name": "data2vec"})
    assert (config.mask_probability, config.mask_length, config.top_layers) == (0.65, 10, 8)
    assert (config.decay_start, config.decay_end, config.decay_steps) == (0.999, 0.9999, 30000)


def test_contexts_without_enough_blocks_are_refused():
    with pytest.raises(ValueError, match=r"encoder.context has none: choose transformer or conformer"):
        objective(GRUConfig(dim=16, layers=2))
    with pytest.raises(ValueError, match=r"top_layers is 3, but encoder.context has 2 layers"):
        objective(top_layers=3)


@pytest.mark.parametrize(("step", "decay"), [(1, 0.51), (5, 0.55), (10, 0.6), (99, 0.6)])
def test_the_teacher_is_the_students_moving_average(step, decay):
    model = objective(decay_start=0.5, decay_end=0.6, decay_steps=10)
    before = moved(model)
    model.after_step(step)
    student = dict(model.encoder.context.named_parameters())
    positions = [name for name in before if name.startswith("positions.")]
    assert len(positions) == 3
    for name, value in model.teacher.context.named_parameters():
        kept = 0.0 if name in positions else decay  # the positions are the student's own
        torch.testing.assert_close(value, kept * before[name] + (1 - kept) * student[name])
    torch.testing.assert_close(model(speech(0.5)).metrics["decay"], torch.tensor(decay))


@pytest.mark.parametrize("context", [None, ConformerConfig(dim=16, layers=2, heads=2, kernel=5)])
def test_no_gradient_reaches_the_teacher_and_it_drops_nothing(context):
    model = objective(context).train()
    assert not any(module.training for module in model.teacher.modules())
    frames = model.encoder.project(model.encoder.frontend(speech(0.7).inputs))
    first, again = (model.teacher.targets(frames, 2) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one.values, other.values)
        assert not one.values.requires_grad
    model(speech(0.7)).total.backward()
    assert all(parameter.grad is None for parameter in model.teacher.parameters())
    assert all(parameter.grad is not None for parameter in model.encoder.parameters())


def test_a_collapse_shows():
    model, batch = objective(), speech(0.8, 0.6)
    healthy = model(batch).metrics
    with torch.no_grad():
        model.predict.weight.zero_()
        for layer in model.teacher.context.layers:
            layer.feedforward[-1].weight.zero_()
    collapsed = model(batch).metrics
    for name in ("target_deviation", "prediction_deviation"):
        assert healthy[name] > 0.1
        assert collapsed[name] < 0.01
