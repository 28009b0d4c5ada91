"""A neural language model from texts: trained until text that is held out gets no likelier.

A line is a sentence. An epoch's order and dropout follow from the seed and its number. What training needs to
go on is kept after each epoch, so that an interrupted one ends as it would have.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import torch
from jaxtyping import Int
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from sonorant.asr.fusion import WORD_BREAK
from sonorant.asr.vocabulary import NORMALISATIONS
from sonorant.config import Config, ConfigError
from sonorant.lm import arpa, model
from sonorant.lm.arpa import TextError
from sonorant.lm.kneser_ney import estimate
from sonorant.lm.neural import CONFIG, EDGE, UNSEEN, Network, NeuralConfig, load, save
from sonorant.recipes.language import sentences
from sonorant.recipes.whole import write_whole
from sonorant.train.optim import OptimizerConfig, adamw, named_state, restore_state

TRAINING = "training"  # the folder of what is needed to go on
HELD_OUT = 0.1  # of the lines, to end training on
EPOCHS, PATIENCE = 60, 4  # at most; that brought nothing, in a row, before training ends
BATCH = 32  # lines
RATE = 3e-3  # halved behind each epoch that brought nothing
OPTIMIZER = OptimizerConfig(weight_decay=0.0, clip=1.0)
NGRAMS = 6  # characters, of the model that is told beside
IGNORED = -1

Line = Sequence[str]


class Stand(Config, frozen=True, kw_only=True):
    """Where training stands; `texts` tells that it goes on with the same ones."""

    texts: str
    seed: int
    epoch: int = 0
    best: float | None = None  # nats a character of the text held out
    best_epoch: int = 0
    waited: int = 0
    rate: float = RATE


def train_model(
    texts: Sequence[Path],
    out: Path,
    *,
    test: Path | None = None,
    normalisation: str = "lower_alnum",
    width: int = 256,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Train a model, or go on, write it into a folder and tell how well it does beside n-grams.

    Perplexities are those of `test`, else of the lines held out. TextError: there is too little text.
    ConfigError: the folder has another training's model.
    """
    if normalisation not in NORMALISATIONS:
        raise ConfigError(f"normalisation: {normalisation!r} is not one of {', '.join(NORMALISATIONS)}")
    lines = [line for path in texts for line in _lines(path, normalisation)]
    kept, held_out = _shared_out(lines)
    if not held_out:
        raise TextError(f"{', '.join(map(str, texts))}: {len(lines)} sentences are too few (give 10 or more)")
    characters = sorted({character for line in kept for character in line})
    config = NeuralConfig(characters=tuple(characters), normalisation=normalisation, dim=width)
    stand = _trained(kept, held_out, config, out, seed, progress)
    measured = held_out if test is None else list(_lines(test, normalisation))
    if not measured:
        raise TextError(f"{test}: no words: a perplexity needs a text")
    nats = mean_nats(load(out).network, [symbols(line, config) for line in measured])
    return {
        "out": str(out),
        "characters known": len(characters),
        "epochs": stand.epoch,
        "best epoch": stand.best_epoch,
        "perplexities of": "lines held out" if test is None else str(test),
        **_told("neural", nats, measured),
        **_told(f"{NGRAMS}-grams", _of_ngrams(kept if test is None else lines, measured), measured),
    }


def symbols(line: Line, config: NeuralConfig) -> list[int]:
    """A sentence's symbols, with the end."""
    places = {name: place for place, name in enumerate(config.characters, start=2)}
    return [*(places.get(character, UNSEEN) for character in line), EDGE]


@torch.no_grad()
def mean_nats(network: Network, lines: Sequence[Sequence[int]]) -> float:
    """The mean surprise of a symbol, ends of sentences included."""
    network.eval()
    found = [_loss(network, batch) for batch in _batches(lines, range(len(lines)))]
    return sum(float(total) for total, _ in found) / sum(count for _, count in found)


def _lines(path: Path, normalisation: str) -> Iterator[Line]:
    return (line for line in sentences(path, normalisation, characters=True) if line)


def _shared_out(lines: Sequence[Line]) -> tuple[list[Line], list[Line]]:
    """Lines to train on, and about a tenth that are held out: always the same, and none is in both."""
    different = list(dict.fromkeys(map(tuple, lines)))
    count = round(HELD_OUT * len(different))
    ranked = sorted(different, key=lambda line: hashlib.blake2b("".join(line).encode()).digest())
    held_out = set(ranked[:count])
    return [line for line in lines if tuple(line) not in held_out], list(ranked[:count])


def _trained(
    kept: Sequence[Line],
    held_out: Sequence[Line],
    config: NeuralConfig,
    out: Path,
    seed: int,
    progress: Callable[[int, int], None] | None,
) -> Stand:
    """Trains to the end, from the last epoch on that is kept; the best model lies in `out`."""
    torch.manual_seed(seed)
    network = Network(config)
    optimizer = adamw(network, OPTIMIZER)
    stand = _resumed(Stand(texts=_digest(kept, held_out, config), seed=seed), out, network, optimizer)
    train, check = ([symbols(line, config) for line in lines] for lines in (kept, held_out))
    while stand.epoch < EPOCHS and stand.waited < PATIENCE:
        _epoch(network, optimizer, train, stand)
        nats = mean_nats(network, check)
        better = stand.best is None or nats < stand.best
        stand = msgspec.structs.replace(
            stand,
            epoch=stand.epoch + 1,
            waited=0 if better else stand.waited + 1,
            rate=stand.rate if better else stand.rate / 2,
            **({"best": nats, "best_epoch": stand.epoch + 1} if better else {}),
        )
        if better:
            save(out, network, config)
        _keep(stand, out, network, optimizer)
        if progress is not None:
            progress(stand.epoch, EPOCHS)
    return stand


def _epoch(
    network: Network, optimizer: torch.optim.Optimizer, lines: Sequence[Sequence[int]], stand: Stand
) -> None:
    network.train()
    digest = hashlib.blake2b(f"{stand.seed} {stand.epoch}".encode(), digest_size=7).digest()
    torch.manual_seed(int.from_bytes(digest, "big"))
    batches = list(_batches(lines, torch.randperm(len(lines)).tolist()))
    for group in optimizer.param_groups:
        group["lr"] = stand.rate
    for place in torch.randperm(len(batches)).tolist():
        optimizer.zero_grad()
        total, count = _loss(network, batches[place])
        (total / count).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), OPTIMIZER.clip or math.inf)
        optimizer.step()


def _batches(lines: Sequence[Sequence[int]], order: Sequence[int]) -> Iterator[Int[Tensor, "batch time"]]:
    """Sentences of similar lengths together, in this order where they are as long."""
    ranked = sorted(order, key=lambda place: len(lines[place]))
    for start in range(0, len(ranked), BATCH):
        rows = [torch.tensor(lines[place]) for place in ranked[start : start + BATCH]]
        yield torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=IGNORED)


def _loss(network: Network, targets: Int[Tensor, "batch time"]) -> tuple[Tensor, int]:
    """The summed surprise of sentences, and how many symbols they have."""
    before = F.pad(targets[:, :-1], (1, 0), value=EDGE).clamp(min=0)
    rows, _ = network(before)
    total = F.nll_loss(rows.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum")
    return total, int((targets != IGNORED).sum())


def _digest(kept: Sequence[Line], held_out: Sequence[Line], config: NeuralConfig) -> str:
    content = msgspec.json.encode([kept, held_out, config])
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _resumed(stand: Stand, out: Path, network: Network, optimizer: torch.optim.Optimizer) -> Stand:
    """Where training goes on. ConfigError: the folder has a model of other text, size or seed."""
    file = out / TRAINING / "state.json"
    if not file.exists():
        if (out / CONFIG).exists():
            raise ConfigError(f"{out}: has a model already, and nothing to go on from (choose another --out)")
        _keep(stand, out, network, optimizer)
        return stand
    try:
        found = msgspec.json.decode(file.read_bytes(), type=Stand)
    except msgspec.DecodeError as error:
        raise ConfigError(f"{file}: {error} (remove {out}, or choose another --out)") from error
    if (found.texts, found.seed) != (stand.texts, stand.seed):
        raise ConfigError(f"{out}: was begun with another text, width or seed (choose another --out)")
    kept = load_file(out / TRAINING / f"epoch_{found.epoch}.safetensors")
    parts: dict[str, dict[str, Tensor]] = {"network": {}, "optimizer": {}}
    for name, value in kept.items():
        part, _, rest = name.partition("/")
        parts[part][rest] = value
    network.load_state_dict(parts["network"])
    restore_state(network, optimizer, parts["optimizer"].items())
    return found


def _keep(stand: Stand, out: Path, network: Network, optimizer: torch.optim.Optimizer) -> None:
    """Writes what is needed to go on; the state, which names the file, last."""
    folder = out / TRAINING
    folder.mkdir(parents=True, exist_ok=True)
    state = {f"network/{name}": each for name, each in network.state_dict().items()}
    state |= {f"optimizer/{name}": each for name, each in named_state(network, optimizer).items()}
    save_file(state, folder / f"epoch_{stand.epoch}.safetensors")
    write_whole(folder / "state.json", msgspec.json.encode(stand))
    for old in folder.glob("epoch_*.safetensors"):
        if old.name != f"epoch_{stand.epoch}.safetensors":
            old.unlink()


def _of_ngrams(lines: Sequence[Line], measured: Sequence[Line]) -> float:
    """The mean surprise of a symbol to n-grams of the same text, in nats."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "characters.arpa"
        arpa.write(file, estimate(lines, NGRAMS))
        return math.log(model.perplexity(model.load(file), measured).perplexity)


def _told(name: str, nats: float, measured: Sequence[Line]) -> dict[str, float]:
    """Perplexities of a character and of a word, the end of a sentence being one of either."""
    characters = sum(len(line) + 1 for line in measured)
    words = sum(list(line).count(WORD_BREAK) + 2 for line in measured)
    return {
        f"{name}, per character": round(math.exp(nats), 3),
        f"{name}, per word": round(math.exp(nats * characters / words), 1),
    }
