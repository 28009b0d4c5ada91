"""HuBERT: name the cluster of what is hidden, first of MFCC, then of an earlier model's frames.

W.-N. Hsu, B. Bolte, Y.-H. H. Tsai, K. Lakhotia, R. Salakhutdinov, A. Mohamed, "HuBERT: Self-Supervised Speech
Representation Learning by Masked Prediction of Hidden Units", IEEE/ACM TASLP 2021,
https://arxiv.org/abs/2106.07447

Spans M of the projected frames become a learned embedding. z_t^k is the label of codebook k for frame t, o_t
the context's output there, A^k a projection, e_c^k the embedding of code c, sim the cosine, tau = 0.1:

    L_m = - sum over t in M, over k of ln p^k(z_t^k | x with M hidden, t)                   (eq. 1, 2)
    p^k(c) = exp(sim(A^k o_t, e_c^k) / tau) / sum over c' of exp(sim(A^k o_t, e_c'^k) / tau)    (eq. 3)
    L = alpha L_m + (1 - alpha) L_u,                          L_u the same over the other frames

`intermediate` gives context layers that predict the same labels too, each with projections and embeddings of
its own; their losses are added. That is ILS-SSL: C. Wang et al., "Self-Supervised Learning for Speech
Recognition with Intermediate Layer Supervision", 2021, https://arxiv.org/abs/2112.08778, whose BASE model
adds the fourth layer of twelve (number 3 here). Of the choices in its authors' code this is
`separate_label_embeds`; their normalisation of an intermediate pre-norm layer is left out.

As in the authors' code, the mean square of learned features is penalised (times 10), and the number that the
loss is divided by is that of the frames that have to be named.

Labels are made of the batch's own audio, so that crops and speeds need no thought: `teacher: null` takes 39
MFCC every 10 ms, `teacher: runs/hubert` what the frozen encoder of that run gives at `teacher_layer`, without
masks or dropout. Centroids are fitted to `fit_hours` of the training data before the first step. Teacher and
centroids are kept in the checkpoint; to go on, a run still reads the teacher's settings from its folder.

A frame is named by the label frame whose middle is nearest to its own, the later one of two. With MFCC that
is every second label behind wav2vec 2.0's convolutions, as published, and the third of four behind log-mel
frames stacked by four.

Deviations: the published labels are fixed once and for all before training, and so are these, but a teacher
computing in bfloat16 may name a frame between two clusters differently in another batch; mini-batches of
k-means are batches of utterances; deltas at an utterance's ends are Kaldi's; each codebook clusters the same
features with its own number of codes (the paper's ensemble, not its product quantisation). Two of fairseq's
habits are not followed, because a neighbour's length would reach the loss: it hides equally many frames in
all utterances of a batch and counts padding in the penalty.

Read `label_perplexity` first (few codes in use: a poor clustering), then `accuracy` (of hidden frames; it has
to rise beyond the share of the commonest label) and `prediction_perplexity` (stays near 1: nothing learned).
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated

import torch
from jaxtyping import Bool, Float, Int
from msgspec import Meta
from torch import Tensor, nn
from torch.nn import functional as F

from sonorant.config import ConfigError
from sonorant.encoders.base import Encoder
from sonorant.encoders.convolutions import frames_and_squares
from sonorant.encoders.mfcc import MFCC
from sonorant.health import FIXED, Sign, few_codes, one_answer
from sonorant.nn.kmeans import Clusters
from sonorant.nn.masking import span_mask
from sonorant.nn.minibatch_kmeans import minibatch_kmeans
from sonorant.nn.usage import code_use, perplexity
from sonorant.objective import Objective, ObjectiveConfig
from sonorant.types import Batch, Hidden, Loss, Padded

MINIMUM_SPANS = 2  # an utterance, as in fairseq

Count = Annotated[int, Meta(ge=1)]


class Config(ObjectiveConfig, frozen=True, kw_only=True):
    """The BASE model's numbers, first iteration. Spans are in frames, of 20 ms behind its front end."""

    codes: Annotated[tuple[Annotated[int, Meta(ge=2)], ...], Meta(min_length=1)] = (100,)  # of each codebook
    teacher: str | None = None  # a run or checkpoint, the best one of a run; null: MFCC
    teacher_layer: Annotated[int, Meta(ge=0)] | None = None  # of its context, from 0
    fit_hours: Annotated[float, Meta(gt=0)] = 1.0  # of audio; the paper finds no gain in more
    cluster_seed: int = 0
    mask_probability: Annotated[float, Meta(gt=0, le=1)] = 0.8  # spans may overlap: about 57 % are hidden
    mask_length: Count = 10
    alpha: Annotated[float, Meta(ge=0, le=1)] = 1.0  # 1: hidden frames alone
    final_dim: Count = 256
    logit_temperature: Annotated[float, Meta(gt=0)] = 0.1
    intermediate: tuple[Annotated[int, Meta(ge=0)], ...] = ()  # layers of the context, from 0
    feature_penalty: Annotated[float, Meta(ge=0)] = 10.0  # for learned front ends only

    def __post_init__(self) -> None:
        if (self.teacher is None) != (self.teacher_layer is None):
            raise ConfigError("teacher and teacher_layer go together: give both, or neither for MFCC")
        if len(set(self.intermediate)) < len(self.intermediate):
            raise ConfigError(f"intermediate: a layer stands twice in {list(self.intermediate)}")

    def taught_by(self) -> str | None:
        return self.teacher

    def build(self, encoder: Encoder) -> "HuBERT":
        """ConfigError: there is a teacher."""
        if self.teacher is not None:
            raise ConfigError(f"objective.teacher: {self.teacher} is not loaded: use `build_with`")
        return HuBERT(encoder, self, None)

    def build_with(self, encoder: Encoder, teacher: Encoder) -> "HuBERT":
        """ValueError: the teacher expects another rate than the encoder."""
        return HuBERT(encoder, self, teacher)


class HuBERT(Objective):
    """See the head of this file."""

    def __init__(self, encoder: Encoder, config: Config, teacher: Encoder | None) -> None:
        super().__init__(encoder)
        self.config = config
        self.prepare_hours = config.fit_hours
        self.labeller = Labeller(encoder, teacher, layer=config.teacher_layer, codes=config.codes)
        self.layers = (*config.intermediate, -1)
        dim, final = encoder.context.dim, config.final_dim
        self.mask_embedding = nn.Parameter(torch.rand(dim))
        self.project_context = nn.ModuleList(nn.Linear(dim, final * len(config.codes)) for _ in self.layers)
        self.code_embeddings = nn.Parameter(torch.rand(len(self.layers), sum(config.codes), final))

    def prepare(self, batches: Iterable[Batch]) -> None:
        """Fits the centroids. ConfigError: the audio does not fill so many clusters."""
        self.labeller.fit(batches, seed=self.config.cluster_seed)

    def forward(self, batch: Batch) -> Loss:
        frames, squares = frames_and_squares(self.encoder.frontend, batch.inputs)
        real, alpha = frames.mask, self.config.alpha
        hidden = self._hidden(frames, batch)
        labels = self.labeller(batch.inputs, real)
        projected = self.encoder.project(frames)
        masked = torch.where(hidden[..., None], self.mask_embedding.to(projected.values), projected.values)
        context = self.encoder.context(Padded(masked, frames.lengths))

        weight = torch.where(hidden, alpha, 1 - alpha)[real]
        total = squares.new_zeros(())
        metrics: dict[str, Tensor] = {}
        for number, layer in enumerate(self.layers):
            logits = self.logits(self._output(context.layers, layer)[real], number)
            for scores, names in zip(logits, labels, strict=True):
                total = (
                    total + (weight * F.cross_entropy(scores, names, reduction="none")).sum()
                )  # eq. 1 to 3
            metrics |= _health(logits, labels, hidden[real], "" if layer < 0 else f"_layer_{layer}")

        named = real & torch.where(hidden, alpha > 0, alpha < 1)
        penalty = (named.sum(1) * squares).sum()
        count = named.sum()
        used = [
            perplexity(names[hidden[real]], codes)
            for names, codes in zip(labels, self.config.codes, strict=True)
        ]
        metrics["label_perplexity"] = _mean(used)
        metrics["code_use"] = _mean(
            code_use(each, codes, int(hidden.sum()))
            for each, codes in zip(used, self.config.codes, strict=True)
        )
        metrics["feature_penalty"] = penalty.detach() / count.clamp(min=1)
        metrics["masked"] = hidden.sum() / frames.lengths.sum().clamp(min=1)
        return Loss(total + self.config.feature_penalty * penalty, count, metrics)

    def signs(self) -> Sequence[Sign]:
        labels = "labels are fixed, so that training cannot mend it: cluster again with fewer codes"
        learning = "lower schedule.peak or lengthen schedule.warmup and begin again"
        codes = few_codes(max(self.config.codes), labels, perplexity="label_perplexity", limit=FIXED)
        return codes, one_answer(learning)

    def logits(
        self, context: Float[Tensor, "frames dim"], number: int
    ) -> list[Float[Tensor, "frames codes"]]:
        """sim / tau of the outputs of predicting layer `number` with every code: one matrix a codebook."""
        outputs = self.project_context[number](context).unflatten(-1, (len(self.config.codes), -1))
        with torch.autocast(context.device.type, enabled=False):
            outputs = F.normalize(outputs.float(), dim=-1) / self.config.logit_temperature
            books = F.normalize(self.code_embeddings[number].float(), dim=-1).split(list(self.config.codes))
            return [outputs[:, book] @ codes.T for book, codes in enumerate(books)]

    def _hidden(self, frames: Padded, batch: Batch) -> Bool[Tensor, "batch time"]:
        hidden: Bool[Tensor, "batch time"] = span_mask(
            frames.lengths.cpu(),
            batch.generators(),
            probability=self.config.mask_probability,
            length=self.config.mask_length,
            minimum=MINIMUM_SPANS,
            time=frames.values.shape[1],
        ).to(frames.values.device)
        return hidden

    def _output(self, layers: Sequence[Tensor], number: int) -> Float[Tensor, "batch time dim"]:
        if number >= len(layers):
            raise ConfigError(
                f"objective.intermediate: {number} is not a layer of the context, 0 to {len(layers) - 1}"
            )
        return layers[number]


class Labeller(nn.Module):
    """Names the frames of an encoder: by the nearest centroids of MFCC, or of what a frozen encoder gives."""

    centroids: Tensor

    def __init__(
        self, encoder: Encoder, teacher: Encoder | None, *, layer: int | None, codes: Sequence[int]
    ) -> None:
        """ValueError: the teacher expects another rate."""
        super().__init__()
        frontend = encoder.frontend
        self.source = MFCC(frontend.rate) if teacher is None else teacher.requires_grad_(False)
        self.source.eval()
        given = MFCC(frontend.rate) if teacher is None else teacher.frontend
        if given.rate != frontend.rate:
            raise ValueError(f"teacher: expects {given.rate} samples a second, the encoder {frontend.rate}")
        self.layer, self.codes = layer, list(codes)
        self.stride, self.source_stride = frontend.stride, given.stride
        self.ahead = frontend.window - given.window  # half a sample each: the first frame's middle
        dim = given.dim if teacher is None else teacher.context.dim
        self.register_buffer("centroids", torch.zeros(sum(codes), dim))

    def train(self, mode: bool = True) -> "Labeller":
        """The source stays as it is in evaluation: no dropout, no layer left out."""
        super().train(mode)
        self.source.eval()
        return self

    @torch.no_grad()
    def forward(self, inputs: Padded, wanted: Bool[Tensor, "batch time"]) -> list[Int[Tensor, " frames"]]:
        """The labels of the wanted frames, utterance by utterance, from each codebook."""
        source = self.features(inputs)
        row, frame = wanted.nonzero(as_tuple=True)
        place = self.places(frame).minimum(source.lengths[row] - 1)
        points = source.values[row, place].float()
        with torch.autocast(points.device.type, enabled=False):
            return [Clusters(book, math.nan).assign(points) for book in self.centroids.split(self.codes)]

    def features(self, inputs: Padded) -> Padded:
        """What is clustered. ConfigError: the teacher has no such layer."""
        if self.layer is None:
            frames: Padded = self.source(inputs)
            return frames
        hidden: Hidden = self.source(inputs)
        if self.layer >= len(hidden.layers):
            last = len(hidden.layers) - 1
            raise ConfigError(f"objective.teacher_layer: {self.layer} is not a layer of it, 0 to {last}")
        return Padded(hidden.layers[self.layer], hidden.lengths)

    def places(self, frames: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
        """The frame of the source whose middle is nearest to that of a frame, the later one of two."""
        twice = self.ahead + 2 * self.stride * frames + self.source_stride
        return twice.div(2 * self.source_stride, rounding_mode="floor").clamp(min=0)

    @torch.no_grad()
    def fit(self, batches: Iterable[Batch], *, seed: int) -> None:
        """Centroids of the features of batches, which are gone through twice for each codebook."""

        def stream() -> Iterator[Float[Tensor, "frames dim"]]:
            for batch in batches:
                source = self.features(batch.inputs)
                yield source.values[source.mask].float()

        generator = torch.Generator().manual_seed(seed)
        for book in self.centroids.split(self.codes):
            try:
                found = minibatch_kmeans(stream, len(book), generator=generator).centroids
            except ValueError as error:
                raise ConfigError(f"objective.codes: {error}") from error
            if len(found) < len(book):
                raise ConfigError(
                    f"objective.codes: {len(book)} codes, but {len(found)} different frames were found "
                    "(take fewer codes, or look for silent audio)"
                )
            book.copy_(found)


@torch.no_grad()
def _health(
    logits: Sequence[Tensor], labels: Sequence[Tensor], hidden: Bool[Tensor, " frames"], suffix: str
) -> dict[str, Float[Tensor, ""]]:
    """What a layer's predictions are like: means over the codebooks."""
    best = [scores.argmax(-1) for scores in logits]
    right = torch.stack([each == names for each, names in zip(best, labels, strict=True)]).float()
    used = (perplexity(each[hidden], scores.shape[1]) for each, scores in zip(best, logits, strict=True))
    return {
        f"accuracy{suffix}": _share(right[:, hidden]),
        f"accuracy_unmasked{suffix}": _share(right[:, ~hidden]),
        f"prediction_perplexity{suffix}": _mean(used),
    }


def _mean(figures: Iterable[Float[Tensor, ""]]) -> Float[Tensor, ""]:
    return torch.stack(list(figures)).mean()


def _share(right: Float[Tensor, "books frames"]) -> Float[Tensor, ""]:
    return right.sum() / max(right.numel(), 1)
