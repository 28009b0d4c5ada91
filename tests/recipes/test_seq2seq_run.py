"""Guards recognisers with attention and with subwords as whole runs: trained, resumed, transcribing."""

import json
import re
from dataclasses import replace

import msgspec
import numpy as np
import pytest
import soundfile
from safetensors.torch import load_file

from sonorant.asr import decode
from sonorant.asr.subwords import load_vocabulary
from sonorant.data.manifest import read, write
from sonorant.recipes.recognise import load_recogniser, posteriors
from sonorant.train import checkpoint

DECODER = "objective.decoder={dim: 16, layers: 1, heads: 2, feedforward: 16, dropout: 0.1}"


@pytest.fixture(scope="session")
def attending(tuning):
    """The words of `finetune` but for `out`."""
    return ["finetune", "seq2seq", *tuning[2:], DECODER]


@pytest.fixture(scope="session")
def seq2seq(place, sonorant, attending):
    """A finished recogniser with attention that knows nothing yet."""
    folder = place / "seq2seq"
    assert sonorant(*attending, f"out={folder}", "-q").code == 0
    return folder


def hypotheses(done):
    assert done.code == 0, done
    return [json.loads(line)["hypothesis"] for line in done.out.splitlines()]


def test_the_decoder_is_kept_with_the_recogniser(seq2seq):
    from sonorant.recipes.recogniser import load_network

    kept = load_file(checkpoint.latest(seq2seq) / "objective.safetensors")
    names = [name for name in kept if name.startswith("decoder.layers.0.")]
    assert "decoder.layers.0.attention.inward.weight" in names
    network, _ = load_network(seq2seq)
    for name in names:
        assert (network.state_dict()[name] == kept[name]).all()


def test_an_interrupted_run_ends_as_an_uninterrupted_one(tmp_path, sonorant, attending, seq2seq):
    short = [*attending, f"out={tmp_path}", "-q", "train.checkpoint_every=3", "train.keep=9"]
    assert sonorant(*short).code == 0
    latest = checkpoint.latest(tmp_path)
    before = load_file(latest / "objective.safetensors")
    for each in sorted(latest.iterdir()):
        each.unlink()
    latest.rmdir()
    assert sonorant(*short).code == 0
    after = load_file(checkpoint.latest(tmp_path) / "objective.safetensors")
    assert all((after[name] == value).all() for name, value in before.items())


def test_a_manifest_and_files_are_transcribed(tmp_path, sonorant, seq2seq, few, clip):
    done = sonorant("transcribe", seq2seq, few, "--beam", "3")
    assert re.fullmatch(r"real-time factor .+ over 40 clips with a text\n", done.err)
    by_beam = hypotheses(done)
    assert any(by_beam)
    place = [each.id for each in read(few)].index(clip.id)
    whole = sonorant("transcribe", seq2seq, clip.path, "--beam", "3", "--format", "json").json
    assert whole["text"] == by_beam[place]
    length = soundfile.info(clip.path).duration
    assert all(0 <= word["start"] < word["end"] <= length + 0.1 for word in whole["words"])
    weighed = hypotheses(sonorant("transcribe", seq2seq, few, "--beam", "3", "--ctc-weight", "1"))
    assert weighed != by_beam
    path = tmp_path / "click.wav"
    soundfile.write(path, np.zeros(100), 16000)
    assert sonorant("transcribe", seq2seq, path, "--format", "json").json == {"text": "", "words": []}


def test_long_recordings_are_cut_into_sentences(tmp_path, sonorant, seq2seq, few):
    from sonorant.asr.transcribe import SENTENCE, sentences
    from sonorant.recipes.recognise import load_recogniser, posteriors

    waves = [soundfile.read(clip.path)[0] for clip in read(few)[:20]]
    samples = np.concatenate([wave for wave in waves if wave.ndim == 1])
    path = tmp_path / "long.wav"
    soundfile.write(path, samples, 16000)
    assert len(samples) > 2 * SENTENCE * 16000 * 0.6
    told = sonorant("transcribe", seq2seq, path, "--format", "json").json
    assert told["words"] == sorted(told["words"], key=lambda word: word["start"])
    assert told["words"][-1]["end"] <= len(samples) / 16000 + 0.1
    recogniser = load_recogniser(seq2seq)
    (rows,) = next(posteriors(read(few)[:1], recogniser)).values()
    tiled = np.tile(rows, (60, 1))
    pieces = list(sentences([tiled], recogniser))
    assert np.array_equal(np.concatenate(pieces), tiled)
    limit = SENTENCE / recogniser.seconds_per_frame
    assert all(limit / 2 <= len(piece) <= limit + 1 for piece in pieces[:-1])


def test_a_language_model_is_heard(tmp_path, sonorant, seq2seq, few):
    model = tmp_path / "lm.arpa"
    assert sonorant("lm", few, "--order", "2", "--out", model).code == 0
    plain = hypotheses(sonorant("transcribe", seq2seq, few, "--beam", "8"))
    followed = hypotheses(
        sonorant("transcribe", seq2seq, few, "--beam", "8", "--lm", model, "--word-bonus", "9")
    )
    assert followed != plain


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
@pytest.mark.parametrize("name", ["ctc", "seq2seq"])
def test_subwords_are_learned_kept_and_written(tmp_path, sonorant, attending, few, name, kind):
    pytest.importorskip("sentencepiece")
    out = tmp_path / "run"
    words = [*attending[2:-1], *([DECODER] if name == "seq2seq" else []), "train.steps=2"]
    words += [f"vocabulary={{kind: {kind}, size: 150}}", f"out={out}", "-q"]
    assert sonorant("finetune", name, *words).code == 0
    vocabulary = load_vocabulary(out / "vocabulary.json")
    assert len(vocabulary) == 150
    assert load_file(checkpoint.latest(out) / "objective.safetensors")["head.weight"].shape[0] == 150
    assert len(hypotheses(sonorant("transcribe", out, few))) == 40
    done = sonorant("export", out, "--out", tmp_path / "x.onnx")
    assert (done.code, "only CTC over characters can be exported" in done.line) == (2, True)


def test_mistakes_are_told_in_one_line(tmp_path, sonorant, tuning, attending, finetuned, few, clip):
    pytest.importorskip("sentencepiece")
    odd = tmp_path / "odd.jsonl"
    clips = list(read(few))
    write(odd, [msgspec.structs.replace(clips[0], text="a\u2581b"), *clips[1:]])
    subwords = "vocabulary={kind: unigram, size: 150}"
    for words, told in (
        (
            [*tuning, "vocabulary={kind: unigram, size: 9000}"],
            r"few.jsonl: vocabulary.size: 9000: .+ at most",
        ),
        ([*tuning, "vocabulary={kind: words, size: 9}"], "vocabulary.kind: "),
        ([*tuning, "vocabulary={kind: bpe}"], "vocabulary: size belongs to unigram and bpe"),
        (
            [*tuning, subwords, "normalisation=none", f"data.manifest={odd}"],
            r"odd.jsonl:1: .+ has no label",
        ),
        ([*tuning, "objective.name=apc"], "objective.name: 'apc' is not one of ctc, seq2seq"),
        (["transcribe", finetuned, clip.path, "--ctc-weight", "0.5"], "has no attention decoder"),
    ):
        done = sonorant(*words, *([f"out={tmp_path / 'run'}", "-q"] if words[0] == "finetune" else []))
        assert done.code == 2, done
        assert re.search(told, done.line), done


def test_texts_that_lose_characters_are_told_with_their_line(tmp_path, sonorant, tuning, few):
    held_out = tmp_path / "held.jsonl"
    clips = [each for each in read(few) if each.text]
    write(held_out, [clips[0], msgspec.structs.replace(clips[1], text="\u00df a"), *clips[2:5]])
    done = sonorant(*tuning, "train.steps=1", f"data.validation={held_out}", f"out={tmp_path / 'run'}")
    assert f"1 texts lose characters that training never saw: {held_out}:2: " in done.err
    assert "U+00DF" in done.err


def test_its_ctc_branch_aligns_and_listens(tmp_path, sonorant, seq2seq, few, clip):
    out = tmp_path / "aligned.jsonl"
    done = sonorant("align", few, "--run", seq2seq, "--out", out, "--min-score", -30)
    assert (done.code, len(read(out))) == (0, 40), done.err
    heard = sonorant("listen", seq2seq, clip.path, "--chunk", 60)
    network = load_recogniser(seq2seq)
    alone = replace(network, decoder=None)
    (frames,) = [each for batch in posteriors([clip], alone) for each in batch.values()]
    found = decode.words(decode.greedy(frames[:, : len(network.vocabulary)]), network.vocabulary, 1.0)
    assert heard.out.split() == [word.text for word in found]


def test_without_ctc_it_can_neither(tmp_path, sonorant, attending, few, clip):
    run = tmp_path / "attention"
    assert sonorant(*attending, f"out={run}", "objective.ctc_weight=0", "train.steps=1", "-q").code == 0
    for line in (["align", few, "--run", run], ["listen", run, clip.path]):
        done = sonorant(*line)
        assert (done.code, "was trained without CTC" in done.line) == (2, True)
