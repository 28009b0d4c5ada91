"""The likeliest path of given labels through CTC posteriors: Viterbi's algorithm, exact for hours of speech.

The states of a path are its labels with a blank before, between and behind them; from one frame to the next
a path stays, advances by one state, or by two past a blank between different labels. An hour at 25 frames a
second with 43,000 characters has 90,000 frames and 86,000 states: a byte for each pair would be 8 GB. So
scores are kept before every so many frames only, and from the last stretch to the first one each is computed
again, with its moves (Grice, Hughey and Speck, "Reduced space sequence alignment", CABIOS 1997,
https://doi.org/10.1093/bioinformatics/13.1.45). Memory grows with states times the root of frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt

import numpy as np
from jaxtyping import Float, Int, Int8
from numpy import ndarray

from sonorant.asr.vocabulary import BLANK

AT_ONCE = 1 << 26  # moves, a byte each, that are kept where that is all
_SCORE = 8  # bytes


def best_path(
    log_probabilities: Float[ndarray, "time labels"], labels: Sequence[int]
) -> Int[ndarray, " time"]:
    """The label of each frame on the likeliest path of these labels. ValueError: they need more frames."""
    frames, trellis = len(log_probabilities), _Trellis.of(log_probabilities, labels)
    if trellis.needed > frames:
        raise ValueError(f"{len(labels)} labels need {trellis.needed} frames, but there are {frames}")
    path = np.zeros(frames, dtype=np.int64)
    if not frames:
        return path
    count = len(trellis.states)
    stretch = (
        frames if frames * count <= AT_ONCE else isqrt(_SCORE * frames)
    )  # kept scores take as much as moves
    starts = list(range(0, frames, stretch))
    kept = [trellis.begin()]
    for start in starts[1:]:
        kept.append(trellis.run(kept[-1].copy(), start - stretch, start))
    state = -1
    for start in reversed(starts):
        end = min(start + stretch, frames)
        moves = np.zeros((end - start, count), dtype=np.int8)
        scores = trellis.run(kept.pop(), start, end, moves)
        if end == frames:
            state = count - 1 if scores[-1] >= scores[-2] else count - 2
        for frame in range(end - 1, start - 1, -1):
            path[frame] = trellis.states[state]
            state -= int(moves[frame - start, state])
    return path


@dataclass(frozen=True)
class _Trellis:
    frames: Float[ndarray, "time labels"]
    states: Int[ndarray, " states"]  # the label of each
    skipping: Float[ndarray, " states"]  # 0 where a path may come from two states before, else minus infinity
    needed: int  # frames

    @classmethod
    def of(cls, frames: Float[ndarray, "time labels"], labels: Sequence[int]) -> "_Trellis":
        states = np.full(2 * len(labels) + 1, BLANK, dtype=np.int64)
        states[1::2] = labels
        different = states[3::2] != states[1:-2:2]
        skipping = np.full(len(states), -np.inf)
        skipping[3::2][different] = 0.0
        return cls(frames, states, skipping, len(labels) + int((~different).sum()))

    def begin(self) -> Float[ndarray, " padded"]:
        """Scores before the first frame, behind two that are never reached."""
        scores = np.full(len(self.states) + 2, -np.inf)
        scores[2] = 0.0
        return scores

    def run(
        self,
        scores: Float[ndarray, " padded"],
        start: int,
        end: int,
        moves: Int8[ndarray, "time states"] | None = None,
    ) -> Float[ndarray, " padded"]:
        """The scores behind frame `end - 1` from those before frame `start`, in their place.

        States that no path has reached yet, and those from which none reaches the end, are left alone.
        """
        count, frames = len(self.states), len(self.frames)
        for frame in range(start, end):
            low, high = max(0, count - 2 * (frames - frame)), min(count, 2 * frame + 2)
            stay, one = scores[low + 2 : high + 2], scores[low + 1 : high + 1]
            best = np.maximum(stay, one)
            two = scores[low:high] + self.skipping[low:high]
            if moves is not None:
                moves[frame - start, low:high] = np.where(two > best, 2, one > stay)
            np.maximum(best, two, out=best)
            best += self.frames[frame].take(self.states[low:high])
            scores[low + 2 : high + 2] = best
        return scores
