"""Sonorant's losses of two views' embeddings, alone: the functions that the objectives call."""

from functools import partial

import torch
from serve import QUEUE, TEMPERATURE, WIDTHS, Loss, loss_alone
from torch import Tensor
from torch.nn import functional as F

from sonorant.objectives import barlow_twins, byol, moco, simclr, simsiam, vicreg

REDUNDANCY = barlow_twins.Config().redundancy
WEIGHTS = vicreg.Config()


def byol_loss(first: Tensor, second: Tensor) -> Tensor:
    both = byol.distance(first, second.detach()) + byol.distance(second, first.detach())
    return both.mean()


def simsiam_loss(first: Tensor, second: Tensor) -> Tensor:
    both = simsiam.negative_cosine(first, second) + simsiam.negative_cosine(second, first)
    return both.mean() / 2


def barlow_twins_loss(first: Tensor, second: Tensor) -> Tensor:
    on, off = barlow_twins.deviations(barlow_twins.cross_correlation(first, second))
    return on + REDUNDANCY * off


def vicreg_loss(first: Tensor, second: Tensor) -> Tensor:
    distance, spread, redundancy = vicreg.terms(first, second)
    return WEIGHTS.invariance * distance + WEIGHTS.variance * spread + WEIGHTS.covariance * redundancy


class MoCoLoss:
    """With the queue, which takes in a pass's keys before the next one."""

    def __init__(self) -> None:
        width = WIDTHS["moco_loss"]
        self.queue, self.oldest = F.normalize(torch.randn(QUEUE, width), dim=1), 0
        self.waiting = torch.empty(0, width)

    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        self.queue[(self.oldest + torch.arange(len(self.waiting))) % QUEUE] = self.waiting
        self.oldest += len(self.waiting)
        query, self.waiting = F.normalize(first, dim=1), F.normalize(second.detach(), dim=1)
        logits = moco.similarities(query / TEMPERATURE, self.waiting, self.queue)
        return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.int64))


LOSSES: dict[str, Loss] = {
    "ntxent": lambda first, second: simclr.nt_xent(first, second, temperature=TEMPERATURE).mean(),
    "moco_loss": MoCoLoss(),
    "byol_loss": byol_loss,
    "simsiam_loss": simsiam_loss,
    "barlow_twins_loss": barlow_twins_loss,
    "vicreg_loss": vicreg_loss,
}
WORKS = {name: partial(loss_alone, loss) for name, loss in LOSSES.items()}
