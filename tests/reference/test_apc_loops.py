"""Guards APC's loss against a re-implementation in plain loops."""

import pytest
import torch

from sonorant.encoders.build import EncoderConfig, build
from sonorant.encoders.log_mel import LogMelConfig
from sonorant.encoders.recurrent import GRUConfig
from sonorant.objectives.apc import Config
from sonorant.types import Batch, pad


@pytest.mark.parametrize("shift", [1, 4, 13])
def test_the_loss_is_the_sum_over_every_target_one_by_one(shift):
    torch.manual_seed(3)
    encoder = build(EncoderConfig(frontend=LogMelConfig(mels=6), context=GRUConfig(dim=8, layers=1)))
    objective = Config(shift=shift).build(encoder)
    batch = Batch(pad([torch.randn(n) for n in (3000, 1500, 800, 2200)]), (0, 1, 2, 3))

    frames = encoder.frontend(batch.inputs)
    hidden = encoder(batch.inputs).last.values.tolist()
    weight, bias = objective.predict.weight.tolist(), objective.predict.bias.tolist()
    total, copied, count = 0.0, 0.0, 0
    for utterance, (values, length) in enumerate(
        zip(frames.values.tolist(), frames.lengths.tolist(), strict=True)
    ):
        for t in range(length - shift):
            error = difference = 0.0
            for d, target in enumerate(values[t + shift]):
                terms = [w * h for w, h in zip(weight[d], hidden[utterance][t], strict=True)]
                error += abs(target - (sum(terms) + bias[d]))
                difference += abs(target - values[t][d])
            total += error / 6
            copied += difference / 6
            count += 1

    loss = objective(batch)
    assert loss.count == count > 0
    torch.testing.assert_close(loss.total, torch.tensor(total), rtol=1e-5, atol=0)
    torch.testing.assert_close(
        loss.metrics["relative_error"], torch.tensor(total / copied), rtol=1e-5, atol=0
    )
