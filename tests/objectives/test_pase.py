"""Guards PASE: the average of its workers, clean targets, what stands beside it, and what it refuses."""

import copy

import pytest
import torch
from cut_speech import speech

from sonorant.config import ConfigError, convert, load
from sonorant.encoders.build import EncoderConfig, build
from sonorant.objective import objective_config
from sonorant.objectives.pase import FIRST, NAMES, halve
from sonorant.recipes.shipped import shipped
from sonorant.types import Batch, Padded, pad

SMALL = {"transform": 512, "hidden": 8, "decoder": [6, 5, 4]}
MEL = {"frontend": {"name": "log_mel", "mels": 12}, "context": {"name": "gru", "dim": 16, "layers": 1}}
SINC = {
    "frontend": {"name": "sinc", "dim": 32, "taps": 51, "skips": True},
    "context": {"name": "qrnn", "dim": 24, "cells": 32},
}
QUIET = dict.fromkeys(
    ["reverberation", "overlap", "noise", "clipping", "chop", "band_drop", "downsampling"], 0.0
)


def objective(encoder=MEL, **changes):
    torch.manual_seed(0)
    built = build(convert(encoder, EncoderConfig))
    made = objective_config({"name": "pase", **SMALL, **changes}).build(built)
    made.prepare([speech(0.9, 0.7)])
    return made


def every(weight=1.0):
    return dict.fromkeys(NAMES, weight)


def test_the_defaults_are_the_first_papers_and_the_shipped_ones_are_as_published():
    config = objective_config({"name": "pase"})
    assert config.workers == dict.fromkeys(FIRST, 1.0)
    assert (config.neighbours, config.coefficients, config.transform) == (1, 20, 2048)
    plus = objective_config(load(shipped("pase_plus_base"))["objective"])
    assert plus.workers == {name: 1.0 for name in NAMES if name != "spc"}
    assert len(plus.workers) == 12
    assert (plus.neighbours, plus.deltas, plus.coefficients) == (7, True, 13)
    assert plus.distortion.reverberation == 0.5


@pytest.mark.parametrize("deltas", [False, True])
def test_the_loss_is_the_average_of_the_workers(deltas):
    """Utterances of one length: then each worker's figure is its mean, and the loss is theirs."""
    model = objective(workers=every(), deltas=deltas, neighbours=3)
    loss = model(speech(0.9, 0.9))
    figures = [loss.metrics[name] for name in NAMES]
    torch.testing.assert_close(loss.total / loss.count, torch.stack(figures).mean())
    frames = model.encoder.frontend.frames(7200)
    assert loss.count == 4 * frames


def test_a_workers_weight_is_its_share_and_none_leaves_it_out():
    batch = speech(0.9, 0.9)
    loss = objective(workers={"mfcc": 3.0, "fbank": 1.0, "lps": 0.0})(batch)
    assert "lps" not in loss.metrics
    expected = (3 * loss.metrics["mfcc"] + loss.metrics["fbank"]) / 4
    torch.testing.assert_close(loss.total / loss.count, expected)


def test_a_mean_worth_nothing_but_the_mean_costs_one():
    """Predictions of zero are the means of the batch that statistics were made of."""
    workers = {name: 1.0 for name in NAMES if name not in ("wave", "lim", "gim", "spc")}
    model, batch = objective(workers=workers), speech(0.9, 0.7)
    for worker in model.workers.values():
        torch.nn.init.zeros_(worker.outward[0].weight)
        torch.nn.init.zeros_(worker.outward[0].bias)
    loss = model(batch)
    for name in workers:
        torch.testing.assert_close(loss.metrics[name], torch.tensor(1.0), rtol=1e-3, atol=0, msg=name)


def test_distortions_change_what_is_heard_and_not_what_is_asked_for(monkeypatch):
    distortion = {**QUIET, "clipping": 1.0}
    model = objective(workers={"mfcc": 1.0, "wave": 1.0}, distortion=distortion)
    batch, heard, asked = speech(0.9, 0.7), [], []
    encode, features = model.encoder.frontend.forward, model.targets
    monkeypatch.setattr(model.encoder.frontend, "forward", lambda waves: heard.append(waves) or encode(waves))

    class Spy:
        def __call__(self, waves, frames, names):
            asked.append(waves)
            return features(waves, frames, names)

        def chunks(self, waves, frames):
            asked.append(waves)
            return features.chunks(waves, frames)

    model.targets = Spy()
    model(batch)
    assert not torch.allclose(heard[0].values, batch.inputs.values)
    assert len(asked) == 2
    assert all(torch.equal(each.values, batch.inputs.values) for each in asked)
    quiet = objective(workers={"mfcc": 1.0}, distortion=QUIET)
    assert torch.equal(quiet(batch).total, objective(workers={"mfcc": 1.0})(batch).total)


def test_halves_are_an_utterances_two_parts():
    waves = Padded(torch.arange(1.0, 19).view(2, 9), torch.tensor([9, 4]))
    found = halve(waves)
    assert found.lengths.tolist() == [4, 5, 2, 2]
    expected = [[1, 2, 3, 4, 0], [5, 6, 7, 8, 9], [10, 11, 0, 0, 0], [12, 13, 0, 0, 0]]
    assert found.values.tolist() == expected


@pytest.mark.parametrize(
    ("changes", "coupled"),
    [
        ({"workers": {"mfcc": 1.0, "spc": 1.0, "wave": 1.0, "lim": 0.0}}, False),
        ({"workers": {"mfcc": 1.0, "lim": 1.0}}, True),
        ({"workers": {"mfcc": 1.0, "gim": 1.0}}, True),
        ({"workers": {"mfcc": 1.0}, "distortion": {**QUIET, "noise": 1.0}}, False),
        ({"workers": {"mfcc": 1.0}, "distortion": {**QUIET, "overlap": 1.0}}, True),
        ({"workers": {"mfcc": 1.0}, "beside": {"name": "wav2vec2", "final_dim": 8}}, True),
    ],
)
def test_it_says_when_utterances_are_coupled_and_otherwise_they_are_not(changes, coupled):
    model, batch = objective(**changes), speech(0.9, 0.7)
    assert model.couples_utterances == coupled
    if coupled:
        return
    whole = model(batch)
    parts = [
        model(Batch(pad([batch.inputs.values[row, :length]]), batch.seeds[row : row + 1]))
        for row, length in enumerate(batch.inputs.lengths.tolist())
    ]
    torch.testing.assert_close(sum(each.total for each in parts), whole.total, rtol=1e-4, atol=0)
    assert sum(each.count for each in parts) == whole.count


def test_an_utterance_alone_has_no_negatives_and_all_the_other_workers():
    loss = objective()(speech(0.9))
    assert loss.metrics["lim"] == loss.metrics["gim"] == 0
    assert loss.metrics["mfcc"] > 0
    assert torch.isfinite(loss.total)


def test_another_objective_stands_beside_on_the_same_encoder():
    beside = {"name": "apc", "shift": 2}
    model, batch = objective(workers={"mfcc": 1.0}, beside=beside, beside_weight=0.5), speech(0.9, 0.7)
    alone = objective(workers={"mfcc": 1.0})
    other = objective_config(beside).build(model.encoder)
    other.load_state_dict(
        {
            **{f"encoder.{name}": value for name, value in model.encoder.state_dict().items()},
            **model.beside.state_dict(),
        }
    )
    assert model.beside.encoder is model.encoder
    assert not any("beside.encoder" in name for name in model.state_dict())
    twin = copy.deepcopy(model)  # as training measures its speed on
    assert twin.beside.encoder is twin.encoder
    alone.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("beside")})
    loss, expected = model(batch), alone(batch).total + 0.5 * other(batch).total
    torch.testing.assert_close(loss.total, expected)
    torch.testing.assert_close(loss.metrics["beside"], other(batch).total / other(batch).count)
    loss.total.backward()
    assert all(each.grad is not None for each in model.beside.parameters())


def test_what_it_asks_of_others_reaches_the_objective_beside():
    data2vec = {"name": "data2vec", "top_layers": 1}
    transformer = {"name": "transformer", "dim": 16, "layers": 1, "heads": 2, "position_kernel": 16}
    encoder = {**MEL, "context": {**transformer, "position_groups": 2}}
    model = objective(encoder, workers={"mfcc": 1.0}, beside=data2vec)
    before = [each.clone() for each in model.beside.teacher.parameters()]
    with torch.no_grad():
        for each in model.encoder.parameters():
            each.add_(1)
    model.after_step(1)
    pairs = zip(before, model.beside.teacher.parameters(), strict=True)
    assert any(not torch.equal(old, new) for old, new in pairs)
    assert model.signs() == model.beside.signs() != ()
    assert all(sign.metric in model(speech(0.9, 0.7)).metrics for sign in model.signs())
    taught = objective_config(
        {"name": "pase", "beside": {"name": "hubert", "teacher": "runs/a", "teacher_layer": 1}}
    )
    assert taught.taught_by() == "runs/a"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"workers": {"mfc": 1.0}}, "workers: 'mfc' is not one of wave, lps"),
        ({"workers": {"mfcc": -1.0}}, r"workers.*expected float >= 0"),
        ({"workers": {"mfcc": 0.0}}, "give at least one"),
        ({"neighbours": 2}, "neighbours 2 must be odd"),
        ({"beside": {"name": "pace"}}, "'pace' is not one of"),
        ({"transform": 256}, "worker lps: transform 256 is below its window, 400 samples"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        objective(**changes)


@pytest.mark.parametrize("encoder", [MEL, SINC], ids=["mel", "sinc"])
def test_steps_in_bfloat16_are_finite_and_training_helps_the_workers(encoder):
    torch.manual_seed(0)
    model = objective(encoder, workers=every(), deltas=True, neighbours=3, distortion={})
    batch = speech(0.9, 0.8, 0.7)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    told = []
    for _ in range(6):
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(batch)
        optimizer.zero_grad()
        (loss.total / loss.count).backward()
        assert all(each.grad.isfinite().all() for each in model.parameters())
        optimizer.step()
        told.append(loss.metrics)
    for name in ("mfcc", "fbank", "gammatone", "lps", "mfcc_long", "prosody"):
        assert told[-1][name] < told[0][name], name


def test_a_name_that_is_wrong_is_told_as_a_configs_mistake():
    with pytest.raises(ConfigError, match="objective"):
        objective_config({"name": "pase", "workers": {"lsp": 1.0}})
