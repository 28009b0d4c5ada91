"""Guards neural language models: what is asked together is what the network says, and files come back."""

import json
import math

import pytest
import torch
from safetensors.torch import save_file

from sonorant.config import ConfigError
from sonorant.lm.model import load, perplexity
from sonorant.lm.neural import (
    CONFIG,
    EDGE,
    UNSEEN,
    WEIGHTS,
    Network,
    Neural,
    NeuralConfig,
    NeuralError,
    Said,
    save,
)

SETTINGS = NeuralConfig(characters=("a", "b", "▁"), normalisation="lower_alnum", dim=8, layers=2)


@pytest.fixture
def network():
    torch.manual_seed(3)
    made = Network(SETTINGS).eval()
    for each in made.parameters():
        torch.nn.init.normal_(each, std=0.7)
    return made


@pytest.fixture
def folder(network, tmp_path):
    save(tmp_path / "lm", network, SETTINGS)
    return tmp_path / "lm"


def slowly(network, symbols):
    """ln p of symbols and of the end, from the equations of the LSTM, a gate and a step at a time."""
    weights = {name: each.double() for name, each in network.state_dict().items()}
    states = [(torch.zeros(8, dtype=torch.double), torch.zeros(8, dtype=torch.double)) for _ in range(2)]
    total = 0.0
    for before, symbol in zip((EDGE, *symbols), (*symbols, EDGE), strict=True):
        value = weights["embedding.weight"][before]
        for layer, (hidden, cell) in enumerate(states):
            gates = (
                weights[f"recurrent.weight_ih_l{layer}"] @ value
                + weights[f"recurrent.bias_ih_l{layer}"]
                + weights[f"recurrent.weight_hh_l{layer}"] @ hidden
                + weights[f"recurrent.bias_hh_l{layer}"]
            )
            i, f, g, o = gates.chunk(4)
            cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
            value = o.sigmoid() * cell.tanh()
            states[layer] = value, cell
        logits = weights["out.weight"] @ value + weights["out.bias"]
        total += float(logits[symbol] - logits.logsumexp(0))
    return total


@pytest.mark.parametrize("text", ["", "a", "ab▁ba", "bbb▁▁a", "ab?a"])
def test_a_sentence_has_the_networks_probability(folder, network, text):
    model = load(folder)
    assert isinstance(model, Neural)
    state, total = model.start, 0.0
    for character in (*text, "</s>"):
        state, score = model.score(state, character)
        total += score * math.log(10)
    symbols = [{"a": 2, "b": 3, "▁": 4, "?": UNSEEN}[character] for character in text]
    assert total == pytest.approx(slowly(network, symbols), abs=1e-5)


def test_states_that_are_asked_together_are_each_its_own(folder):
    model = load(folder)
    texts = [(2, 3), (2, 2, 4), (), (3,), (2, 3, 4, 2)]

    def state(symbols):
        found = model.start
        for symbol in symbols:
            found = Said(found, symbol)
        return found

    together, alone = [state(each) for each in texts], [state(each) for each in texts]
    model.ready([*together, together[0]])
    for one, other in zip(together, alone, strict=True):
        assert one.row is not None
        assert one.row == pytest.approx(model.row(other), abs=1e-6)
        assert one.before is None
    assert len({tuple(each.row) for each in together}) == len(texts)


def test_what_is_known_is_not_computed_again(folder, monkeypatch):
    model = load(folder)
    state = model.start
    model.ready([state])
    monkeypatch.setattr(model, "network", None)
    model.ready([state])
    assert model.row(state).shape == (5,)


def test_all_characters_are_told_as_n_grams_tell_theirs(folder):
    model = load(folder)
    assert model.unigrams.keys() == {"</s>", "a", "b", "▁"}
    expected = math.exp(-slowly(model.network, [2, 3]) / 3)
    assert perplexity(model, [["a", "b"]]).perplexity == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("break_it", "told"),
    [
        (lambda folder: (folder / CONFIG).unlink(), "no neural language model: config.json: No such file"),
        (lambda folder: (folder / CONFIG).write_text("{"), "config.json: not JSON"),
        (lambda folder: (folder / WEIGHTS).unlink(), "model.safetensors: cannot be read"),
        (lambda folder: (folder / WEIGHTS).write_bytes(b"no"), "model.safetensors: cannot be read"),
        (
            lambda folder: save_file({"out.bias": torch.zeros(3)}, folder / WEIGHTS),
            "model.safetensors: .* is not as config.json has it",
        ),
    ],
)
def test_broken_folders_are_told(folder, break_it, told):
    break_it(folder)
    with pytest.raises(NeuralError, match=told) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


def test_wrong_settings_are_told(folder):
    settings = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(settings | {"dim": "wide"}))
    with pytest.raises(ConfigError, match=r"config\.json\.dim"):
        load(folder)
