"""Guards the search with an attention decoder: against all labellings of few labels, and its promises."""

import itertools
import math
from contextlib import nullcontext

import numpy as np
import pytest
import torch

from sonorant.asr.attention import Attention
from sonorant.asr.fusion import WORD_BREAK, FusionConfig, fusion
from sonorant.asr.prefix import PrefixScorer
from sonorant.asr.vocabulary import Vocabulary
from sonorant.lm.neural import Network, Neural, NeuralConfig
from sonorant.nn.decoder import Decoder, DecoderConfig
from sonorant.types import Padded, pad

LABELS, DIM = 4, 6
LENGTHS = (5, 3, 4)


def log_probabilities(lengths=LENGTHS, seed=0, labels=LABELS):
    random = np.random.default_rng(seed)
    rows = [np.log(random.dirichlet(np.full(labels, 0.5), size=length) + 1e-9) for length in lengths]
    return [torch.from_numpy(each).log_softmax(-1) for each in rows]


@pytest.fixture(scope="module")
def decoder():
    torch.manual_seed(4)
    config = DecoderConfig(dim=8, layers=2, heads=2, feedforward=12, dropout=0.0)
    network = Decoder(config, labels=LABELS, memory_dim=DIM).eval()
    for each in network.parameters():
        torch.nn.init.normal_(each, std=0.6)
    network.head.bias.data[0] -= 8  # it ends late
    return network


def attention(decoder, ctc_weight):
    return Attention(decoder, LABELS, ctc_weight, nullcontext, torch.device("cpu"))


def frames(lengths=LENGTHS, seed=0):
    """CTC's log probabilities of utterances, and a memory behind them."""
    generator = torch.Generator().manual_seed(seed)
    rows = log_probabilities(lengths, seed)
    return [torch.cat([each.float(), torch.randn(len(each), DIM, generator=generator)], 1) for each in rows]


def collapsed(path):
    return tuple(label for label, _ in itertools.groupby(path) if label)


def by_paths(rows):
    """The probability of every labelling, by every path."""
    totals = {}
    for path in itertools.product(range(rows.shape[1]), repeat=len(rows)):
        value = math.exp(sum(float(row[label]) for row, label in zip(rows, path, strict=True)))
        totals[collapsed(path)] = totals.get(collapsed(path), 0.0) + value
    return totals


@pytest.mark.parametrize("seed", range(3))
def test_prefixes_have_the_probability_of_all_that_begins_with_them(seed):
    rows = log_probabilities(seed=seed)
    scorer = PrefixScorer(pad(rows))
    totals = [by_paths(each) for each in rows]
    level = {(): scorer.begin(1)}
    for _ in range(4):
        grown = {}
        for prefix, state in level.items():
            found = scorer.score(state)[:, 0]
            for row, total in zip(found, totals, strict=True):
                assert row[0].exp().item() == pytest.approx(total.get(prefix, 0.0), abs=1e-12)
                for label in range(1, LABELS):
                    begun = (*prefix, label)
                    expected = sum(p for each, p in total.items() if each[: len(begun)] == begun)
                    assert row[label].exp().item() == pytest.approx(expected, abs=1e-12)
            for label in range(1, LABELS):
                rows_of = torch.zeros(len(rows), 1, dtype=torch.long)
                grown[*prefix, label] = scorer.extend(state, rows_of, torch.full_like(rows_of, label))
        level = grown


def exhaustive(network, each, ctc_weight, added=lambda labels: 0.0):
    """The best of all labellings that have no more labels than frames, and its score."""
    memory = Padded(each[None, :, LABELS:], torch.tensor([len(each)]))
    ctc = by_paths(each[:, :LABELS].double())
    best, highest = (), -math.inf
    for count in range(len(each) + 1):
        for labels in itertools.product(range(1, LABELS), repeat=count):
            with torch.no_grad():
                logits = network(torch.tensor([[0, *labels]]), memory)[0].double().log_softmax(-1)
            score = sum(float(row[target]) for row, target in zip(logits, (*labels, 0), strict=True))
            score = (1 - ctc_weight) * score + added(labels)
            if ctc_weight:
                probability = ctc.get(labels, 0.0)
                score += ctc_weight * math.log(probability) if probability else -math.inf
            if score > highest:
                best, highest = labels, score
    return best, highest


class Bigram:
    """A scorer whose state is the label before; what it adds may be above zero."""

    start = 0
    table = np.random.default_rng(8).uniform(-1.5, 1.0, (LABELS, LABELS))

    def ready(self, states):
        pass

    def added(self, state):
        return self.table[state].copy()

    def step(self, _, label):
        return label

    def end(self, state):
        return 0.3 * state

    def total(self, labels):
        pairs = itertools.pairwise((0, *labels))
        return sum(self.table[pair] for pair in pairs) + 0.3 * (0, *labels)[-1]


class Spelled:
    """A neural model of characters over the labels blank, space, a and b, one of which it does not know."""

    def __init__(self):
        torch.manual_seed(6)
        self.config = NeuralConfig(characters=("a", WORD_BREAK), normalisation="none", dim=5)
        self.network = Network(self.config).eval()
        for each in self.network.parameters():
            torch.nn.init.normal_(each, std=0.9)
        settings = FusionConfig(weight=0.6, word_bonus=6.0)
        self.scorer = fusion(Vocabulary.of(["ab"]), Neural(self.network, self.config), config=settings)

    def __getattr__(self, name):
        return getattr(self.scorer, name)

    def total(self, labels):
        """By one pass of the network over the whole labelling."""
        symbols = [[0, 3, 2, 1][label] for label in labels]
        with torch.no_grad():
            rows = self.network(torch.tensor([[0, *symbols]]))[0][0]
        likely = sum(float(row[symbol]) for row, symbol in zip(rows, (*symbols, 0), strict=True))
        said = "".join("\0 ab"[label] for label in labels).split()
        return 0.6 * likely + 6.0 * len(said)


@torch.inference_mode()
@pytest.mark.parametrize("scorer", [None, Bigram(), Spelled()], ids=["alone", "scorer", "neural"])
@pytest.mark.parametrize("ctc_weight", [0.0, 0.3, 1.0])
def test_a_wide_beam_finds_the_best_of_all_labellings(decoder, ctc_weight, scorer):
    lengths = (4, 2, 3)
    several = frames(lengths, seed=3)
    searched = attention(decoder, ctc_weight).search(pad(several), width=3**4 * 2, scorer=scorer)
    lengths_found = set()
    for each, found in zip(several, searched, strict=True):
        added = scorer.total if scorer else lambda _: 0.0
        labels, score = exhaustive(decoder, each, ctc_weight, added)
        assert found.labels == labels
        assert found.score == pytest.approx(score, abs=1e-4)
        lengths_found.add(len(labels))
    if ctc_weight or scorer:  # alone, a decoder prefers to say nothing
        assert lengths_found != {0}


@torch.inference_mode()
@pytest.mark.parametrize("ctc_weight", [0.0, 0.5])
def test_a_beam_of_one_is_greedy(decoder, ctc_weight):
    for each, found in zip(
        frames(seed=5), attention(decoder, ctc_weight).search(pad(frames(seed=5)), width=1), strict=True
    ):
        memory = Padded(each[None, :, LABELS:], torch.tensor([len(each)]))
        ctc = by_paths(each[:, :LABELS].double())
        labels, total = (), 0.0
        while True:
            row = decoder(torch.tensor([[0, *labels]]), memory)[0, -1].double().log_softmax(-1)
            scores = []
            for label in range(LABELS if len(labels) < len(each) else 1):
                begun = (*labels, label)
                kept = (
                    sum(p for other, p in ctc.items() if other[: len(begun)] == begun)
                    if label
                    else ctc.get(labels, 0.0)
                )
                score = (1 - ctc_weight) * (total + float(row[label]))
                scores.append(score + (ctc_weight * math.log(kept or 1e-300) if ctc_weight else 0.0))
            choice = int(np.argmax(scores))
            total += float(row[choice])
            if choice == 0:
                break
            labels = (*labels, choice)
        assert found.labels == labels


@torch.inference_mode()
def test_neighbours_and_their_padding_change_nothing(decoder):
    lengths = (30, 9, 21)
    several, search = frames(lengths, seed=2), attention(decoder, 0.3).search
    together = search(pad(several), width=3)
    for each, found in zip(several, together, strict=True):
        (alone,) = search(pad([each]), width=3)
        assert alone.labels == found.labels
        assert alone.score == pytest.approx(found.score, abs=1e-4)
        assert alone.confidences == pytest.approx(found.confidences, abs=1e-4)
    assert any(found.labels for found in together)


@torch.inference_mode()
def test_confidences_are_the_decoders_probabilities(decoder):
    (each,) = frames((12,), seed=6)
    (found,) = attention(decoder, 0.8).search(pad([each]), width=4)
    memory = Padded(each[None, :, LABELS:], torch.tensor([12]))
    rows = decoder(torch.tensor([[0, *found.labels]]), memory)[0].softmax(-1)
    expected = [float(row[label]) for row, label in zip(rows, found.labels, strict=False)]
    assert found.confidences == pytest.approx(expected, abs=1e-5)
    assert expected
    (tokens,) = attention(decoder, 0.8).tokens([each.numpy()], width=4)
    assert [token.label for token in tokens] == list(found.labels)
    assert [token.confidence for token in tokens] == pytest.approx(expected, abs=1e-5)
    assert all(0 <= token.start < token.end <= 12 for token in tokens)


@torch.inference_mode()
def test_without_ctc_there_are_no_more_labels_than_frames_and_times_are_spread(decoder):
    talkative = Decoder(DecoderConfig(dim=8, layers=1, heads=2, feedforward=8), labels=LABELS, memory_dim=DIM)
    talkative.eval().head.bias.data = torch.tensor([-50.0, 5, 0, 0])  # it never ends
    (tokens,) = attention(talkative, 0.0).tokens([frames((7,))[0].numpy()], width=2)
    assert [(token.label, token.start, token.end) for token in tokens] == [
        (1, place, place + 1) for place in range(7)
    ]


@torch.inference_mode()
def test_silence_and_nothing_say_nothing(decoder):
    silent = torch.cat([torch.full((20, LABELS), -12.0), torch.randn(20, DIM)], 1)
    silent[:, 0] = -1e-5
    talkative = Decoder(DecoderConfig(dim=8, layers=1, heads=2, feedforward=8), labels=LABELS, memory_dim=DIM)
    talkative.eval().head.bias.data = torch.tensor([-50.0, 5, 0, 0])
    empty = np.zeros((0, LABELS + DIM), np.float32)
    found = attention(talkative, 0.1).tokens([silent.numpy(), empty, frames((6,))[0].numpy()], width=2)
    assert [bool(each) for each in found] == [False, False, True]
