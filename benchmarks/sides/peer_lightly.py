"""lightly: its losses of two views' embeddings, forward and backward.

lightly has losses, heads and views of images, but no encoder of speech and no views of it. A whole step
would set an encoder written here for it against ours, and its loss would be a small part of that; so the
losses alone are compared, on embeddings of 256 utterances, as wide as serve.py tells: SimCLR's among
themselves, MoCo's with a queue of 4096, which takes in each pass's keys, and those without negatives, BYOL's
and SimSiam's in both directions. Both sides get the same embeddings and have the same settings. What differs:

- BYOL: lightly has a negative cosine where ours has the paper's 2 - 2 cos.
- Barlow Twins: lightly copies the correlations off the diagonal and squares the copy, where ours takes the
  diagonal's squares off the sum of all; the same for VICReg's covariances, picked out there by a mask.
"""

from functools import partial

import lightly_alone
from serve import QUEUE, TEMPERATURE, WIDTHS, Loss, loss_alone, serve
from torch import Tensor

lightly_alone.make_way()
from lightly.loss.barlow_twins_loss import BarlowTwinsLoss  # noqa: E402
from lightly.loss.negative_cosine_similarity import NegativeCosineSimilarity  # noqa: E402
from lightly.loss.ntx_ent_loss import NTXentLoss  # noqa: E402
from lightly.loss.vicreg_loss import VICRegLoss  # noqa: E402

contrast = NTXentLoss(temperature=TEMPERATURE, memory_bank_size=(QUEUE, WIDTHS["moco_loss"]))
cosine = NegativeCosineSimilarity()


def both_ways(first: Tensor, second: Tensor) -> Tensor:
    return (cosine(first, second.detach()) + cosine(second, first.detach())) / 2


LOSSES: dict[str, Loss] = {
    "ntxent": NTXentLoss(temperature=TEMPERATURE),
    "moco_loss": lambda first, second: contrast(first, second.detach()),  # a slow encoder's keys
    "byol_loss": both_ways,
    "simsiam_loss": both_ways,
    "barlow_twins_loss": BarlowTwinsLoss(),
    "vicreg_loss": VICRegLoss(),
}

if __name__ == "__main__":
    serve({name: partial(loss_alone, loss) for name, loss in LOSSES.items()})
