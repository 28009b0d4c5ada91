"""Guards VQ-APC: whose noise it is, what the codebook's figures say, and what it refuses."""

import pytest
import torch

from sonorant.encoders.build import EncoderConfig, build
from sonorant.encoders.convolutions import ConvolutionsConfig
from sonorant.encoders.log_mel import LogMelConfig
from sonorant.encoders.recurrent import GRUConfig
from sonorant.objective import objective_config
from sonorant.objectives.vq_apc import Config
from sonorant.types import Batch, pad


def objective(frontend=None, context=None, **settings):
    torch.manual_seed(0)
    frontend = frontend or LogMelConfig(mels=10)
    encoder = build(EncoderConfig(frontend=frontend, context=context or GRUConfig(dim=8, layers=1)))
    return Config(**{"shift": 3, "entries": 6} | settings).build(encoder)


def noise(*seeds):
    torch.manual_seed(1)
    return Batch(pad([torch.randn(5000), torch.randn(3000)]), seeds)


def test_the_published_numbers_are_the_defaults():
    published = Config(shift=5, groups=1, entries=512, temperature=0.5)
    assert objective_config({"name": "vq_apc"}) == published


def test_without_training_no_seed_matters_and_the_most_probable_codewords_are_taken():
    model = objective()
    assert model(noise(1, 2)).total != model(noise(1, 3)).total
    model.eval()
    assert model(noise(1, 2)).total == model(noise(4, 3)).total


@pytest.mark.parametrize("shift", [1, 19, 30, 500])
def test_an_utterance_no_longer_than_the_shift_contributes_nothing(shift):
    model, batch = objective(shift=shift), noise(1, 2)
    lengths = model.encoder.frontend(batch.inputs).lengths
    loss = model(batch)
    loss.total.backward()
    assert loss.count == (lengths - shift).clamp(min=0).sum()
    assert all(torch.isfinite(value) for value in loss.metrics.values())


def test_the_temperature_stays_as_it_is():
    model = objective(temperature=0.7)
    model.after_step(1000)
    torch.testing.assert_close(model.quantizer.temperature, torch.tensor(0.7))


@pytest.mark.parametrize("groups", [1, 2])
def test_a_collapsed_codebook_shows_in_the_perplexity(groups):
    model = objective(groups=groups).eval()
    assert model(noise(1, 2)).metrics["code_perplexity"] > groups + 0.1
    with torch.no_grad():
        model.quantizer.logits.weight.zero_()
    torch.testing.assert_close(model(noise(1, 2)).metrics["code_perplexity"], torch.tensor(float(groups)))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"context": GRUConfig(dim=8, layers=1, bidirectional=True)}, "causal"),
        ({"frontend": ConvolutionsConfig(dim=8)}, "log_mel"),
        ({"groups": 3}, "3 groups"),
    ],
)
def test_what_does_not_fit_is_refused(wrong, told):
    with pytest.raises(ValueError, match=told):
        objective(**wrong)
