"""Guards words while they are spoken: blocks change nothing, lines begin with what was told of them."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_transcribe import SPEECH, VOCABULARY, Local

from sonorant.asr import live
from sonorant.asr.decode import greedy, words
from sonorant.asr.live import LiveConfig, listen, live_frames
from sonorant.asr.transcribe import Recogniser, infer
from sonorant.asr.vocabulary import SPACE
from sonorant.data.audio import load
from sonorant.data.manifest import read
from sonorant.types import Padded

RATE = 16000


@pytest.fixture(scope="module")
def speech():
    """12 s."""
    clips = read(SPEECH / "manifest.jsonl")[:12]
    return np.concatenate([load(clip, RATE) for clip in clips])[: 12 * RATE]


@pytest.fixture
def recogniser(monkeypatch):
    monkeypatch.setattr(live, "CONTEXT", 1.0)
    monkeypatch.setattr(live, "LINE", 1.5)
    model = Local()
    return Recogniser(model, model, VOCABULARY)


class Fond:
    """A scorer that likes some labels."""

    start = 0

    def ready(self, states):
        pass

    def added(self, state):
        return np.linspace(-1, 1, len(VOCABULARY))[:: -1 if state % 2 else 1]

    def step(self, state, label):
        return state + 1

    def end(self, state):
        return -1.0 if state % 2 else 1.0


def blocks(audio, seed):
    """Of 1 to 5000 samples."""
    random = np.random.default_rng(seed)
    while len(audio):
        size = int(random.integers(1, 5000))
        yield audio[:size]
        audio = audio[size:]


def said(heard):
    return [(each.text, each.words) for each in heard if each.words is not None]


CONFIGS = [
    LiveConfig(chunk_seconds=0.3, look_ahead_seconds=0.4),
    LiveConfig(chunk_seconds=0.02, look_ahead_seconds=0.0, beam=2),
    LiveConfig(chunk_seconds=1.7, look_ahead_seconds=0.4, beam=3),
]


@pytest.mark.parametrize("config", CONFIGS, ids=["greedy", "small", "beam"])
@pytest.mark.parametrize("seconds", [12.0, 3.333, 0.5, 0.03])
def test_blocks_change_nothing(recogniser, speech, config, seconds):
    audio = speech[: round((min(seconds, 1.5) if config.chunk_seconds < 0.1 else seconds) * RATE)]
    scorer = Fond() if config.beam == 3 else None
    whole = list(listen([audio], recogniser, config, scorer=scorer))
    parts = list(listen(blocks(audio, 1), recogniser, config, scorer=scorer))
    assert [(each.text, each.words) for each in parts] == [(each.text, each.words) for each in whole]
    assert len(said(whole)) > 1 or len(audio) < 2 * RATE


def test_the_words_are_those_of_a_search_over_the_same_chunks(recogniser, speech):
    config = CONFIGS[0]
    frames = np.concatenate([each for each, _ in live_frames([speech], recogniser, config)])
    offline = list(words(greedy(frames), VOCABULARY, recogniser.seconds_per_frame))
    found = [word for _, line in said(listen(blocks(speech, 2), recogniser, config)) for word in line]
    assert "".join(word.text for word in found) == "".join(word.text for word in offline)
    starts = {round(word.start, 6) for word in found}
    assert all(round(word.start, 6) in starts for word in offline)
    assert len(offline) > 20


def test_enough_context_and_look_ahead_give_the_frames_of_the_whole(recogniser, speech):
    for config in CONFIGS[0], CONFIGS[2]:
        frames = np.concatenate([each for each, _ in live_frames(blocks(speech, 3), recogniser, config)])
        np.testing.assert_allclose(frames, infer(speech, recogniser), atol=1e-4)
    assert recogniser.frontend.longest == len(speech)
    short = speech[:RATE]
    frames = np.concatenate([each for each, _ in live_frames([short], recogniser, CONFIGS[1])])
    assert np.abs(frames - infer(short, recogniser)).max() > 0.1  # without look-ahead


@pytest.mark.parametrize("config", CONFIGS, ids=["greedy", "small", "beam"])
def test_a_line_begins_with_each_of_its_partial_results(recogniser, speech, config):
    scorer = Fond() if config.beam == 3 else None
    events = list(listen(blocks(speech[: 4 * RATE], 4), recogniser, config, scorer=scorer))
    told, partial, spoken, last = "", 0, [], 0.0
    for each in events:
        if each.words is None:
            assert each.text.startswith(told)
            partial += each.text != told
        else:
            assert each.text.startswith(told)
            assert each.text == " ".join(word.text for word in each.words)
            spoken += each.words
        assert each.seconds >= last
        told, last = ("" if each.words else each.text), each.seconds
    assert partial > 2
    assert all(before.end <= after.start for before, after in itertools.pairwise(spoken))
    assert spoken[-1].end <= 4


def planted(labels):
    """A recogniser of 20 ms frames that is sure of these labels, whatever it hears."""
    rows = np.log(np.eye(len(VOCABULARY))[labels] * 0.98 + 0.002)

    class Planted(Local):
        def forward(self, inputs):  # the samples of a frame tell its number

            numbers = inputs.values[0, ::320].round().long()[: self.frames(inputs.values.shape[1])]
            return Padded(torch.from_numpy(rows[numbers.numpy()])[None], torch.tensor([len(numbers)]))

    model = Planted()
    audio = np.repeat(np.arange(len(labels), dtype=np.float32), 320)
    return Recogniser(model, model, VOCABULARY), np.append(audio, np.zeros(320, np.float32))


@pytest.mark.parametrize("beam", [None, 4])
def test_lines_end_in_pauses_and_before_words_once_they_are_long(monkeypatch, beam):
    monkeypatch.setattr(live, "LINE", 1.0)
    a, b = 2, 3
    first = [a, 0, b] + [0] * 40 + [b, SPACE, SPACE, a, a]  # 40 frames are no pause
    babble = [a, 0] * 60
    recogniser, audio = planted(first + [0] * 60 + [a, 0, b, SPACE, a] * 12 + babble)
    heard = said(listen([audio], recogniser, LiveConfig(beam=beam, chunk_seconds=0.1)))
    lines = [text for text, _ in heard]
    assert lines[:2] == ["abb a", "ab" + 8 * " ab"]  # the second one has 10 frames of silence and 43 more
    assert lines[2].startswith("ab ab ab aaa")
    assert [text.replace("a", "") for text in lines[3:]] == [""]
    assert "".join(lines[2:]).replace(" ", "") == "ab" * 3 + "a" * 60
    starts = [line[0].start for _, line in heard]
    assert starts[:2] == pytest.approx([0.0, 108 * 0.02])


def test_memory_does_not_grow_with_the_stream(recogniser, speech):
    config = LiveConfig(chunk_seconds=0.3, look_ahead_seconds=0.1)
    endless = itertools.cycle(list(blocks(speech, 5)))
    list(itertools.islice(listen(endless, recogniser, config), 60))
    assert recogniser.frontend.longest <= 1.45 * RATE
    attending = replace(recogniser, log_probabilities=lambda inputs: wider(recogniser, inputs))
    found = itertools.islice(listen(blocks(speech, 5), attending, config), 20)
    assert list(found) == list(itertools.islice(listen(blocks(speech, 5), recogniser, config), 20))


def wider(recogniser, inputs):
    """Frames with what a decoder attends to behind them."""
    frames = recogniser.log_probabilities(inputs)
    return replace(frames, values=frames.values.repeat(1, 1, 2))
