"""Guards the training of neural language models: that they learn, go on bit for bit, and are used."""

import json

import pytest
import torch
from safetensors.torch import load_file

from sonorant.config import ConfigError
from sonorant.lm.arpa import TextError
from sonorant.lm.neural import CONFIG, WEIGHTS, load
from sonorant.recipes import neural_lm
from sonorant.recipes.neural_lm import train_model

WORDS = ("amazon", "queen", "river", "plane", "crash")


@pytest.fixture
def text(tmp_path):
    """Sentences of five words, which are easy to tell apart by their first letters."""
    generator = torch.Generator().manual_seed(0)
    lines = [
        " ".join(WORDS[place] for place in torch.randint(5, (3,), generator=generator).tolist())
        for _ in range(60)
    ]
    path = tmp_path / "text.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(neural_lm, "EPOCHS", 3)
    monkeypatch.setattr(neural_lm, "BATCH", 8)


def weights(folder):
    return load_file(folder / WEIGHTS)


def test_a_model_learns_and_is_told_beside_n_grams(sonorant, text, tmp_path, monkeypatch):
    monkeypatch.setattr(neural_lm, "EPOCHS", 12)
    done = sonorant(
        "neural-lm", text, "--out", tmp_path / "lm", "--width", 32, "--test", text, "--json", "-q"
    )
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert 1 < told["6-grams, per character"] < told["neural, per character"] < 4
    assert told["neural, per word"] == pytest.approx(
        told["neural, per character"] ** told_ratio(text), rel=0.01
    )
    row = load(tmp_path / "lm").unigrams
    assert row["a"] > row["z"] if "z" in row else row["a"] > row["m"]  # no word starts with an m


def told_ratio(text):
    """Characters a word, the ends of sentences among both."""
    lines = text.read_text().split("\n")[:-1]
    return sum(len(line) + 1 for line in lines) / sum(len(line.split()) + 1 for line in lines)


def test_an_interrupted_training_ends_as_it_would_have(text, tmp_path):
    train_model([text], tmp_path / "straight", width=8)

    def interrupt(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_model([text], tmp_path / "cut", width=8, progress=interrupt)
    train_model([text], tmp_path / "cut", width=8)
    straight, cut = weights(tmp_path / "straight"), weights(tmp_path / "cut")
    assert all(torch.equal(each, cut[name]) for name, each in straight.items())
    other = train_model([text], tmp_path / "other", width=8, seed=1)
    assert other["epochs"] == 3
    assert not torch.equal(weights(tmp_path / "other")["out.bias"], straight["out.bias"])


def test_training_ends_when_text_held_out_gets_no_likelier(text, tmp_path, monkeypatch):
    figures = iter([3.0, 2.0, 2.5, 2.1])
    monkeypatch.setattr(neural_lm, "EPOCHS", 9)
    monkeypatch.setattr(neural_lm, "PATIENCE", 2)
    real = neural_lm.mean_nats
    monkeypatch.setattr(neural_lm, "mean_nats", lambda *inputs: next(figures, None) or real(*inputs))
    told = train_model([text], tmp_path / "lm", width=8)
    assert (told["epochs"], told["best epoch"]) == (4, 2)


def test_lines_held_out_are_not_trained_on():
    lines = [list(f"a{number % 40}") for number in range(60)]
    kept, held_out = neural_lm._shared_out(lines)
    assert len(held_out) == 4
    assert not {*map(tuple, kept)} & {*map(tuple, held_out)}
    assert {*map(tuple, kept), *map(tuple, held_out)} == {*map(tuple, lines)}


def test_mistakes_are_told(text, tmp_path):
    few = tmp_path / "few.txt"
    few.write_text("one line\n")
    with pytest.raises(TextError, match=r"few\.txt: 1 sentences are too few"):
        train_model([few], tmp_path / "lm")
    with pytest.raises(ConfigError, match="normalisation: 'upper' is not one of"):
        train_model([text], tmp_path / "lm", normalisation="upper")
    train_model([text], tmp_path / "lm", width=8)
    with pytest.raises(ConfigError, match="was begun with another text, width or seed"):
        train_model([text], tmp_path / "lm", width=9)
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / CONFIG).write_text("{}")
    with pytest.raises(ConfigError, match="bare: has a model already"):
        train_model([text], tmp_path / "bare", width=8)


def test_a_recogniser_is_asked_with_it(sonorant, finetuned, few, text, tmp_path):
    train_model([text], tmp_path / "lm", width=8)
    words = ["transcribe", finetuned, few, "--out", tmp_path / "said", "--lm", tmp_path / "lm", "--beam", 4]
    done = sonorant(*words)
    assert done.code == 0, done.err
    failed = sonorant(*words[:-3], tmp_path, "--beam", 4)
    assert failed.code == 2
    assert "no neural language model: config.json" in failed.err
