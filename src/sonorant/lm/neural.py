"""A recurrent model of characters: what n-grams know, and what lies further back.

Mikolov, Karafiat, Burget, Cernocky and Khudanpur, "Recurrent neural network based language model",
Interspeech 2010, https://www.fit.vut.cz/research/publication-file/9252/mikolov_interspeech2010_IS100722.pdf,
with long short-term memory (Sundermeyer, Schlueter and Ney, "LSTM Neural Networks for Language Modeling",
Interspeech 2012). Characters serve recognisers of subwords, too, and know every word.

A folder has `config.json` and `model.safetensors`; nothing in it is executed.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import torch
from jaxtyping import Float, Int
from msgspec import Meta
from numpy import ndarray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from sonorant.config import Config, convert
from sonorant.lm.arpa import END
from sonorant.nn.dropout import Dropout

CONFIG, WEIGHTS = "config.json", "model.safetensors"
EDGE, UNSEEN = 0, 1  # the symbol at both ends of a sentence, and that of characters that training never saw
LN10 = math.log(10)

State = tuple[Float[Tensor, "layers batch dim"], Float[Tensor, "layers batch dim"]]
Size = Annotated[int, Meta(ge=1)]


class NeuralError(ValueError):
    """A folder that has no neural language model."""


class NeuralConfig(Config, frozen=True, kw_only=True):
    """`characters` are those of the training text, in the order of their symbols, from 2 on."""

    characters: Annotated[tuple[str, ...], Meta(min_length=1)]
    normalisation: str  # of the text
    dim: Size = 256
    layers: Size = 1
    dropout: Annotated[float, Meta(ge=0, lt=1)] = 0.3  # before and behind the recurrent layers


class Network(nn.Module):
    """Symbols to the log probabilities of the ones behind them. Weights start as PyTorch has it."""

    def __init__(self, config: NeuralConfig) -> None:
        super().__init__()
        symbols = 2 + len(config.characters)
        self.embedding = nn.Embedding(symbols, config.dim)
        self.recurrent = nn.LSTM(config.dim, config.dim, num_layers=config.layers, batch_first=True)
        self.dropout = Dropout(config.dropout)
        self.out = nn.Linear(config.dim, symbols)

    def forward(
        self, symbols: Int[Tensor, "batch time"], state: State | None = None
    ) -> tuple[Float[Tensor, "batch time symbols"], State]:
        """`state`: behind the symbols before; None: a sentence starts."""
        values, behind = self.recurrent(self.dropout(self.embedding(symbols)), state)
        return F.log_softmax(self.out(self.dropout(values)), dim=-1), behind


class Said:
    """What a sentence has begun with: computed when something is asked about it, together with others."""

    __slots__ = ("before", "hidden", "row", "symbol")

    def __init__(self, before: "Said | None", symbol: int) -> None:
        self.before, self.symbol = before, symbol
        self.hidden: tuple[Tensor, Tensor] | None = None  # each: layers dim
        self.row: Float[ndarray, " symbols"] | None = None  # natural log probabilities of the next symbol


class Neural:
    """A trained network, asked symbol by symbol. It is a `LanguageModel` of characters as well."""

    def __init__(self, network: Network, config: NeuralConfig) -> None:
        self.config = config
        self.network = network.eval()
        self._places = {END: EDGE} | {name: place for place, name in enumerate(config.characters, start=2)}

    @property
    def start(self) -> Said:
        return Said(None, EDGE)

    @property
    def unigrams(self) -> Mapping[str, float]:
        """Log10 probabilities of all characters at the start of a sentence."""
        row = self.row(self.start)
        return {name: float(row[place]) / LN10 for name, place in self._places.items()}

    def place(self, character: str) -> int:
        """Its symbol."""
        return self._places.get(character, UNSEEN)

    def score(self, state: Said, word: str) -> tuple[Said, float]:
        place = EDGE if word == END else self.place(word)
        return Said(state, place), float(self.row(state)[place]) / LN10

    def row(self, state: Said) -> Float[ndarray, " symbols"]:
        """The log probability of each next symbol."""
        if state.row is None:
            self.ready([state])
        assert state.row is not None
        return state.row

    @torch.inference_mode()
    def ready(self, states: Iterable[Said]) -> None:
        """Computes what will be asked of several states, all in one."""
        missing = [each for each in dict.fromkeys(states) if each.row is None]
        if not missing:
            return
        self.ready([each.before for each in missing if each.before is not None])
        symbols = torch.tensor([[each.symbol] for each in missing])
        rows, behind = self.network(symbols, self._gathered(missing))
        values = rows[:, 0].double().numpy()
        for number, each in enumerate(missing):
            each.row = values[number]
            each.hidden = behind[0][:, number], behind[1][:, number]
            each.before = None  # is not needed any more

    def _gathered(self, states: Sequence[Said]) -> State:
        """The network's states before the last symbol of each."""
        nothing = torch.zeros(self.config.layers, self.config.dim)
        pairs = [
            (nothing, nothing) if each.before is None or each.before.hidden is None else each.before.hidden
            for each in states
        ]
        first, second = zip(*pairs, strict=True)
        return torch.stack(first, 1), torch.stack(second, 1)


def save(folder: Path, network: Network, config: NeuralConfig) -> None:
    """Write a model into a folder; the settings last, so that a folder with them is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{WEIGHTS}.partial"
    save_file({name: each.contiguous() for name, each in network.state_dict().items()}, partial)
    partial.replace(folder / WEIGHTS)
    (folder / CONFIG).write_text(
        json.dumps(msgspec.to_builtins(config), ensure_ascii=False, indent=1) + "\n", encoding="utf8"
    )


def load(folder: Path) -> Neural:
    """The model of a folder. NeuralError: there is none, or its files do not belong together.

    ConfigError: its settings are not such.
    """
    try:
        settings: Any = json.loads((folder / CONFIG).read_text(encoding="utf8"))
    except OSError as error:
        raise NeuralError(
            f"{folder}: no neural language model: {CONFIG}: {error.strerror} (sonorant neural-lm makes one)"
        ) from error
    except ValueError as error:
        raise NeuralError(f"{folder / CONFIG}: not JSON: {error}") from error
    config = convert(settings, NeuralConfig, path=str(folder / CONFIG))
    network = Network(config)
    try:
        weights = load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise NeuralError(f"{folder / WEIGHTS}: cannot be read: {error}") from error
    expected = {name: tuple(each.shape) for name, each in network.state_dict().items()}
    found = {name: tuple(each.shape) for name, each in weights.items()}
    if wrong := sorted(found.items() ^ expected.items()):
        raise NeuralError(f"{folder / WEIGHTS}: {wrong[0][0]} is not as {CONFIG} has it (train it anew)")
    network.load_state_dict(weights)
    return Neural(network, config)
