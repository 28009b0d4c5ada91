"""lightly: its contrastive losses of two views' embeddings, forward and backward.

lightly has losses, heads and views of images, but no encoder of speech and no views of it. A whole step
would set an encoder written here for it against ours, and its loss would be a small part of that; so the
losses alone are compared, on embeddings of 256 utterances, 128 wide: SimCLR's among themselves, MoCo's with
a queue of 4096, which takes in each pass's keys. Both sides get the same embeddings.
"""

from typing import Any

import lightly_alone
from serve import QUEUE, TEMPERATURE, WIDTH, Work, loss_alone, serve

lightly_alone.make_way()
from lightly.loss.ntx_ent_loss import NTXentLoss  # noqa: E402


def ntxent(task: dict[str, Any]) -> Work:
    return loss_alone(NTXentLoss(temperature=TEMPERATURE))


def moco_loss(task: dict[str, Any]) -> Work:
    loss = NTXentLoss(temperature=TEMPERATURE, memory_bank_size=(QUEUE, WIDTH))
    return loss_alone(lambda first, second: loss(first, second.detach()))  # a slow encoder's keys


if __name__ == "__main__":
    serve({"ntxent": ntxent, "moco_loss": moco_loss})
