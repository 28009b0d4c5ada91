"""Which items ABX compares with which: cells of X and A of one phone and B of another."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sonorant.evaluate.items import Items, drawn

Speakers = Literal["within", "across"]


@dataclass(frozen=True)
class Group:
    """The A and B of one speaker in one context, and the X that are compared with them.

    A cell is a kind of X, which is a phone of one speaker, and a phone of B.
    """

    speaker: int
    columns: Int[Tensor, " n"]  # items that are A and B
    phones: Int[Tensor, " phones"]  # different labels of these
    phone: Int[Tensor, " n"]  # each one's place among them
    rows: Int[Tensor, " m"]  # items that are X: the same tensor within speakers
    kinds: Int[Tensor, "kinds 2"]  # speaker and label of X
    kind: Int[Tensor, " m"]
    triples: Int[Tensor, "kinds phones"]  # of each cell, 0 where there is none

    @property
    def within(self) -> bool:
        return self.rows is self.columns


def groups(items: Items, speakers: Speakers, *, other_speakers: int | None, seed: int) -> Iterator[Group]:
    """All groups that have a cell; of each phone's X in a group at most `other_speakers`, drawn, are kept."""
    found = torch.stack([items.contexts, items.speakers], 1).unique(dim=0, return_inverse=True)
    places, owner = found
    members = owner.argsort(stable=True).split(owner.bincount().tolist())
    _, context_sizes = items.contexts.unique(return_counts=True)
    contexts = items.contexts.argsort(stable=True).split(context_sizes.tolist())
    for number, (place, columns) in enumerate(zip(places.tolist(), members, strict=True)):
        context, speaker = place
        phones, phone, counts = items.labels[columns].unique(return_inverse=True, return_counts=True)
        if len(phones) < 2:
            continue
        rows = columns
        if speakers == "across":
            rows = contexts[context]
            rows = rows[(items.speakers[rows] != speaker) & torch.isin(items.labels[rows], phones)]
            rows = _of_few(items, rows, other_speakers, seed + number)
        marks = torch.stack([items.speakers[rows], items.labels[rows]], 1)
        kinds, kind, sizes = marks.unique(dim=0, return_inverse=True, return_counts=True)
        own = kinds[:, 1:] == phones
        partners = (own * counts).sum(1) - int(rows is columns)
        triples = ((sizes * partners)[:, None] * counts).masked_fill(own, 0)
        if bool(triples.any()):
            yield Group(speaker, columns, phones, phone, rows, kinds, kind, triples)


def score(
    group: Group, distances: Float[Tensor, "m n"], weights: Float[Tensor, "kinds phones"]
) -> tuple[Float[Tensor, "kinds phones"], Float[Tensor, " m"], Float[Tensor, " n"]]:
    """Each cell's error, and how the errors' weighted sum moves per weight of an item as X, and as A or B.

    Weights of cells that do not exist are 0, and so are their errors.
    """
    errors = torch.zeros_like(weights)
    as_x = weights.new_zeros(len(group.rows))
    as_other = weights.new_zeros(len(group.columns))
    for number in range(len(group.kinds)):
        own = group.phones[group.phone] == group.kinds[number, 1]
        x, a, b = (mask.nonzero()[:, 0] for mask in (group.kind == number, own, ~own))
        partners = len(a) - group.within
        if not partners:
            continue
        near = distances[x][:, a]
        if group.within:
            near.fill_diagonal_(torch.inf)  # X is no A of its own; both come in the columns' order
        far = distances[x][:, b]
        wrong = 1 - _smaller(near, far) / partners
        phones = group.phone[b]
        counts = torch.bincount(phones, minlength=len(group.phones)).clamp(min=1)
        errors[number].index_add_(0, phones, wrong.mean(0)).div_(counts)
        value = (weights[number] / counts)[phones]  # of each B
        expected = weights[number] @ errors[number]
        as_x[x] += (wrong @ value - expected) / len(x)
        as_other[b] += value * (wrong.mean(0) - errors[number][phones])
        as_other[a] += _weight_below(far, value, near).sum(0) / (len(x) * partners) - expected / len(a)
    return errors, as_x, as_other


def indispensable(
    group: Group, losses: Float[Tensor, "kinds phones"]
) -> tuple[Float[Tensor, " m"], Float[Tensor, " n"]]:
    """The losses of the cells that would vanish without an item as X, and as A or B; 0 for other items."""
    counts, sizes = torch.bincount(group.phone), torch.bincount(group.kind)
    single = counts == 1
    of_kind = losses.sum(1)
    as_x = of_kind.masked_fill(sizes != 1 + group.within, 0)[group.kind]
    as_other = losses.sum(0)
    if not group.within:
        as_other = as_other + of_kind @ (group.kinds[:, 1:] == group.phones).double()
    return as_x, as_other.masked_fill(~single, 0)[group.phone]


def _of_few(items: Items, rows: Tensor, limit: int | None, seed: int) -> Tensor:
    """The items of at most `limit` speakers of each label."""
    if limit is None:
        return rows
    marks = torch.stack([items.labels[rows], items.speakers[rows]], 1)
    kinds, kind = marks.unique(dim=0, return_inverse=True)
    return rows[torch.isin(kind, drawn(kinds[:, :1], limit, seed))]


def _smaller(near: Float[Tensor, "m a"], far: Float[Tensor, "m b"]) -> Float[Tensor, "m b"]:
    """How many of a row's near ones are smaller than each far one; equal ones count one half."""
    ordered = near.sort(1).values
    below = torch.searchsorted(ordered, far) + torch.searchsorted(ordered, far, right=True)
    return below.double() / 2


def _weight_below(
    far: Float[Tensor, "m b"], value: Float[Tensor, " b"], near: Float[Tensor, "m a"]
) -> Float[Tensor, "m a"]:
    """The summed value of a row's far ones that are smaller than each near one, with half of equal ones.

    0 where the near one is infinite: it is X itself.
    """
    ordered, order = far.sort(1)
    summed = torch.nn.functional.pad(value[order].cumsum(1), (1, 0))
    low, high = torch.searchsorted(ordered, near), torch.searchsorted(ordered, near, right=True)
    return ((summed.gather(1, low) + summed.gather(1, high)) / 2).masked_fill(near.isinf(), 0)
