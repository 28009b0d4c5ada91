"""Guards the teacher that labels batches: a moving average, of clean audio, without gradients or texts."""

from dataclasses import replace

import pytest
import torch
from cut_speech import speech
from torch.nn import functional as F

from sonorant.encoders.build import EncoderConfig, build
from sonorant.encoders.log_mel import LogMelConfig
from sonorant.encoders.recurrent import GRUConfig
from sonorant.nn.ctc import ctc_losses, likeliest
from sonorant.objective import objective_config
from sonorant.objectives.ctc import Config
from sonorant.recipes.recogniser import begin_with
from sonorant.train import checkpoint
from sonorant.train.checkpoint import State
from sonorant.train.loop import TrainConfig, train
from sonorant.train.optim import adamw
from sonorant.train.watch import Watch
from sonorant.types import Batch, Padded, pad

MOMENTUM = 0.75


def model(seed=0, **settings):
    torch.manual_seed(seed)
    context = GRUConfig(dim=16, layers=2, dropout=0.0)
    encoder = build(EncoderConfig(frontend=LogMelConfig(mels=20, stack=2), context=context))
    chosen = {"labels": 9, "momentum": MOMENTUM, "dropout": 0.0, "channel_mask_probability": 0.0}
    return Config(**(chosen | settings)).build(encoder)


def batch(*, start=0, count=4, padding=0, seed=7):
    """Real speech with made-up labels; `padding` more samples of noise behind all."""
    whole, rows = speech(1.2, 0.9, 1.4, 1.0), slice(start, start + count)
    inputs = Padded(whole.inputs.values[rows], whole.inputs.lengths[rows])
    noise = torch.randn(len(inputs.lengths), padding, generator=torch.Generator().manual_seed(1))
    inputs = Padded(torch.cat([inputs.values, noise], 1), inputs.lengths)
    labels = [torch.tensor([1, 2, 3, 2, 5]), torch.tensor([4, 4]), torch.tensor([8]), torch.tensor([6, 7])]
    return Batch(inputs, tuple(1000 * seed + row for row in range(4))[rows], pad(labels[rows]))


def heard(**chosen):
    return replace(batch(**chosen), labels=None)


def updated(objective, rounds=3):
    """Some updates, on speech with labels and without; the student's weights behind each."""
    config = TrainConfig(steps=rounds, precision="fp32")
    batches = [batch(seed=n) if n % 2 else heard(seed=n) for n in range(rounds)]
    steps = train(objective, adamw(objective, config.optimizer), iter(batches), config, total=rounds)
    return [[each.detach().clone() for each in objective.network().parameters()] for _ in steps]


def test_the_likeliest_path_is_written_without_blanks_and_repeats():
    paths = [[1, 1, 0, 1, 2, 2, 0], [0, 0, 0, 2, 2, 2, 2]]
    values = torch.full((2, 7, 3), 0.1)
    values.scatter_(2, torch.tensor(paths)[..., None], 0.8)
    labels, sure = likeliest(Padded(values.log(), torch.tensor([7, 3])))
    assert labels.lengths.tolist() == [3, 0]
    assert labels.values[0].tolist() == [1, 1, 2]
    assert float(sure) == pytest.approx(0.8)
    silent, sure = likeliest(Padded(values[1:].log(), torch.tensor([3])))
    assert silent.values.shape == (1, 1)
    assert (silent.lengths.tolist(), float(sure)) == ([0], 0)


def test_the_teacher_is_the_students_moving_average_and_gets_no_gradient():
    objective = model()
    slow = [each.detach().clone() for each in objective.network().parameters()]
    for weights in updated(objective):
        slow = [MOMENTUM * old + (1 - MOMENTUM) * new for old, new in zip(slow, weights, strict=True)]
    teacher = list(objective.teacher.network().parameters())
    assert any(not torch.equal(*both) for both in zip(teacher, objective.network().parameters(), strict=True))
    for mean, own in zip(slow, teacher, strict=True):
        torch.testing.assert_close(own, mean)
    assert all(each.grad is None and not each.requires_grad for each in objective.teacher.parameters())


def test_labels_are_the_teachers_of_clean_audio():
    objective = model(time_mask_probability=0.9, dropout=0.5).train()
    with torch.no_grad():  # or student and teacher could be taken for one another
        objective.head.weight.neg_()
        clean = objective.teacher.eval().log_probabilities(batch().inputs)
    written, _ = likeliest(clean)
    torch.manual_seed(0)
    taught = objective(heard())
    torch.manual_seed(0)
    told = objective(replace(batch(), labels=written))
    assert int(taught.count) == int(written.lengths.sum()) > 0
    torch.testing.assert_close(taught.total, told.total)
    assert not objective.teacher.training


def test_clips_for_which_the_teacher_writes_nothing_teach_nothing():
    objective = model()
    with torch.no_grad():
        objective.teacher.head.bias[0] += 1e4
    silent = objective(heard())
    assert (float(silent.total.detach()), int(silent.count)) == (0, 0)
    assert (float(silent.metrics["empty_labels"]), float(silent.metrics["teacher_confidence"])) == (1, 0)
    silent.total.backward()
    assert all(not each.grad.any() for each in objective.parameters() if each.grad is not None)
    empty = replace(
        batch(), labels=Padded(torch.zeros(4, 1, dtype=torch.long), torch.zeros(4, dtype=torch.long))
    )
    assert int(objective(empty).count) == 4  # a person's silence is a lesson


def test_a_silent_teacher_is_named_although_its_steps_are_skipped():
    objective = model()
    with torch.no_grad():
        objective.teacher.head.bias[0] += 1e4
    config = TrainConfig(steps=1, precision="fp32")
    (step,) = train(objective, adamw(objective, config.optimizer), iter([heard()]), config, total=1)
    assert step.skipped
    row = {**step.metrics, "skipped": 1, "count": step.count}
    watch = Watch(objective.signs(), every=1)
    lines = [line for number in range(400) for line in watch.see(number, row)]
    assert [line for line in lines if "silent teacher: the teacher writes nothing for 100%" in line]


def test_padding_and_the_cut_into_batches_change_nothing():
    objective = model()

    def gradients(*batches):
        objective.zero_grad()
        losses = [objective(each) for each in batches]
        sum(loss.total for loss in losses).backward()
        return sum(int(loss.count) for loss in losses), objective.head.weight.grad.clone()

    count, whole = gradients(heard())
    assert count > 0
    for others in ([heard(padding=5000)], [heard(count=1), heard(start=1, count=3)]):
        again, found = gradients(*others)
        assert again == count
        torch.testing.assert_close(found, whole, rtol=1e-3, atol=1e-3 * float(whole.abs().max()))


def test_resuming_is_bitwise(tmp_path):
    config = TrainConfig(steps=4, precision="fp32")
    batches = [heard(seed=n) if n % 2 else batch(seed=n) for n in range(4)]
    straight, resumed = model(), model(seed=5)
    optimizer = adamw(straight, config.optimizer)
    for step in train(straight, optimizer, iter(batches), config, total=4):
        if step.number == 2:
            checkpoint.save(
                tmp_path, State(step=2, total=4), objective=straight, optimizer=optimizer, config={}
            )
    optimizer = adamw(resumed, config.optimizer)
    checkpoint.load(checkpoint.step_folder(tmp_path), objective=resumed, optimizer=optimizer)
    list(train(resumed, optimizer, iter(batches[2:]), config, total=4, start=2))
    found = resumed.state_dict()
    assert any(name.startswith("teacher.") for name in found)
    for name, value in straight.state_dict().items():
        assert torch.equal(found[name], value), name


def test_the_student_begins_as_the_seed_and_so_does_its_teacher():
    seed, objective = model(seed=3, momentum=None), model()
    assert begin_with(objective, seed)
    inputs = batch().inputs
    expected = seed.eval().log_probabilities(inputs).values
    assert torch.equal(objective.eval().log_probabilities(inputs).values, expected)
    assert torch.equal(objective.teacher.log_probabilities(inputs).values, expected)


def test_two_teachers_at_once_are_refused():
    settings = {"name": "ctc", "labels": 5, "momentum": 0.9, "complementary": {}}
    with pytest.raises(ValueError, match="momentum and complementary: give one of them"):
        objective_config(settings)


def test_without_a_teacher_labels_are_needed():
    with pytest.raises(ValueError, match="a recogniser needs transcripts"):
        model(momentum=None)(heard())


def test_a_batch_of_no_labels_has_a_loss():
    values = F.log_softmax(torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0)), -1)
    labels = Padded(torch.zeros(2, 1, dtype=torch.long), torch.zeros(2, dtype=torch.long))
    found = ctc_losses(Padded(values, torch.tensor([5, 5])), labels)
    torch.testing.assert_close(found, -values[..., 0].sum(1))
