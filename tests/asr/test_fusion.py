"""Guards language models in the beam: against every labelling of tiny lattices, and what hot words change."""

import itertools
import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from sonorant.asr.beam import Beam
from sonorant.asr.decode import words
from sonorant.asr.fusion import WORD_BREAK, FusionConfig, fusion
from sonorant.asr.vocabulary import Vocabulary, VocabularyError
from sonorant.lm import arpa
from sonorant.lm.kneser_ney import estimate
from sonorant.lm.model import Backoff
from sonorant.lm.neural import Network, Neural, NeuralConfig

VOCABULARY = Vocabulary.of(["ab"])  # blank, space, a, b
SENTENCES = ["a b", "ab a", "b a ab", "ab ab", "a", "b b a"]
CONFIG = FusionConfig(weight=0.7, word_bonus=0.4, unknown_penalty=0.9, hot_bonus=1.3)


def lattice(frames, seed):
    return np.log(np.random.default_rng(seed).dirichlet(np.full(4, 0.7), size=frames) + 1e-6)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("lm") / "words.arpa"
    arpa.write(path, estimate([sentence.split() for sentence in SENTENCES], 3))
    return Backoff(path)


@pytest.fixture(scope="module")
def spelling(tmp_path_factory):
    path = tmp_path_factory.mktemp("lm") / "characters.arpa"
    arpa.write(path, estimate([list(sentence.replace(" ", WORD_BREAK)) for sentence in SENTENCES], 3))
    return Backoff(path)


@pytest.fixture(scope="module")
def neural():
    torch.manual_seed(2)
    config = NeuralConfig(characters=("a", WORD_BREAK), normalisation="none", dim=6)  # b is unknown to it
    network = Network(config)
    for each in network.parameters():
        torch.nn.init.normal_(each, std=0.8)
    return Neural(network, config)


def natural(model, tokens):
    """ln p of tokens and of the end behind them."""
    state, total = model.start, 0.0
    for token in (*tokens, "</s>"):
        state, score = model.score(state, token)
        total += score * math.log(10)
    return total


def by_words(model, text, hot=()):
    """The fusion of whole words as the module's first lines have it."""
    said = text.split()
    total = CONFIG.weight * natural(model, said)
    for word in said:
        unknown = word not in model.unigrams and word not in hot
        total += CONFIG.word_bonus - CONFIG.unknown_penalty * unknown + CONFIG.hot_bonus * (word in hot)
    return total


def by_characters(model, text, hot=()):
    total = CONFIG.weight * natural(model, text.replace(" ", WORD_BREAK))
    return total + sum(CONFIG.word_bonus + CONFIG.hot_bonus * (word in hot) for word in text.split())


def only_hot(text, hot):
    return sum(CONFIG.word_bonus + CONFIG.hot_bonus * (word in hot) for word in text.split())


def labellings(rows):
    totals = {}
    for path in itertools.product(range(rows.shape[1]), repeat=len(rows)):
        labels = tuple(label for label, _ in itertools.groupby(path) if label)
        value = sum(row[label] for row, label in zip(rows, path, strict=True))
        totals[labels] = np.logaddexp(totals.get(labels, -np.inf), value)
    return totals


@pytest.mark.parametrize("hot", [(), ("ba", "bb")], ids=["", "hot"])
@pytest.mark.parametrize("kind", ["words", "characters", "neural", "none"])
@pytest.mark.parametrize("seed", range(8))
def test_a_wide_beam_is_the_best_of_all_labellings(model, spelling, neural, kind, hot, seed):
    rows = lattice(6, seed)
    scored = {
        "words": (model, lambda text: by_words(model, text, hot)),
        "characters": (spelling, lambda text: by_characters(spelling, text, hot)),
        "neural": (neural, lambda text: by_characters(neural, text, hot)),
        "none": (None, lambda text: only_hot(text, hot)),
    }
    language, score = scored[kind]
    totals = {labels: total + score(VOCABULARY.decode(labels)) for labels, total in labellings(rows).items()}
    scorer = fusion(VOCABULARY, language, hot_words=hot, config=CONFIG)
    found = Beam(width=5000, threshold=math.inf, scorer=scorer).search(rows)
    assert found.labels == max(totals, key=totals.get)
    assert found.score == pytest.approx(max(totals.values()), abs=1e-5 if kind == "neural" else 1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_what_is_pruned_away_by_default_matters_little(model, seed):
    rows = np.log(0.9 * np.exp(sure("ab a b ab ab b", doubt=0.1)) + 0.1 * np.exp(lattice(28, seed)))
    scorer = fusion(VOCABULARY, model, config=CONFIG)
    exact = Beam(width=1000, threshold=math.inf, scorer=scorer).search(rows)
    usual = Beam(width=32, scorer=scorer).search(rows)
    assert usual.labels == exact.labels
    assert exact.score - 3 < usual.score <= exact.score  # many paths go through prefixes that it drops


@dataclass
class Counted:
    """A scorer that tells how often it was asked."""

    scorer: object
    asked: int = 0

    def __getattr__(self, name):
        return getattr(self.scorer, name)

    def added(self, state):
        self.asked += 1
        return self.scorer.added(state)


def test_a_low_threshold_drops_prefixes(model):
    rows = lattice(20, 1)
    asked = []
    for threshold in (2.0, 20.0):
        counted = Counted(fusion(VOCABULARY, model, config=CONFIG))
        Beam(width=200, threshold=threshold, scorer=counted).search(rows)
        asked.append(counted.asked)
    assert asked[0] < asked[1] / 2


def test_a_neural_model_is_asked_once_a_frame_for_all_prefixes(neural, monkeypatch):
    asked, network = [], neural.network
    monkeypatch.setattr(neural, "network", lambda *inputs: asked.append(len(inputs[0])) or network(*inputs))
    rows = lattice(9, 4)
    Beam(width=40, scorer=fusion(VOCABULARY, neural, config=CONFIG)).search(rows)
    assert len(asked) <= len(rows) + 1
    assert max(asked) > 10


def test_frames_that_are_surely_blank_change_nothing(model):
    rows = lattice(8, 2)
    blank = np.log(np.array([[0.9995, 0.0002, 0.0002, 0.0001]]))
    scorer = fusion(VOCABULARY, model, config=CONFIG)
    plain = Beam(width=500, scorer=scorer).search(rows)
    longer = Beam(width=500, scorer=scorer).search(np.concatenate([blank, blank, rows, blank]))
    assert longer.labels == plain.labels
    assert longer.score == pytest.approx(plain.score + 3 * blank[0, 0], abs=1e-9)
    assert not Beam().search(np.repeat(blank, 9, axis=0)).labels


def sure(text, doubt=0.02):
    """Frames that say a text, a frame and a blank for each character."""
    rows = []
    for label in VOCABULARY.encode(text):
        for each in (label, 0):
            rows.append(np.full(4, doubt / 3))
            rows[-1][each] = 1 - doubt
    return np.log(rows)


def said(rows, scorer, cuts=()):
    tokens = Beam(width=64, scorer=scorer).tokens(np.split(rows, list(cuts)))
    return [word.text for word in words(tokens, VOCABULARY, 1.0)]


def test_a_language_model_and_a_hot_word_change_what_is_heard(model):
    rows = sure("ba", doubt=0.5)
    assert said(rows, None) == ["ba"]
    assert said(rows, fusion(VOCABULARY, model, config=replace_config(weight=3.0))) != ["ba"]
    expected = fusion(VOCABULARY, model, hot_words=["Ba!"], config=replace_config(weight=3.0, hot_bonus=30))
    assert said(rows, expected) == ["ba"]
    assert said(rows, fusion(VOCABULARY, hot_words=["bb"], config=replace_config(hot_bonus=30)))[0] == "bb"


def replace_config(**changes):
    settings = {name: getattr(CONFIG, name) for name in CONFIG.__struct_fields__}
    return FusionConfig(**(settings | changes))


def test_a_word_that_the_model_insists_on_has_a_low_confidence(model):
    rows = sure("ba ba", doubt=0.1)
    confidences = []
    for hot in ["ba", "bb"]:
        scorer = fusion(VOCABULARY, model, hot_words=[hot], config=replace_config(hot_bonus=6))
        word = next(words(Beam(width=64, scorer=scorer).tokens([rows]), VOCABULARY, 1.0))
        assert word.text == hot
        confidences.append(word.confidence)
    assert confidences[0] == pytest.approx(0.9)
    assert confidences[1] < 0.35


@pytest.mark.parametrize("kind", ["words", "neural"])
def test_pieces_of_a_recording_share_what_was_said(model, neural, kind):
    rows = sure("ab ab a b", doubt=0.05)
    scorer = fusion(VOCABULARY, model if kind == "words" else neural, config=CONFIG)
    whole = said(rows, scorer)
    assert whole == ["ab", "ab", "a", "b"]
    for cut in range(2, len(rows), 2):
        assert said(rows, scorer, [cut]) == whole
    # A word that a cut divides is one word to the model: its state goes on inside of it.
    first = Beam(scorer=scorer).search(rows[:2], final=False)
    second = Beam(scorer=scorer).search(rows[2:], state=first.state)
    assert first.score + second.score == pytest.approx(Beam(scorer=scorer).search(rows).score, abs=0.1)


def test_the_scorer_goes_on_from_piece_to_piece_and_ends_once():
    ends = []

    class Length:  # a state is how many labels there were
        start = 0

        def ready(self, states):
            pass

        def added(self, _):
            return np.zeros(4)

        def step(self, state, _):
            return state + 1

        def end(self, state):
            ends.append(state)
            return 0.0

    rows = sure("ab ab")
    found = Beam(width=1, scorer=Length()).tokens([rows[:4], rows[4:6], rows[6:]])
    assert (len(list(found)), ends) == (5, [5])


def test_a_part_of_a_hot_word_has_a_part_of_its_bonus():
    scorer = fusion(VOCABULARY, hot_words=["bbab"], config=CONFIG)
    rest = scorer.added(scorer.step(scorer.step(scorer.start, 3), 3))
    assert rest[2] == pytest.approx(CONFIG.hot_bonus / 4)  # bba
    assert rest[3] == pytest.approx(-CONFIG.hot_bonus / 2)  # bbb


def test_words_that_cannot_be_written_are_told(model):
    known = {**model.unigrams, "zebra": -2.0}  # cannot be heard, so it is left out
    unheard = replace_model(model, known)
    assert said(sure("ab"), fusion(VOCABULARY, unheard, config=CONFIG)) == ["ab"]
    with pytest.raises(VocabularyError, match="hot words: 'z' "):
        fusion(VOCABULARY, model, hot_words=["zebra"])
    with pytest.raises(VocabularyError, match=r"hot words: '\.' has no character"):
        fusion(VOCABULARY, model, hot_words=["."])


def replace_model(model, unigrams):
    @dataclass(frozen=True)
    class Other:
        unigrams: dict
        start: object = model.start

        def score(self, state, word):
            return model.score(state, word)

    return Other(unigrams)
