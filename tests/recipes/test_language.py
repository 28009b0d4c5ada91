"""Guards the commands about language models: what they write, tell and refuse."""

import json
import re

import pytest

from sonorant.data.manifest import read
from sonorant.lm.model import load


@pytest.fixture(scope="module")
def texts(tmp_path_factory, few):
    """The sentences of a manifest, one a line, with marks that a recogniser does not write."""
    path = tmp_path_factory.mktemp("texts") / "sentences.txt"
    path.write_text("".join(f"{clip.text}!\n" for clip in read(few) if clip.text), encoding="utf8")
    return path


@pytest.fixture(scope="module")
def model(texts, sonorant):
    path = texts.with_name("lm.arpa")
    assert sonorant("lm", texts, "--order", "2", "--out", path).code == 0
    return path


def test_a_manifest_and_its_sentences_give_the_same_model(tmp_path, sonorant, few, texts, model):
    out = tmp_path / "folder" / "other.arpa"
    told = sonorant("lm", few, "--order", "2", "--out", out, "--test", texts, "--json").json
    assert out.read_text() == model.read_text()
    assert (told["out"], told["1-grams"]) == (str(out), len(load(out).unigrams))
    assert told["unknown"] == 0
    assert 1 < told["perplexity"] == told["perplexity of known words"] < told["1-grams"]
    assert not any("!" in word or word != word.lower() for word in load(out).unigrams)


def test_unknown_words_of_a_test_are_counted(tmp_path, sonorant, texts):
    test = tmp_path / "test.txt"
    test.write_text("zyzzyva conference\n")
    words = ("lm", texts, "--out", tmp_path / "lm.arpa", "--test", test, "--json")
    told = sonorant(*words).json
    assert (told["test words"], told["unknown"]) == (3, 1)
    assert told["perplexity"] > told["perplexity of known words"]
    assert sonorant(*words, "--characters").json["test words"] == len("zyzzyva conference") + 1


def test_what_gives_no_model_is_refused_in_one_line(tmp_path, sonorant, texts):
    out, empty, binary = tmp_path / "lm.arpa", tmp_path / "empty.txt", tmp_path / "binary.txt"
    empty.write_text("\n?!\n")
    binary.write_bytes(b"\xff\xfe\x00")
    for words, told in (
        ([empty], f"{empty}: no words: a language model needs a text"),
        ([binary], f"{binary}: not text in UTF-8"),
        ([tmp_path / "nosuch.txt"], f"{tmp_path / 'nosuch.txt'}: No such file or directory"),
        ([texts, "--normalisation", "upper"], "normalisation: 'upper' is not one of lower_alnum, none"),
    ):
        done = sonorant("lm", *words, "--out", out)
        assert done.code == 2
        assert done.line.startswith(f"sonorant: {told}")
        assert not out.exists()
    done = sonorant("lm", texts, "--out", out, "--test", empty)
    assert (done.code, done.line) == (2, f"sonorant: {empty}: no words: a perplexity needs a text")


def test_transcripts_follow_the_language_model(sonorant, finetuned, few, model):
    plain = sonorant("transcribe", finetuned, few, "--beam", "32")
    ignored = sonorant("transcribe", finetuned, few, "--lm", model, "--lm-weight", "0", "--word-bonus", "-99")
    followed = sonorant("transcribe", finetuned, few, "--lm", model, "--word-bonus", "9")
    texts = [
        [json.loads(line)["hypothesis"] for line in done.out.splitlines()]
        for done in (plain, ignored, followed)
    ]
    assert not any(texts[1])
    assert texts[2] != texts[0]
    known = load(model).unigrams
    words = " ".join(texts[2]).split()
    assert words
    assert sum(word in known for word in words) > len(words) / 2


def test_hot_words_are_heard(sonorant, finetuned, clip):
    plain = sonorant("transcribe", finetuned, clip.path)
    done = sonorant("transcribe", finetuned, clip.path, "--hot-words", "a, e")
    assert (plain.code, done.code) == (0, 0)
    done = sonorant("transcribe", finetuned, clip.path, "--hot-words", "\u2603")
    assert (done.code, done.line) == (2, "sonorant: hot words: '\u2603' has no character of the recogniser")


def test_a_bad_model_is_told_with_its_line(tmp_path, sonorant, finetuned, clip, few, model):
    bad = tmp_path / "bad.arpa"
    bad.write_text(model.read_text().replace("\\2-grams:", "\\two-grams:"))
    line = bad.read_text().splitlines().index("\\two-grams:") + 1
    for words in (["transcribe", finetuned, clip.path], ["tune", finetuned, few]):
        done = sonorant(*words, "--lm", bad)
        assert done.code == 2
        assert done.line == f"sonorant: {bad}: line {line}: expected \\2-grams:, got '\\\\two-grams:'"


def test_tuning_tells_the_best_weights_first(tmp_path, monkeypatch, sonorant, finetuned, few, model):
    from sonorant.recipes import language

    monkeypatch.setattr(language, "WEIGHTS", (0.0, 0.5))
    monkeypatch.setattr(language, "WORD_BONUSES", (-99.0, 1.0))
    out = tmp_path / "grid.json"
    words = ("tune", finetuned, few, "--lm", model, "--beam", "8", "-q")
    rows = sonorant(*words, "--json", "--out", out).json
    assert json.loads(out.read_text()) == rows
    assert {(row["lm_weight"], row["word_bonus"]) for row in rows} == {(0, -99), (0, 1), (0.5, -99), (0.5, 1)}
    assert [row["wer"] for row in rows] == sorted(row["wer"] for row in rows)
    by_setting = {(row["lm_weight"], row["word_bonus"]): row for row in rows}
    assert by_setting[0, -99]["wer"] == 1  # which hears nothing
    best = rows[0]
    told = sonorant(*words).out
    assert told.endswith(f"best: --lm-weight {best['lm_weight']:g} --word-bonus {best['word_bonus']:g}\n")
    # What is told is what `transcribe` then gives.
    weights = ("--lm-weight", best["lm_weight"], "--word-bonus", best["word_bonus"], "--beam", "8")
    done = sonorant("transcribe", finetuned, few, "--lm", model, *weights)
    wer = re.search(r"WER ([\d.]+)%", done.err)
    assert float(wer[1]) == pytest.approx(100 * best["wer"], abs=0.06)
