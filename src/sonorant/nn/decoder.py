"""A Transformer decoder: labels one by one, each from those before it and from a memory.

Vaswani et al., "Attention Is All You Need", NeurIPS 2017, https://arxiv.org/abs/1706.03762, section 3.1, with
layer normalisation in front of each block, and rotary positions of the labels. Label 0, which is the blank
elsewhere, starts a sentence where it goes in and ends it where it comes out.
"""

from dataclasses import dataclass, replace
from typing import Annotated

import torch
from jaxtyping import Bool, Float, Int
from msgspec import Meta
from torch import Tensor, nn
from torch.nn import functional as F

from sonorant.config import Config, ConfigError
from sonorant.nn.attention import Angles, CrossAttention, KeysValues, SelfAttention, key_mask
from sonorant.nn.dropout import Dropout
from sonorant.nn.feedforward import feedforward
from sonorant.nn.positions import rotary_angles
from sonorant.types import Padded

EDGE = 0  # the label at both ends of a sentence
Positive = Annotated[int, Meta(ge=1)]


class DecoderConfig(Config, frozen=True, kw_only=True):
    dim: Positive = 256
    layers: Positive = 3
    heads: Positive = 4
    feedforward: Positive = 1024
    dropout: Annotated[float, Meta(ge=0, lt=1)] = 0.1

    def __post_init__(self) -> None:
        if self.dim % (2 * self.heads):
            raise ConfigError(f"decoder.heads {self.heads}: twice of it must divide decoder.dim {self.dim}")


@dataclass(frozen=True)
class Cache:
    """What decoding keeps between labels. Rows are hypotheses, as many for each utterance of the memory."""

    memory: tuple[KeysValues, ...]  # of each layer: utterances heads time width
    mask: Bool[Tensor, "utterances 1 1 time"] | None
    past: tuple[KeysValues, ...]  # of each layer: rows heads labels width

    def choose(self, rows: Int[Tensor, " chosen"]) -> "Cache":
        """The hypotheses of these numbers, of which some may come twice."""
        return replace(self, past=tuple((keys[rows], content[rows]) for keys, content in self.past))


class Decoder(nn.Module):
    """Weights start normal with deviation 0.02, biases at zero, as in the encoder's Transformer."""

    def __init__(self, config: DecoderConfig, *, labels: int, memory_dim: int) -> None:
        super().__init__()
        self.width = config.dim // config.heads
        self.embedding = nn.Embedding(labels, config.dim)
        self.dropout = Dropout(config.dropout)
        self.layers = nn.ModuleList(DecoderLayer(config, memory_dim) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.dim)
        self.head = nn.Linear(config.dim, labels)
        self.apply(_initialise)

    def forward(
        self,
        labels: Int[Tensor, "batch steps"],
        memory: Padded,
        hidden: Bool[Tensor, "batch steps"] | None = None,
    ) -> Float[Tensor, "batch steps labels"]:
        """The logits of what comes behind each label, all labels before it being given.

        `hidden` labels are read as the pad symbol, whose embedding is zero and learns nothing: that there was
        a label can be seen, and not which.
        """
        steps = labels.shape[1]
        angles = rotary_angles(steps, self.width, device=labels.device)
        causal = torch.ones(steps, steps, dtype=torch.bool, device=labels.device).tril()[None, None]
        values, mask = self.embedding(labels), key_mask(memory)
        if hidden is not None:
            values = values.masked_fill(hidden[..., None], 0)
        values = self.dropout(values)
        for layer in self.layers:
            assert isinstance(layer, DecoderLayer)
            known = layer.cross.split(memory.values)
            values, _ = layer(values, None, causal, known, mask, angles)
        logits: Tensor = self.head(self.norm(values))
        return logits

    def begin(self, memory: Padded, rows: int) -> Cache:
        """Before the first label, with so many hypotheses for each utterance."""
        layers = [layer for layer in self.layers if isinstance(layer, DecoderLayer)]
        known = tuple(layer.cross.split(memory.values) for layer in layers)
        shape = (rows * len(memory.lengths), layers[0].attention.heads, 0, self.width)
        none = known[0][0].new_zeros(shape)
        return Cache(known, key_mask(memory), tuple((none, none) for _ in layers))

    def step(self, labels: Int[Tensor, " rows"], cache: Cache) -> tuple[Float[Tensor, "rows labels"], Cache]:
        """ln p of what comes behind one more label of each hypothesis, as `forward` has it."""
        place = cache.past[0][0].shape[2]
        cosines, sines = rotary_angles(place + 1, self.width, device=labels.device)
        angles = cosines[place:], sines[place:]
        values, grown = self.embedding(labels)[:, None], []
        for layer, past, known in zip(self.layers, cache.past, cache.memory, strict=True):
            values, new = layer(values, past, None, known, cache.mask, angles)
            grown.append(new)
        logits: Tensor = self.head(self.norm(values))
        return F.log_softmax(logits[:, 0].float(), dim=-1), replace(cache, past=tuple(grown))


class DecoderLayer(nn.Module):
    def __init__(self, config: DecoderConfig, memory_dim: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.dim)
        self.attention = SelfAttention(config.dim, heads=config.heads)
        self.cross_norm = nn.LayerNorm(config.dim)
        self.cross = CrossAttention(config.dim, memory_dim, heads=config.heads)
        self.feedforward_norm = nn.LayerNorm(config.dim)
        self.feedforward = feedforward(config.dim, config.feedforward, dropout=config.dropout)
        self.dropout = Dropout(config.dropout)

    def forward(
        self,
        values: Float[Tensor, "rows steps dim"],
        past: KeysValues | None,
        mask: Bool[Tensor, "1 1 steps steps"] | None,
        memory: KeysValues,
        memory_mask: Bool[Tensor, "utterances 1 1 time"] | None,
        angles: Angles | None,
    ) -> tuple[Float[Tensor, "rows steps dim"], KeysValues]:
        """The values, and the keys and values of all steps so far."""
        queries, (keys, content) = self.attention.split(self.attention_norm(values), angles)
        if past is not None:
            keys, content = torch.cat([past[0], keys], 2), torch.cat([past[1], content], 2)
        values = values + self.dropout(self.attention.join(queries, (keys, content), mask))
        # the hypotheses of an utterance ask the same memory: to it they are steps, so that it is not copied
        asked = self.cross_norm(values).reshape(len(memory[0]), -1, values.shape[-1])
        found = self.cross(asked, memory, memory_mask).reshape(values.shape)
        values = values + self.dropout(found)
        fed: Tensor = self.dropout(self.feedforward(self.feedforward_norm(values)))
        return values + fed, (keys, content)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
