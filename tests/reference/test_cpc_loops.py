"""Guards CPC's loss, one matrix product an utterance, against a re-implementation in plain loops."""

import math

import pytest
import torch

from sonorant.encoders.build import EncoderConfig, build
from sonorant.encoders.log_mel import LogMelConfig
from sonorant.encoders.recurrent import GRUConfig
from sonorant.objectives.cpc import Config
from sonorant.types import Batch, pad

STEPS, NEGATIVES = 3, 5


@pytest.mark.parametrize("source", ["utterance", "batch"])
@torch.no_grad()
def test_the_loss_is_the_sum_over_every_step_of_every_frame(source):
    torch.manual_seed(4)
    encoder = build(EncoderConfig(frontend=LogMelConfig(mels=6), context=GRUConfig(dim=8, layers=1)))
    objective = Config(
        steps=STEPS, negatives=NEGATIVES, negatives_from=source, predictor="linear", heads=2
    ).build(encoder)
    batch = Batch(pad([torch.randn(n) for n in (2400, 900, 1600)]), (6, 7, 8))
    frames = encoder.frontend(batch.inputs)
    hidden = encoder(batch.inputs).last.values.tolist()
    utterances = [
        values[:length]
        for values, length in zip(frames.values.tolist(), frames.lengths.tolist(), strict=True)
    ]
    matrices = [predict.weight.tolist() for predict in objective.predictors]

    total, count, right = 0.0, 0, [0] * STEPS
    for row, own in enumerate(utterances):
        pool = own if source == "utterance" else [frame for each in utterances for frame in each]
        times = max(len(own) - STEPS, 0)
        drawn = torch.randint(len(pool), (times, NEGATIVES), generator=batch.generators()[row]).tolist()
        for t in range(times):
            for k in range(1, STEPS + 1):
                matrix = matrices[k - 1]
                prediction = [
                    sum(w * c for w, c in zip(line, hidden[row][t], strict=True)) for line in matrix
                ]

                def score(frame, prediction=prediction):
                    return sum(z * p for z, p in zip(frame, prediction, strict=True)) / len(frame)

                positive = score(own[t + k])
                others = [score(pool[index]) for index in drawn[t] if pool[index] is not own[t + k]]
                total -= positive - math.log(sum(math.exp(each) for each in [positive, *others]))
                right[k - 1] += all(positive > each for each in others)
                count += 1

    loss = objective(batch)
    assert loss.count == count > 0
    torch.testing.assert_close(loss.total, torch.tensor(total), rtol=1e-5, atol=0)
    for k in range(STEPS):
        share = torch.tensor(right[k] / (count / STEPS))
        torch.testing.assert_close(loss.metrics[f"accuracy_{k + 1}"], share)
