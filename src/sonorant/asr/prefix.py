"""CTC's part in a search label by label: how likely it is that a labelling begins with a hypothesis.

Hori, Watanabe and Hershey, "Joint CTC/attention decoding for end-to-end speech recognition", ACL 2017,
https://aclanthology.org/P17-1048/, section 3.1. The paper's loop over frames is a linear recurrence, and here
a cumulative sum: r_t = p_t (r_{t-1} + s_{t-1}) is P_t times the sum of s_{i-1} / P_{i-1} up to t, P_t being
the product of all p up to t. Everything is in logarithms and double precision, where that loses nothing.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from sonorant.asr.vocabulary import BLANK
from sonorant.types import Padded

_LEAST = -1e3  # the logarithm of a probability that is as good as none, and leaves sums finite


@dataclass(frozen=True)
class Prefixes:
    """Hypotheses of each utterance. Sums over the paths of the first t frames, t from 0 on, that give just
    the hypothesis and end in its last label, or in a blank."""

    by_label: Float[Tensor, "utterances rows frames"]
    by_blank: Float[Tensor, "utterances rows frames"]
    last: Int[Tensor, "utterances rows"]  # label; the blank where there is none yet


class PrefixScorer:
    """Of the log probabilities of a few utterances, `utterances time labels`."""

    def __init__(self, log_probabilities: Padded) -> None:
        rows = log_probabilities.values.double().clamp(min=_LEAST)
        silence = torch.full_like(rows[0, 0], _LEAST)
        silence[BLANK] = 0  # frames of padding add nothing to any path
        self.rows = torch.where(log_probabilities.mask[:, :, None], rows, silence)
        self.probabilities = self.rows.exp()
        self.sums = F.pad(self.rows.cumsum(1), (0, 0, 1, 0))  # ln P_t, from t = 0 on

    def begin(self, rows: int) -> Prefixes:
        """Nothing written yet."""
        blank = self.sums[:, None, :, BLANK].expand(-1, rows, -1)
        last = torch.full(blank.shape[:2], BLANK, device=blank.device)
        return Prefixes(torch.full_like(blank, -torch.inf), blank, last)

    def score(self, prefixes: Prefixes) -> Float[Tensor, "utterances rows labels"]:
        """The logarithm of the probability of all labellings that begin with a hypothesis and one more label;
        for label 0, of the hypothesis alone."""
        either = torch.logaddexp(prefixes.by_label, prefixes.by_blank)
        highest = either[..., :-1].amax(-1, keepdim=True).clamp(min=-1e30)
        begun = ((either[..., :-1] - highest).exp() @ self.probabilities).log() + highest
        # a label that repeats the last one counts anew only behind a blank
        repeated = self._of(self.rows, prefixes.last) + prefixes.by_blank[..., :-1]
        begun = begun.scatter(2, prefixes.last[..., None], repeated.logsumexp(-1, keepdim=True))
        begun[..., BLANK] = either[..., -1]
        return begun

    def extend(
        self, prefixes: Prefixes, rows: Int[Tensor, "utterances rows"], labels: Int[Tensor, "utterances rows"]
    ) -> Prefixes:
        """The hypotheses of these numbers, each with one more label."""
        chosen = rows[..., None].expand(-1, -1, prefixes.by_blank.shape[2])
        by_label, by_blank = prefixes.by_label.gather(1, chosen), prefixes.by_blank.gather(1, chosen)
        repeats = (prefixes.last.gather(1, rows) == labels)[..., None]
        source = torch.where(repeats, by_blank, torch.logaddexp(by_label, by_blank))
        written = _recurrence(source, self._of(self.sums, labels))
        blank = self.sums[:, None, :, BLANK]
        return Prefixes(written, _recurrence(written, blank), labels)

    def _of(
        self, values: Float[Tensor, "utterances time labels"], labels: Int[Tensor, "utterances rows"]
    ) -> Float[Tensor, "utterances rows time"]:
        """The columns of labels."""
        places = labels[:, None].expand(-1, values.shape[1], -1)
        return values.gather(2, places).transpose(1, 2)


def _recurrence(
    source: Float[Tensor, "utterances rows frames"], sums: Float[Tensor, "utterances #rows frames"]
) -> Float[Tensor, "utterances rows frames"]:
    """r_t = p_t (r_{t-1} + s_{t-1}) with r_0 = 0, from ln s and the cumulative sums of ln p."""
    rising = torch.logcumsumexp(source[..., :-1] - sums[..., :-1], dim=-1)
    return F.pad(rising + sums[..., 1:], (1, 0), value=-torch.inf)
