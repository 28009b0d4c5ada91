"""Guards the alteration along time: its shares, one throw for an utterance, and what is moved."""

import pytest
import torch

from sonorant.nn.alteration import alter_time
from sonorant.types import Padded, pad


def generators(count, first=0):
    return [torch.Generator().manual_seed(seed) for seed in range(first, first + count)]


def steps(*lengths):
    """Frames that tell where they stood: 1, 2, 3 ... in both dimensions."""
    return pad([torch.arange(1.0, length + 1)[:, None].expand(length, 2) for length in lengths])


def alter(frames, first=0, *, share=0.15, length=7):
    return alter_time(frames, generators(len(frames.lengths), first), share=share, length=length)


def outcomes(frames, altered):
    """What happened to each utterance's chosen frames; fails where one throw did not decide on all."""
    for row, chosen in enumerate(altered.chosen):
        before, after = frames.values[row, chosen], altered.values[row, chosen]
        if (after == 0).all():
            yield "zeroed"
        elif torch.equal(before, after):
            yield "kept"
        else:
            assert (after != 0).all()
            assert (after != before).all()
            yield "moved"


def test_eight_utterances_in_ten_are_zeroed_one_is_moved_and_one_is_kept():
    frames = steps(*[60] * 3000)
    found = list(outcomes(frames, alter(frames)))
    for outcome, share in (("zeroed", 0.8), ("moved", 0.1), ("kept", 0.1)):
        deviation = (share * (1 - share) / 3000) ** 0.5
        assert abs(found.count(outcome) / 3000 - share) < 4 * deviation


def test_what_is_moved_in_comes_from_one_distance_and_so_stays_consecutive():
    length, distances = 60, set()
    frames = steps(*[length] * 300)
    altered = alter(frames)
    for row, outcome in enumerate(outcomes(frames, altered)):
        if outcome == "moved":
            chosen = altered.chosen[row]
            found = (frames.values[row, chosen] - altered.values[row, chosen]) % length
            assert found.unique().numel() == 1
            distances.add(int(found[0, 0]))
    assert 0 not in distances
    assert len(distances) > 15


def test_frames_that_are_not_chosen_stay_as_they_are():
    frames = steps(*[60] * 100)
    altered = alter(frames)
    assert torch.equal(altered.values[~altered.chosen], frames.values[~altered.chosen])


def test_spans_of_the_length_are_chosen_and_as_many_frames_as_the_share_says():
    # 0.15 * 140 / 7 is 3 spans. A frame in the middle escapes all of 3 different starts of 134 places, 7 of
    # which reach it, in C(127, 3) of C(134, 3) cases.
    chosen = alter(steps(*[140] * 2000)).chosen
    escapes = (127 * 126 * 125) / (134 * 133 * 132)
    assert chosen[:, 10:-10].float().mean().item() == pytest.approx(1 - escapes, abs=0.005)
    assert chosen.sum(1).max() == 21
    for row in chosen[:200]:
        runs = torch.diff(torch.nn.functional.pad(row.int(), (1, 1))).nonzero().flatten().diff()[::2]
        assert (runs >= 7).all()


@pytest.mark.parametrize("length", [1, 2, 6, 7, 8])
def test_the_shortest_utterances_have_a_frame_chosen(length):
    altered = alter(steps(*[length] * 50))
    assert altered.chosen.any(1).all()
    assert (altered.values[altered.chosen] <= length).all()


def test_an_utterance_is_altered_alike_whatever_stands_beside_it():
    together = steps(50, 23, 90)
    for first in range(0, 60, 3):  # seeds of all three outcomes
        altered = alter(together, first)
        for row, length in enumerate((50, 23, 90)):
            alone = alter(
                Padded(together.values[row : row + 1, :length], torch.tensor([length])), first + row
            )
            assert torch.equal(altered.values[row, :length], alone.values[0])
            assert torch.equal(altered.chosen[row, :length], alone.chosen[0])
            assert not altered.values[row, length:].any()
