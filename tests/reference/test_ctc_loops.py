"""Guards CTC's loss: it is what summing over all paths, one by one, and the paper's recursion give."""

import itertools
import math

import pytest
import torch
from torch import nn

from sonorant.encoders.base import Context, Encoder, Frontend
from sonorant.nn.ctc import ctc_losses, fitting
from sonorant.objectives.ctc import Config
from sonorant.types import Batch, Hidden, Padded, pad


class Samples(Frontend):
    dim, stride, rate = 1, 1, 10

    def frames(self, samples):
        return samples

    def forward(self, inputs):
        return Padded(inputs.values[:, :, None], inputs.lengths).zeroed()


class Tanh(Context):
    dim, causal = 6, False

    def forward(self, frames):
        return Hidden((frames.values.tanh(),), frames.lengths)


def every_path(rows, labels):
    """ln p(l | x), eq. 3: every path of the given length that collapses to the labels."""
    total = 0.0
    for path in itertools.product(range(len(rows[0])), repeat=len(rows)):
        if [label for label, _ in itertools.groupby(path) if label] == labels:
            total += math.exp(sum(row[label] for row, label in zip(rows, path, strict=True)))
    return math.log(total) if total else -math.inf


def recursion(rows, labels):
    """ln p(l | x) by the forward variables, eqs. 5 to 8."""
    states = [0]
    for label in labels:
        states += [label, 0]
    alpha = [math.exp(rows[0][state]) if s < 2 else 0.0 for s, state in enumerate(states)]
    for row in rows[1:]:
        new = []
        for s, state in enumerate(states):
            sources = alpha[s] + (alpha[s - 1] if s else 0.0)
            if s > 1 and state and state != states[s - 2]:
                sources += alpha[s - 2]
            new.append(sources * math.exp(row[state]))
        alpha = new
    total = sum(alpha[-2:])
    return math.log(total) if total else -math.inf


CASES = [(4, [1]), (5, [1, 2]), (6, [2, 2]), (3, [1, 1]), (5, [1, 2, 1]), (4, []), (1, [2]), (2, [1, 2, 1])]


@pytest.fixture
def model():
    torch.manual_seed(1)
    objective = Config(labels=3).build(Encoder(Samples(), Tanh())).double().eval()
    nn.init.normal_(objective.head.weight, std=2.0)
    return objective


def batch(cases):
    generator = torch.Generator().manual_seed(2)
    waves = [torch.randn(frames, generator=generator, dtype=torch.float64) for frames, _ in cases]
    labels = [torch.tensor(labels, dtype=torch.int64) for _, labels in cases]
    return Batch(pad(waves), tuple(range(len(cases))), pad(labels))


@pytest.mark.parametrize("reference", [every_path, recursion])
def test_the_loss_is_the_sum_over_all_paths(model, reference):
    many = batch(CASES)
    rows = model.log_probabilities(many.inputs)
    expected, count = 0.0, 0
    for values, (frames, labels) in zip(rows.values.tolist(), CASES, strict=True):
        value = reference(values[:frames], labels)
        if value > -math.inf:
            expected -= value
            count += max(len(labels), 1)
    loss = model(many)
    assert loss.total.item() == pytest.approx(expected, rel=1e-6)
    assert loss.count.item() == count
    assert loss.metrics["too_short"].item() == pytest.approx(1 / len(CASES))


def test_the_frames_that_labels_need_are_those_that_give_them_a_probability(model):
    rows = torch.randn(4, 3).log_softmax(1).tolist()
    for length in range(1, 5):
        for labels in itertools.product((1, 2), repeat=length):
            one = Batch(pad([torch.zeros(4, dtype=torch.float64)]), (0,), pad([torch.tensor(labels)]))
            impossible = every_path(rows, list(labels)) == -math.inf
            assert model(one).metrics["too_short"].item() == float(impossible)


def paths_with_wildcards(rows, labels, hidden):
    """-ln p(l | x) over every path of labels, blanks and, where a label is hidden, wildcards."""
    size = rows.shape[1]
    symbols = [size if gone else label for label, gone in zip(labels, hidden, strict=True)]
    total = rows.new_zeros(())
    for path in itertools.product({0, *symbols}, repeat=len(rows)):
        if [each for each, _ in itertools.groupby(path) if each] == symbols:
            chances = [
                row[each].exp() if each < size else row[1:].exp().sum()
                for row, each in zip(rows, path, strict=True)
            ]
            total = total + torch.stack(chances).prod()
    return -total.log()


@pytest.mark.parametrize(
    ("frames", "labels", "hidden"),
    [
        (5, [1, 2, 1], [0, 1, 0]),
        (4, [1, 1], [1, 0]),
        (5, [2, 2, 1], [1, 1, 1]),
        (4, [2, 1, 1], [1, 1, 0]),
        (4, [1, 2], [0, 0]),
        (5, [2], [1]),
    ],
)
def test_hidden_labels_are_wildcards_in_value_and_gradient(frames, labels, hidden):
    torch.manual_seed(4)
    logits = torch.randn(2, frames + 2, 3, dtype=torch.float64, requires_grad=True)
    rows = Padded(logits.log_softmax(-1), torch.tensor([frames, frames + 2]))
    words = pad([torch.tensor(labels), torch.tensor([2, 1])])
    gone = torch.zeros(words.values.shape, dtype=torch.bool)
    gone[0, : len(labels)] = torch.tensor(hidden, dtype=torch.bool)
    found = ctc_losses(rows, words, gone)
    expected = [paths_with_wildcards(rows.values[0, :frames], labels, hidden), ctc_losses(rows, words)[1]]
    torch.testing.assert_close(found, torch.stack(expected))
    (slow,) = torch.autograd.grad(
        torch.stack(expected) @ torch.tensor([2.0, 3.0]).double(), logits, retain_graph=True
    )
    (fast,) = torch.autograd.grad(found @ torch.tensor([2.0, 3.0]).double(), logits)
    torch.testing.assert_close(fast, slow)


def test_hidden_labels_that_do_not_fit_add_nothing():
    logits = torch.randn(1, 2, 3, requires_grad=True)
    rows = Padded(logits.log_softmax(-1), torch.tensor([2]))
    words = pad([torch.tensor([1, 1])])
    gone = torch.tensor([[False, True]])
    assert fitting(words, rows.lengths, gone)  # a wildcard is no 1
    assert not fitting(words, rows.lengths)
    assert not fitting(pad([torch.tensor([1, 2])]), rows.lengths, torch.tensor([[True, True]]))
    three = pad([torch.tensor([1, 1, 2])])
    loss = ctc_losses(rows, three, torch.tensor([[False, True, False]]))
    loss.sum().backward()
    assert loss == 0
    assert not logits.grad.any()
