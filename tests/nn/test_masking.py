"""Guards the masks: spans where they may lie, the published shares, one generator and one length each."""

import numpy as np
import pytest
import torch

from sonorant.nn.masking import bernoulli_span_mask, span_mask


def generators(count, first=0):
    return [torch.Generator().manual_seed(seed) for seed in range(first, first + count)]


def spans(lengths, first=0, **changes):
    settings = {"probability": 0.65, "length": 10} | changes
    return span_mask(torch.tensor(lengths), generators(len(lengths), first), **settings)


def bernoulli(lengths, first=0, **changes):
    settings = {"start_probability": 0.01, "length": 40} | changes
    return bernoulli_span_mask(torch.tensor(lengths), generators(len(lengths), first), **settings)


BOTH = pytest.mark.parametrize("draw", [spans, bernoulli])


@BOTH
def test_an_utterance_is_masked_alike_whatever_stands_beside_it(draw):
    together = draw([300, 45, 750])
    for row, length in enumerate([300, 45, 750]):
        alone = draw([length], first=row)
        assert torch.equal(together[row, :length], alone[0])
        assert not together[row, length:].any()


@BOTH
def test_the_width_of_the_result_changes_nothing(draw):
    assert torch.equal(draw([50, 30], time=80)[:, :50], draw([50, 30]))
    assert draw([50, 30], time=80).shape == (2, 80)


@BOTH
def test_every_utterance_that_has_a_frame_gets_one_masked_and_an_empty_one_none(draw):
    masked = torch.stack([draw([1, 2, 3, 11, 0], first=first, time=11).sum(1) for first in range(50)])
    assert (masked[:, :4] > 0).all()
    assert (masked[:, 4] == 0).all()


@BOTH
def test_the_mask_comes_from_the_generators_alone(draw):
    first = draw([400, 400])
    torch.manual_seed(1)
    assert torch.equal(draw([400, 400]), first)
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(draw([400, 400], first=7), first)


def runs(row):
    edges = np.diff(np.concatenate([[0], row.int().numpy(), [0]]))
    return np.flatnonzero(edges < 0) - np.flatnonzero(edges > 0)


def test_spans_are_whole_and_lie_inside_the_utterance():
    for first in range(0, 200, 20):
        mask = spans([100] * 20, first)
        assert all((runs(row) >= 10).all() for row in mask)


def test_the_number_of_spans_is_rounded_at_random_and_its_mean_is_exact():
    # 0.3 * 97 / 1 is 29.1 spans of one frame at different starts: 29 or 30 frames, 29.1 on average.
    counts = spans([97] * 2000, probability=0.3, length=1).sum(1)
    assert set(counts.tolist()) == {29, 30}
    assert abs(counts.double().mean().item() - 29.1) < 4 * 0.3 / 2000**0.5


def test_the_papers_settings_hide_49_percent():
    assert spans([750] * 200).float().mean().item() == pytest.approx(0.49, abs=0.005)


def test_every_frame_is_hidden_equally_often_except_near_the_edges():
    hidden = spans([60] * 4000, probability=0.3).float().mean(0)
    inner = hidden[9:-9]
    assert (inner - inner.mean()).abs().max() < 5 * 0.5 / 4000**0.5
    assert hidden[0] > 0
    assert hidden[-1] > 0


def test_a_short_utterance_keeps_frames_in_sight_half_of_the_time():
    mask = spans([10] * 1000)
    assert 0.4 < mask.float().mean() < 0.7
    assert mask.all(1).float().mean() < 0.2


@pytest.mark.parametrize(("minimum", "least"), [(0, 0), (1, 1), (4, 4)])
def test_the_minimum_is_a_number_of_spans(minimum, least):
    counts = spans([50] * 200, probability=0.0, length=1, minimum=minimum).sum(1)
    assert set(counts.tolist()) == {least}
    drawn = bernoulli([50] * 200, start_probability=0.0, length=1, minimum=minimum).sum(1)
    assert set(drawn.tolist()) == {least}


def test_bernoulli_spans_hide_the_share_that_independent_starts_give():
    # A frame with 39 frames before it stays in sight if none of 40 starts a span: 1 - 0.99 ** 40.
    mask = bernoulli([750] * 400, minimum=0)
    assert mask[:, 39:].float().mean().item() == pytest.approx(1 - 0.99**40, abs=0.01)
    assert mask[:, 0].float().mean().item() == pytest.approx(0.01, abs=0.02)


def test_bernoulli_spans_are_their_starts_spread():
    starts = bernoulli([200], start_probability=0.02, length=1)[0]
    spread = bernoulli([200], start_probability=0.02, length=7)[0]
    expected = [bool(starts[max(0, step - 6) : step + 1].any()) for step in range(200)]
    assert spread.tolist() == expected
