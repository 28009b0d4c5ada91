"""wav2vec 2.0: tell the quantised frame behind a mask from frames hidden elsewhere in the utterance.

A. Baevski, H. Zhou, A. Mohamed, M. Auli, "wav2vec 2.0: A Framework for Self-Supervised Learning of Speech
Representations", NeurIPS 2020, https://arxiv.org/abs/2006.11477

Frames z_t are quantised to q_t (eq. 1, Gumbel softmax). Spans of the projected frames are replaced by a
learned embedding; c_t is the context's output there. With K other hidden frames of the utterance as
distractors, and p_gv the batch's mean softmax of entry v in group g,

    L = L_m + alpha L_d                                                                        (eq. 2)
    L_m = -log( exp(sim(c_t, q_t) / kappa) / sum over q' of exp(sim(c_t, q') / kappa) )        (eq. 3)
    L_d = 1/(GV) sum over g, v of p_gv log p_gv                                                (eq. 4)

What is computed is the authors' code, fairseq, where it departs from the paper: L_d is
(GV - sum over g of exp(H(p_g))) / GV, the entries that lie idle; a distractor that is the same codeword as
the target is left out; and the mean square of the front end's features before their normalisation is
penalised, for each utterance times its hidden frames (0 in the LARGE model). Two of fairseq's habits are not
followed, because a neighbour's length would reach the loss: it hides equally many frames in all utterances
of a batch and counts padding in the penalty. fairseq's dropout of 0.1 on the quantiser's input is left out.
The front end's gradient is scaled by 0.1 in the BASE model: that is a setting of the front end.

If the codebook collapses, every distractor equals the target and is left out: the loss is 0 and the accuracy
1, as if all were well. Look at `code_perplexity` (the number of groups: one code each) and `same_negatives`
(1) instead.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from msgspec import Meta
from torch import Generator, Tensor, nn

from sonorant.encoders.base import Encoder
from sonorant.encoders.convolutions import frames_and_squares
from sonorant.health import Sign, few_codes, same_negatives
from sonorant.nn.masking import span_mask
from sonorant.nn.product_quantizer import GumbelProductQuantizer
from sonorant.nn.usage import code_use
from sonorant.objective import Objective, ObjectiveConfig
from sonorant.types import Batch, Loss, Padded

MINIMUM_SPANS = 2  # an utterance, as in fairseq: a single hidden frame has no distractors


class Config(ObjectiveConfig, frozen=True, kw_only=True):
    """The BASE model's numbers. Lengths are in frames: of 20 ms behind the paper's front end."""

    mask_probability: Annotated[float, Meta(ge=0, le=1)] = 0.65  # spans may overlap, so that 49 % are hidden
    mask_length: Annotated[int, Meta(ge=1)] = 10
    groups: Annotated[int, Meta(ge=1)] = 2
    entries: Annotated[int, Meta(ge=2)] = 320
    final_dim: Annotated[int, Meta(ge=1)] = 256  # of codewords, and of the space where they are compared
    temperature_start: Annotated[float, Meta(gt=0)] = 2.0
    temperature_decay: Annotated[float, Meta(gt=0, le=1)] = 0.999995  # an update
    temperature_floor: Annotated[float, Meta(gt=0)] = 0.5  # LARGE: 0.1
    negatives: Annotated[int, Meta(ge=1)] = 100
    logit_temperature: Annotated[float, Meta(gt=0)] = 0.1
    diversity: Annotated[float, Meta(ge=0)] = 0.1
    feature_penalty: Annotated[float, Meta(ge=0)] = 10.0  # LARGE: 0; for learned front ends only

    def build(self, encoder: Encoder) -> "Wav2Vec2":
        """ValueError: `final_dim` does not divide into the groups."""
        return Wav2Vec2(encoder, self)


@dataclass(frozen=True)
class Draws:
    """What chance decides: the hidden frames of a batch, utterance by utterance, and what is drawn for each.

    `negatives` index the hidden frames of the same utterance."""

    mask: Bool[Tensor, "batch time"]
    negatives: Int[Tensor, "frames negatives"]
    noise: Float[Tensor, "frames groups entries"] | None  # only in training


class Wav2Vec2(Objective):
    """See the head of this file."""

    def __init__(self, encoder: Encoder, config: Config) -> None:
        super().__init__(encoder)
        self.config = config
        self.couples_utterances = config.diversity != 0
        frame_dim, context_dim = encoder.frontend.dim, encoder.context.dim
        self.quantizer = GumbelProductQuantizer(
            frame_dim,
            config.final_dim,
            groups=config.groups,
            entries=config.entries,
            temperature=(config.temperature_start, config.temperature_decay, config.temperature_floor),
        )
        self.mask_embedding = nn.Parameter(torch.rand(context_dim))
        self.project_context = nn.Linear(context_dim, config.final_dim)
        self.project_code = nn.Linear(config.final_dim, config.final_dim)

    def forward(self, batch: Batch) -> Loss:
        frames, squares = frames_and_squares(self.encoder.frontend, batch.inputs)
        draws = self.draw(frames, batch.generators())
        mask, counts = draws.mask, draws.mask.sum(1)

        projected = self.encoder.project(frames)
        hidden = torch.where(mask[..., None], self.mask_embedding.to(projected.values), projected.values)
        context = self.encoder.context(Padded(hidden, frames.lengths)).last.values[mask]
        quantized = self.quantizer(frames.values[mask], draws.noise)

        logits = self.logits(context, quantized.values, quantized.codes, draws.negatives, counts.tolist())
        count = counts.sum()
        contrastive = -logits.log_softmax(1)[:, 0].sum()  # eq. 3
        size = self.config.groups * self.config.entries
        diversity = count * (size - quantized.prob_perplexity) / size  # eq. 4, in fairseq's form
        penalty = (counts * squares).sum()
        total = (  # eq. 2, and the penalty
            contrastive + self.config.diversity * diversity + self.config.feature_penalty * penalty
        )
        shared = count.clamp(min=1)
        metrics = {
            "contrastive": contrastive.detach() / shared,
            "accuracy": (logits[:, :1] > logits[:, 1:]).all(1).sum() / shared,
            "same_negatives": logits[:, 1:].isneginf().sum() / (shared * self.config.negatives),
            "prob_perplexity": quantized.prob_perplexity.detach(),
            "code_perplexity": quantized.code_perplexity,
            "code_use": code_use(
                quantized.code_perplexity / self.config.groups, self.config.entries, len(context)
            ),
            "feature_penalty": penalty.detach() / shared,
            "masked": count / frames.lengths.sum().clamp(min=1),
            "temperature": self.quantizer.temperature.clone(),
        }
        return Loss(total, count, metrics)

    def signs(self) -> Sequence[Sign]:
        advice = "raise objective.diversity, or lower schedule.peak, and begin again"
        codes = self.config.groups * self.config.entries
        seen = ", {same_negatives:.0%} of the negatives equal the positive"
        return few_codes(codes, advice, seen=seen), same_negatives(advice)

    def after_step(self, step: int) -> None:
        self.quantizer.anneal(step)

    def draw(self, frames: Padded, generators: Sequence[Generator]) -> Draws:
        """Spans, negatives and Gumbel noise of each utterance from its generator."""
        mask = span_mask(
            frames.lengths.cpu(),
            generators,
            probability=self.config.mask_probability,
            length=self.config.mask_length,
            minimum=MINIMUM_SPANS,
            time=frames.values.shape[1],
        )
        mask = mask & (mask.sum(1, keepdim=True) > 1)
        device = frames.values.device
        hidden = list(zip(mask.sum(1).tolist(), generators, strict=True))
        negatives = torch.cat([_others(n, self.config.negatives, generator) for n, generator in hidden])
        noise = None
        if self.training:
            noise = torch.cat([self.quantizer.noise(n, generator) for n, generator in hidden]).to(device)
        return Draws(mask.to(device), negatives.to(device), noise)

    def logits(
        self,
        context: Float[Tensor, "frames context_dim"],
        quantized: Float[Tensor, "frames dim"],
        codes: Int[Tensor, "frames groups"],
        negatives: Int[Tensor, "frames negatives"],
        counts: Sequence[int],
    ) -> Float[Tensor, "frames candidates"]:
        """sim / kappa with the target (first) and its negatives, -inf for those that equal the target.

        All similarities within an utterance are one product of matrices; the negatives are picked from it.
        """
        predicted, targets = self.project_context(context), self.project_code(quantized)
        rows = []
        with torch.autocast(context.device.type, enabled=False):
            predicted = F.normalize(predicted.float(), dim=-1) / self.config.logit_temperature
            targets = F.normalize(targets.float(), dim=-1)
            parts = (part.split(list(counts)) for part in (predicted, targets, codes, negatives))
            for c, q, code, others in zip(*parts, strict=True):
                same = (code[:, None] == code).all(-1)
                similar = (c @ q.T).masked_fill(same, -torch.inf)
                positive = (c * q).sum(-1, keepdim=True)
                rows.append(torch.cat([positive, similar.gather(1, others)], dim=1))
        return torch.cat(rows)


def _others(count: int, negatives: int, generator: Generator) -> Int[Tensor, "frames negatives"]:
    """For each of `count` frames so many draws, with replacement, from the others."""
    drawn = torch.randint(max(count - 1, 1), (count, negatives), generator=generator)
    return drawn + (drawn >= torch.arange(count)[:, None])
