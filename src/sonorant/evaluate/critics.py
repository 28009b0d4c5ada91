"""Lower bounds on the information of continuous frames, by a critic instead of clusters.

A critic scores pairs, f(x, y), high where x and y belong together. With p(x, y) the pairs of a frame and the
frame a gap later, and p(x) p(y) those of different utterances,

    InfoNCE  E_p(x,y) [f(x, y) - log (1/B) sum_j exp f(x, y_j)]            y_1 = y, B - 1 others from p(y)
    NWJ      E_p(x,y) [f(x, y)] - E_p(x)p(y) [exp(f(x, y) - 1)]
    DV       E_p(x,y) [f(x, y)] - log E_p(x)p(y) [exp f(x, y)]

- InfoNCE: A. van den Oord, Y. Li and O. Vinyals, 2018, https://arxiv.org/abs/1807.03748. It cannot exceed
  log B, however much there is to tell.
- NWJ: X. Nguyen, M. Wainwright and M. Jordan, 2010, https://arxiv.org/abs/0809.0853; its scatter grows like
  the exponential of the information.
- DV: M. Donsker and S. Varadhan, 1983, with a trained critic as in MINE, M. Belghazi et al., 2018,
  https://arxiv.org/abs/1801.04062. The logarithm of a mean over few frames is too small, on average: of the
  three, DV is the one that may lie above the truth, by about half the squared error of that mean.
- All three side by side: B. Poole et al., 2019, https://arxiv.org/abs/1905.06922.

The critic is g(x)^T h(y) + a(x) + b(y) with a linear layer and a hidden layer side by side for each of (g, a)
and (h, b), softly limited to +-`LIMIT` nats. It is trained on each bound itself (MINE's correction of the DV
gradient is left out: a batch has B^2 pairs) and stopped on validation utterances; test utterances give the
figure, so that no bound profits from what was learnt by heart. Pairs of different utterances only stand for
p(x) p(y): the other frames of an utterance share its speaker and channel. No number of clusters matters here;
what matters is whether the critic finds what is there, so a figure below the clusters' says nothing.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sonorant.config import Config
from sonorant.evaluate.later import Later, sampled
from sonorant.evaluate.linear import standardizer
from sonorant.evaluate.sampling import Figure, Parts, SamplingError, interval, partners, resamples
from sonorant.evaluate.store import FeatureStore

LIMIT = 10.0  # nats: a single pair cannot weigh more than exp(10)
BLOCKS = 500  # of utterances at most, for the bootstrap: its pairs of blocks are in memory


class CriticConfig(Config, frozen=True, kw_only=True):
    """The budget of a critic: the same for every layer and model that are compared."""

    gap: float = 0.1  # seconds, rounded to frames
    frames: int = 30_000  # pairs at most to fit on and to measure on, and an eighth to validate on
    dim: int = 64  # of g and h
    hidden: int = 256
    batch: int = 256  # pairs an update, in all combinations; InfoNCE's B
    updates: int = 1000  # at most
    checks: int = 20  # on the validation part, evenly among the updates
    patience: int = 4  # checks without a better validation bound before it stops
    learning_rate: float = 1e-3
    seed: int = 0


@dataclass(frozen=True)
class CriticScore:
    """A bound in nats, that of shuffled pairs, and what both rest on."""

    bound: str
    layer: str
    targets: str  # the layer whose frames are told
    gap: float  # seconds
    frame_seconds: float  # from one target frame to the next
    figure: Figure
    shuffled: Figure
    ceiling: float | None  # in nats, of InfoNCE alone
    test_frames: int
    test_utterances: int
    seconds: float  # of wall time


def by_critic(
    store: FeatureStore,
    layer: str,
    bound: str,
    config: CriticConfig | None = None,
    *,
    targets: FeatureStore | None = None,
    target_layer: str | None = None,
    parts: Parts | None = None,
) -> CriticScore:
    """What a layer's frames tell of frames `gap` seconds later, of the pairs that `label_free` takes too.

    SamplingError: the frames have seen what comes later, too few pairs are there, or the bound is unknown.
    """
    started = time.perf_counter()
    config = config or CriticConfig()
    target_layer = target_layer or layer
    pairs, gap = sampled(
        store,
        layer,
        targets=targets or store,
        target_layer=target_layer,
        gap=config.gap,
        frames=config.frames,
        seed=config.seed,
        parts=parts,
    )
    generator = torch.Generator().manual_seed(config.seed)
    mixed = [replace(each, targets=each.targets[partners(each.utterances, generator)]) for each in pairs]
    figure, shuffled = (critic_bound(each, bound, config) for each in (pairs, mixed))
    test = pairs[2]
    return CriticScore(
        bound=bound,
        layer=layer,
        targets=target_layer,
        gap=gap,
        frame_seconds=(targets or store).frame_seconds,
        figure=figure,
        shuffled=shuffled,
        ceiling=math.log(min(config.batch, len(test.frames))) if bound == "infonce" else None,
        test_frames=len(test.frames),
        test_utterances=len(test.utterances.unique()),
        seconds=time.perf_counter() - started,
    )


def critic_bound(pairs: Sequence[Later], bound: str, config: CriticConfig) -> Figure:
    """The bound on the third of three parts, by a critic fitted to the first and stopped on the second.

    The interval is that of bootstrap samples of the test utterances, moved so that their mean is the figure.
    """
    if bound not in OBJECTIVES:
        raise SamplingError(f"bounds: {bound!r} is not one of {', '.join(OBJECTIVES)}")
    train = pairs[0]
    x, y = standardizer(train.frames), standardizer(train.targets)
    train, validation, test = (
        Later(x(each.frames), y(each.targets), each.utterances.unique(return_inverse=True)[1])
        for each in pairs
    )
    critic = _fit(train, validation, bound, config)
    sums = _sums(critic, test, config)
    value = float(sums.bounds(torch.ones(1, len(sums.counts), dtype=torch.float64))[bound])
    replicates = sums.bounds(resamples(len(sums.counts), seed=config.seed))[bound]
    replicates = replicates[replicates.isfinite()]  # a sample of one utterance alone has no pairs of two
    return Figure(value, *interval(replicates - replicates.mean() + value))


class Critic(nn.Module):
    """Scores of all combinations of frames and targets."""

    def __init__(self, frames: int, targets: int, config: CriticConfig) -> None:
        super().__init__()
        self.x, self.y = _Side(frames, config), _Side(targets, config)

    def forward(self, frames: Float[Tensor, "n dim"], targets: Float[Tensor, "m other"]) -> Tensor:
        g, h = self.x(frames), self.y(targets)
        products = g[:, 1:] @ h[:, 1:].T / math.sqrt(g.shape[1] - 1)
        return LIMIT * torch.tanh((products + g[:, :1] + h[:, 0]) / LIMIT)


class _Side(nn.Module):
    """One side's embedding, its own term first: a linear layer and a hidden layer, added."""

    def __init__(self, dim: int, config: CriticConfig) -> None:
        super().__init__()
        self.straight = nn.Linear(dim, config.dim + 1, bias=False)
        self.bent = nn.Sequential(
            nn.Linear(dim, config.hidden), nn.ReLU(), nn.Linear(config.hidden, config.dim + 1)
        )

    def forward(self, values: Float[Tensor, "n dim"]) -> Float[Tensor, "n embedded"]:
        return torch.add(self.straight(values), self.bent(values))


def _infonce(scores: Tensor, others: Tensor) -> Tensor:
    return _shares(scores, others).mean()


def _nwj(scores: Tensor, others: Tensor) -> Tensor:
    return scores.diagonal().mean() - (scores[others] - 1).exp().mean()


def _dv(scores: Tensor, others: Tensor) -> Tensor:
    return scores.diagonal().mean() - scores[others].logsumexp(0) + math.log(int(others.sum()))


def _shares(scores: Float[Tensor, "n n"], others: Bool[Tensor, "n n"]) -> Float[Tensor, " n"]:
    """InfoNCE of each row: its own target among those of other utterances."""
    candidates = others | torch.eye(len(scores), dtype=torch.bool)
    among = scores.masked_fill(~candidates, -torch.inf).logsumexp(1)
    return scores.diagonal() - among + candidates.sum(1).log()


OBJECTIVES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"infonce": _infonce, "nwj": _nwj, "dv": _dv}


def _fit(train: Later, validation: Later, bound: str, config: CriticConfig) -> Critic:
    """The critic of the check with the highest validation bound; Adam with a rate that falls to zero."""
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        critic = Critic(train.frames.shape[1], train.targets.shape[1], config)
    optimizer = torch.optim.Adam(critic.parameters(), lr=config.learning_rate, fused=True)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.updates)
    generator = torch.Generator().manual_seed(config.seed)
    best, kept, waited = -math.inf, critic.state_dict(), 0
    for update in range(1, config.updates + 1):
        chosen = torch.randint(len(train.frames), (config.batch,), generator=generator)
        others = _others(train.utterances[chosen])
        if others.any():
            scores = critic(train.frames[chosen], train.targets[chosen])
            optimizer.zero_grad()
            (-OBJECTIVES[bound](scores, others)).backward()
            nn.utils.clip_grad_norm_(critic.parameters(), 1.0)
            optimizer.step()
        decay.step()
        if update % max(1, config.updates // config.checks):
            continue
        sums = _sums(critic, validation, config)
        value = float(sums.bounds(torch.ones(1, len(sums.counts), dtype=torch.float64))[bound])
        if value > best:
            best, waited = value, 0
            kept = {name: each.clone() for name, each in critic.state_dict().items()}
        elif (waited := waited + 1) == config.patience:
            break
    critic.load_state_dict(kept)
    return critic


@dataclass(frozen=True)
class _Sums:
    """What a critic gives on a part, summed over blocks of utterances."""

    counts: Float[Tensor, " blocks"]  # pairs that belong together
    joint: Float[Tensor, " blocks"]  # f of them
    shares: Float[Tensor, " blocks"]  # InfoNCE of them
    pairs: Float[Tensor, "blocks blocks"]  # how many there are of two blocks
    exponentials: Float[Tensor, "blocks blocks"]  # exp f of them

    def bounds(self, draws: Float[Tensor, "draws blocks"]) -> dict[str, Float[Tensor, " draws"]]:
        """Each bound, with blocks counted so often."""
        frames = draws @ self.counts
        joint = draws @ self.joint / frames
        pairs = ((draws @ self.pairs) * draws).sum(1)
        marginal = ((draws @ self.exponentials) * draws).sum(1) / pairs
        return {
            "infonce": draws @ self.shares / frames,
            "nwj": joint - marginal / math.e,
            "dv": joint - marginal.log(),
        }


@torch.no_grad()
def _sums(critic: Critic, part: Later, config: CriticConfig) -> _Sums:
    """Over batches of random pairs, each in all combinations of different utterances."""
    owners = part.utterances % BLOCKS
    blocks = int(owners.max()) + 1
    counts, joint, shares = torch.zeros(3, blocks, dtype=torch.float64)
    pairs, exponentials = torch.zeros(2, blocks * blocks, dtype=torch.float64)
    order = torch.randperm(len(owners), generator=torch.Generator().manual_seed(config.seed))
    for batch in order.tensor_split(max(1, round(len(owners) / config.batch))):
        owner, others = owners[batch], _others(owners[batch])
        scores = critic(part.frames[batch], part.targets[batch]).double()
        counts.index_add_(0, owner, torch.ones(len(batch), dtype=torch.float64))
        joint.index_add_(0, owner, scores.diagonal())
        shares.index_add_(0, owner, _shares(scores, others))
        places = (owner[:, None] * blocks + owner)[others]
        pairs.index_add_(0, places, torch.ones(len(places), dtype=torch.float64))
        exponentials.index_add_(0, places, scores[others].exp())
    return _Sums(counts, joint, shares, pairs.view(blocks, blocks), exponentials.view(blocks, blocks))


def _others(owners: Int[Tensor, " n"]) -> Bool[Tensor, "n n"]:
    return owners[:, None] != owners
