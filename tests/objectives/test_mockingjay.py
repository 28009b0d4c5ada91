"""Guards Mockingjay: which frames count, the anchor of its figures, and what it refuses."""

import pytest
import torch

from sonorant.config import ConfigError
from sonorant.encoders.build import EncoderConfig, build
from sonorant.encoders.convolutions import ConvolutionsConfig
from sonorant.encoders.log_mel import LogMelConfig
from sonorant.encoders.recurrent import GRUConfig
from sonorant.nn.alteration import alter_time
from sonorant.objective import objective_config
from sonorant.objectives.mockingjay import Config
from sonorant.types import Batch, pad


def objective(frontend=None, **settings):
    torch.manual_seed(0)
    context = GRUConfig(dim=8, layers=1, bidirectional=True)
    return Config(**settings).build(
        build(EncoderConfig(frontend=frontend or LogMelConfig(mels=10), context=context))
    )


def noise():
    torch.manual_seed(1)
    return Batch(pad([torch.randn(9000), torch.randn(4000)]), (3, 4))


def test_the_published_numbers_are_the_defaults_and_hiding_nothing_is_refused():
    assert objective_config({"name": "mockingjay"}) == Config(mask_probability=0.15, mask_length=7)
    with pytest.raises(ConfigError, match="mask_probability"):
        objective_config({"name": "mockingjay", "mask_probability": 0.0})


def test_the_chosen_frames_and_no_others_count():
    model, batch = objective(mask_length=4), noise()
    frames = model.encoder.frontend(batch.inputs)
    chosen = alter_time(frames, batch.generators(), share=0.15, length=4).chosen
    loss = model(batch)
    assert loss.count == chosen.sum()
    share = chosen.sum() / frames.lengths.sum()
    torch.testing.assert_close(loss.metrics["masked"], share)
    assert 0.05 < share < 0.3


def test_a_head_that_says_zero_is_as_bad_as_zeros():
    model = objective()
    with torch.no_grad():
        model.predict[-1].weight.zero_()
        model.predict[-1].bias.zero_()
    torch.testing.assert_close(model(noise()).metrics["relative_error"], torch.tensor(1.0))


def test_the_context_network_sees_zeros_where_frames_are_zeroed():
    model, batch = objective(), noise()
    frames = model.encoder.frontend(batch.inputs)
    seen = []
    model.encoder.context.register_forward_pre_hook(lambda _, given: seen.append(given[0].values))
    model(batch)
    chosen = alter_time(frames, batch.generators(), share=0.15, length=7).chosen
    zeros = model.encoder.projection(torch.zeros(10))
    torch.testing.assert_close(seen[0][chosen], zeros.expand(int(chosen.sum()), 8))  # both seeds zero


def test_frames_that_are_learned_are_refused():
    with pytest.raises(ValueError, match="log_mel"):
        objective(ConvolutionsConfig(dim=8))
