"""Search by example: where in documents is a spoken query? Alignment, and the value of what is found.

A query is aligned with any stretch of a document: each of its frames goes with one of the document's, which
moves on by none, one or two frames; the score is minus the mean distance along the cheapest way. Distances
are e^(1 - cos) - 1, for each frame of the query scaled to 0 at the nearest and 1 at the farthest frame of the
document; a query's scores have mean 0 and deviation 1 over documents. SUPERB searches like that.

    TWV(t) = 1 - mean over queries of (P_miss(t) + beta P_fa(t)),   beta = c_fa (1 - p) / (c_miss p)

at a threshold t; MTWV is the largest over all thresholds, with p = 0.0008, c_miss = 100 and c_fa = 1 as in
MediaEval's QUESST 2014. Nothing found is worth 0.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from sonorant.types import pad

PRIOR, MISS, ALARM = 0.0008, 100.0, 1.0
BETA = ALARM * (1 - PRIOR) / (MISS * PRIOR)
LEAST = 1e-9
BLOCK = 2**24  # distances in memory at once


def search(
    query: Float[Tensor, "steps dim"], documents: Sequence[Float[Tensor, "time dim"]]
) -> Float[Tensor, " documents"]:
    """The score of the query in each document, the higher the nearer; not yet of mean 0."""
    scores = torch.empty(len(documents))
    order = sorted(range(len(documents)), key=lambda place: len(documents[place]))
    longest = len(documents[order[-1]])
    size = max(1, BLOCK // (len(query) * longest))
    unit = F.normalize(query, dim=1)
    for start in range(0, len(order), size):
        places = order[start : start + size]
        padded = pad([F.normalize(documents[place], dim=1) for place in places])
        distances = (1 - torch.einsum("qd,btd->bqt", unit, padded.values)).exp() - 1
        outside = ~padded.mask[:, None]
        nearest = distances.masked_fill(outside, torch.inf).amin(2, keepdim=True)
        farthest = distances.masked_fill(outside, -torch.inf).amax(2, keepdim=True)
        scaled = (distances - nearest) / (farthest - nearest).clamp(min=LEAST)
        scores[places] = -_cheapest(scaled.masked_fill(outside, torch.inf))
    return scores


def _cheapest(distances: Float[Tensor, "documents steps time"]) -> Float[Tensor, " documents"]:
    """The mean distance along each document's cheapest way; infinite distances are never passed."""
    costs = distances[:, 0]
    for step in range(1, distances.shape[1]):
        one = F.pad(costs[:, :-1], (1, 0), value=torch.inf)
        two = F.pad(costs[:, :-2], (2, 0), value=torch.inf)
        costs = distances[:, step] + torch.minimum(torch.minimum(costs, one), two[:, : costs.shape[1]])
    return costs.amin(1) / distances.shape[1]


def standardised(scores: Float[Tensor, " documents"]) -> Float[Tensor, " documents"]:
    """With mean 0 and deviation 1."""
    return (scores - scores.mean()) / scores.std(correction=0).clamp(min=LEAST)


def mtwv(
    scores: Float[Tensor, "queries documents"],
    holds: Bool[Tensor, "queries documents"],
    weights: Float[Tensor, " queries"] | None = None,
) -> float:
    """The largest term-weighted value of all thresholds, the same for all queries. Queries that no document
    holds do not count, nor do those that all hold."""
    weights = torch.ones(len(scores)) if weights is None else weights
    hits, others = holds.sum(1), (~holds).sum(1)
    counts = (hits > 0) & (others > 0)
    share = (weights * counts).double()
    if not share.sum() > 0:
        return 0.0
    share = share / share.sum()
    gain = torch.where(
        holds, (share / hits.clamp(min=1))[:, None], (-BETA * share / others.clamp(min=1))[:, None]
    )
    order = scores.flatten().argsort(descending=True)
    ordered = scores.flatten()[order]
    last = torch.cat([ordered[1:] != ordered[:-1], torch.ones(1, dtype=torch.bool)])
    values = gain.flatten()[order].cumsum(0)[last]
    return max(float(values.max()), 0.0)
