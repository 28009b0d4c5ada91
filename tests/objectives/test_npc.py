"""Guards NPC: which frames count, the anchor of its figures, and what it refuses."""

import pytest
import torch

from sonorant.encoders.build import EncoderConfig, build
from sonorant.encoders.convolutions import ConvolutionsConfig
from sonorant.encoders.log_mel import LogMelConfig
from sonorant.encoders.masked_convolutions import MaskedConvolutionsConfig
from sonorant.encoders.recurrent import GRUConfig
from sonorant.objective import objective_config
from sonorant.objectives.npc import Config
from sonorant.types import Batch, pad


def objective(frontend=None, context=None, **settings):
    torch.manual_seed(0)
    context = context or MaskedConvolutionsConfig(dim=8, layers=1, kernel=7, mask=3)
    encoder = build(EncoderConfig(frontend=frontend or LogMelConfig(mels=10), context=context))
    return Config(**{"groups": 2, "entries": 6} | settings).build(encoder)


def noise(*seeds):
    torch.manual_seed(1)
    return Batch(pad([torch.randn(5000), torch.randn(3000)]), seeds)


def test_the_published_numbers_are_the_defaults():
    assert objective_config({"name": "npc"}) == Config(groups=4, entries=64, temperature=1.0)


def test_every_frame_counts():
    model, batch = objective(), noise(1, 2)
    assert model(batch).count == model.encoder.frontend(batch.inputs).lengths.sum()


def test_without_training_no_seed_matters():
    model = objective(context=MaskedConvolutionsConfig(dim=8, layers=1, kernel=7, mask=3, dropout=0))
    assert model(noise(1, 2)).total != model(noise(1, 3)).total
    model.eval()
    assert model(noise(1, 2)).total == model(noise(4, 3)).total


def test_a_prediction_of_zeros_is_as_bad_as_zeros():
    model = objective()
    with torch.no_grad():
        model.predict.weight.zero_()
        model.predict.bias.zero_()
    torch.testing.assert_close(model(noise(1, 2)).metrics["relative_error"], torch.tensor(1.0))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"context": GRUConfig(dim=8, layers=1)}, "masked_convolutions"),
        ({"frontend": ConvolutionsConfig(dim=8)}, "log_mel"),
        ({"groups": 3}, "3 groups"),
    ],
)
def test_what_does_not_fit_is_refused(wrong, told):
    with pytest.raises(ValueError, match=told):
        objective(**wrong)
