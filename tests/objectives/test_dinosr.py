"""Guards DinoSR: what moves the codewords, on one process or two, and when the teacher stands still."""

import json
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
import soundfile
import torch

from sonorant.encoders.build import EncoderConfig, build
from sonorant.encoders.convolutions import ConvolutionsConfig
from sonorant.encoders.log_mel import LogMelConfig
from sonorant.encoders.recurrent import GRUConfig
from sonorant.encoders.transformer import TransformerConfig
from sonorant.objective import objective_config
from sonorant.objectives.dinosr import Config
from sonorant.train import distributed
from sonorant.train.loop import TrainConfig, train
from sonorant.train.optim import adamw
from sonorant.train.processes import together
from sonorant.train.schedule import ScheduleConfig
from sonorant.types import Batch, pad

SPEECH = Path(__file__).parents[1] / "fixtures" / "speech"


def speech(*seconds, first=0):
    """Clips of the fixtures, cut to so many seconds."""
    lines = (SPEECH / "manifest.jsonl").read_text(encoding="utf8").splitlines()[first:]
    paths = [SPEECH / json.loads(line)["path"] for line in lines[: len(seconds)]]
    waves = [
        soundfile.read(path, dtype="float32", stop=round(16000 * length))[0]
        for path, length in zip(paths, seconds, strict=True)
    ]
    return Batch(pad([torch.from_numpy(wave) for wave in waves]), tuple(range(first, first + len(waves))))


def objective(frontend=None, context=None, **changes):
    torch.manual_seed(0)
    context = context or TransformerConfig(
        dim=16, layers=2, heads=2, feedforward=24, position_kernel=8, position_groups=2, dropout=0.0
    )
    encoder = build(EncoderConfig(frontend=frontend or LogMelConfig(mels=12, stack=2), context=context))
    return Config(**({"top_layers": 2, "mask_length": 4, "codes": 5} | changes)).build(encoder)


def trained(batches, accumulate, **changes):
    """An objective after two steps."""
    model = objective(**changes)
    config = TrainConfig(steps=2, accumulate=accumulate, precision="fp32")
    list(train(model, adamw(model, config.optimizer), iter(batches), config, total=2))
    return model


def share(found):
    """What one of two processes does: every other one of four batches."""
    batches = [speech(0.5, first=number) for number in range(4)]
    model = trained(batches[distributed.rank() :: 2], 1)
    found += distributed.gather(model.state_dict())


def test_the_defaults_are_the_papers():
    config = objective_config({"name": "dinosr"})
    assert (config.mask_probability, config.mask_length, config.top_layers) == (0.8, 10, 8)
    assert (config.codes, config.codebook_decay, config.freeze_step) == (256, 0.9, 200_000)
    assert (config.decay_start, config.decay_end, config.decay_steps) == (0.999, 0.9999, 30_000)


def test_contexts_without_blocks_are_refused():
    with pytest.raises(ValueError, match=r"dinosr: .*encoder.context has none: choose transformer"):
        objective(context=GRUConfig(dim=16, layers=2))


def test_two_processes_find_the_codewords_of_one():
    found = []
    with together(2, partial(share, [])):
        share(found)
    alone = trained([speech(0.5, first=number) for number in range(4)], 2).state_dict()
    assert len(found) == 2
    assert (alone["codebooks.counts"] - 1).abs().max() > 0.1
    for name, value in alone.items():
        assert torch.equal(found[0][name], found[1][name]), name
        torch.testing.assert_close(found[0][name], value, rtol=1e-4, atol=1e-5)


def test_each_step_moves_the_codewords_by_its_own_batches():
    model = objective(codebook_decay=0.0, freeze_step=1)  # the teacher stands still, and nothing is kept
    config = TrainConfig(steps=2, precision="fp32")
    batches = [speech(0.7, 0.5), speech(0.6, first=3)]
    steps = train(model, adamw(model, config.optimizer), iter(batches), config, total=2)
    for batch in batches:
        before = model.codebooks.counts.clone()
        step = next(steps)
        moved = model.codebooks.counts != before
        observed = model.codebooks.new_counts
        assert observed.sum(1).tolist() == [step.count] * 2
        assert torch.equal(model.codebooks.counts[moved], observed[moved])
        assert model(batch).count == step.count


def test_evaluation_observes_nothing():
    model = objective().eval()
    model(speech(0.5))
    assert not model.codebooks.new_counts.any()


def test_the_teacher_and_its_input_stand_still_in_the_end():
    model = objective(ConvolutionsConfig(dim=8, norm="layer"), freeze_step=3, decay_start=0.5)
    schedule = ScheduleConfig(decay="constant", warmup=0)
    config = TrainConfig(steps=4, precision="fp32", schedule=schedule)
    steps = train(model, adamw(model, config.optimizer), iter([speech(0.5)] * 4), config, total=4)
    states = [{name: value.clone() for name, value in model.state_dict().items()} for _ in steps]
    for name in states[0]:
        moves = [not torch.equal(one[name], other[name]) for one, other in pairwise(states)]
        if name.startswith("teacher"):
            assert moves == [True, False, False], name
        elif name.startswith(("encoder.frontend", "encoder.projection")):
            assert moves == [True, True, False], name
        elif name.startswith(("encoder", "codebooks")):
            assert moves == [True, True, True], name
