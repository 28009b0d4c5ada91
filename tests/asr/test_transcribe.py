"""Guards long recordings: chunks join to what the whole gives, and windows cut no character in two."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sonorant.asr.beam import beam
from sonorant.asr.decode import greedy
from sonorant.asr.transcribe import (
    Recogniser,
    TranscribeConfig,
    stitched,
    transcribe,
    transcribe_blocks,
    windows,
)
from sonorant.asr.vocabulary import Vocabulary
from sonorant.config import ConfigError, convert
from sonorant.data.audio import load
from sonorant.data.manifest import read
from sonorant.encoders.base import Frontend
from sonorant.types import Padded

SPEECH = Path(__file__).parents[1] / "fixtures" / "speech"
VOCABULARY = Vocabulary.of(["abcdefgh"])
quick = settings(max_examples=40, deadline=None, derandomize=True)


class Local(Frontend):
    """Convolutions whose frames see 40 ms and 0.22 s of their surroundings."""

    dim, stride, rate = len(VOCABULARY), 320, 16000

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.near = nn.Conv1d(1, 24, 640, stride=320)
        self.wide = nn.Conv1d(24, len(VOCABULARY), 11, padding=5)
        self.longest = 0

    def frames(self, samples):
        return max(0, (samples - 640) // 320 + 1)

    def forward(self, inputs):
        self.longest = max(self.longest, inputs.values.shape[1])
        values = self.wide(torch.tanh(3 * self.near(inputs.values[:, None]))) * 8
        lengths = torch.tensor([self.frames(length) for length in inputs.lengths.tolist()])
        return Padded(values.transpose(1, 2).log_softmax(-1), lengths)


@pytest.fixture(scope="module")
def speech():
    """The fixtures' first 20 s or so, one behind the other."""
    return np.concatenate([load(clip, 16000) for clip in read(SPEECH / "manifest.jsonl")[:12]])


@pytest.fixture
def recogniser():
    model = Local()
    return Recogniser(model, model, VOCABULARY)


def pieces(audio, size=16000):
    return [audio[start : start + size] for start in range(0, len(audio), size)]


def whole(recogniser, audio):
    inputs = Padded(torch.from_numpy(audio)[None], torch.tensor([len(audio)]))
    with torch.inference_mode():
        return recogniser.log_probabilities(inputs).values[0].numpy()


@pytest.mark.parametrize("length", [2.0, 2.02, 2.6, 3.2, 3.21, 7.777, 15.0])  # seconds
def test_chunks_join_to_the_frames_of_the_whole(recogniser, speech, length):
    audio = speech[: round(length * 16000)]
    config = TranscribeConfig(chunk_seconds=2.0, margin_seconds=0.3)
    joined = np.concatenate(list(stitched(pieces(audio, 5000), recogniser, config)))
    np.testing.assert_allclose(joined, whole(recogniser, audio), atol=1e-4)
    assert recogniser.frontend.longest == len(audio)  # that of the whole
    assert joined.argmax(1).max() > 0


def test_memory_does_not_grow_with_the_recording(recogniser, speech):
    config = TranscribeConfig(chunk_seconds=2.0, margin_seconds=0.3, window_seconds=3.0)
    taken = 0

    def endless():
        nonlocal taken
        for piece in itertools.cycle(pieces(speech)):
            taken += 1
            yield piece

    said = transcribe_blocks(endless(), recogniser, config)
    for word in itertools.islice(said, 60):
        assert word.start <= word.end <= taken
        assert taken - word.end < 3 * 3.0 + 2.0
    assert recogniser.frontend.longest == 32000


def test_a_recording_of_one_chunk_is_what_the_recogniser_says_of_it(recogniser):
    clip = read(SPEECH / "manifest.jsonl")[0]
    audio = load(clip, 16000)
    expected = "".join(VOCABULARY.decode([t.label]) for t in greedy(whole(recogniser, audio))).split()
    transcript = transcribe(Path(clip.path), recogniser)
    assert [word.text for word in transcript.words] == expected
    assert transcript.text == " ".join(expected)
    assert len(expected) > 1


def test_long_and_whole_recordings_have_the_same_words(recogniser, speech):
    long = TranscribeConfig(chunk_seconds=2.0, margin_seconds=0.3, window_seconds=3.0)
    short = TranscribeConfig(chunk_seconds=60.0, window_seconds=60.0)
    audio = speech[: 12 * 16000]
    found = transcribe_blocks(pieces(audio), recogniser, long)
    expected = transcribe_blocks(pieces(audio), recogniser, short)
    times = [(word.text, word.start, word.end) for word in found]
    assert times == [(word.text, word.start, word.end) for word in expected]
    assert len(times) > 20


@pytest.mark.parametrize("seed", range(5))
def test_windows_change_nothing_for_the_beam_where_the_recogniser_is_sure(seed):
    random = np.random.default_rng(seed)
    rows = np.log(
        0.9 * np.eye(4)[random.integers(0, 4, size=48)] + 0.1 * random.dirichlet(np.ones(4), size=48)
    )
    cut = list(windows([rows], 12))
    assert len(cut) > 1
    labels = [token.label for window in cut for token in beam(window, width=16)]
    assert labels == [token.label for token in beam(rows, width=16)]


def test_a_beam_can_be_asked_for(recogniser, speech):
    audio = speech[: 4 * 16000]
    expected = beam(whole(recogniser, audio), width=4)
    found = transcribe_blocks(pieces(audio), recogniser, TranscribeConfig(beam=4))
    letters = "".join(VOCABULARY.decode([token.label]) for token in expected)
    assert [word.text for word in found] == letters.split()
    assert (
        letters.split()
        != "".join(VOCABULARY.decode([t.label]) for t in greedy(whole(recogniser, audio))).split()
    )


@quick
@given(st.integers(1, 60), st.integers(1, 12), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_windows_change_nothing_for_the_greedy_decoder(count, length, size, seed):
    rows = np.log(np.random.default_rng(seed).dirichlet(np.full(3, 0.3), size=count) + 1e-9)
    cut = list(windows(pieces(rows, size), length))
    np.testing.assert_array_equal(np.concatenate(cut), rows)
    labels = [token.label for window in cut for token in greedy(window)]
    assert labels == [token.label for token in greedy(rows)]


def test_windows_are_cut_behind_the_surest_blank():
    rows = np.full((10, 2), np.log(0.5))
    rows[6] = np.log([0.9, 0.1])
    assert [len(window) for window in windows([rows], 8)] == [7, 3]


def test_a_window_waits_for_the_end_of_a_character_that_goes_on():
    rows = np.log(np.tile([0.1, 0.9], (30, 1)))
    assert [len(window) for window in windows(pieces(rows, 4), 8)] == [30]


def test_recordings_too_short_for_a_frame_have_no_words(recogniser):
    for audio in ([], [np.zeros(639, dtype=np.float32)]):
        assert list(transcribe_blocks(audio, recogniser, TranscribeConfig())) == []
        assert list(transcribe_blocks(audio, recogniser, TranscribeConfig(beam=4))) == []


def test_margins_that_leave_nothing_are_refused(speech):
    with pytest.raises(ConfigError, match="chunk_seconds: 4 leaves nothing between two margins of 2 s"):
        convert({"chunk_seconds": 4}, TranscribeConfig)
    short = Recogniser(lambda inputs: Padded(torch.zeros(1, 3, 10), torch.tensor([3])), Local(), VOCABULARY)
    with pytest.raises(ValueError, match=r"margin_seconds: 0.3 is less than what the front end looks ahead"):
        list(stitched([speech], short, TranscribeConfig(chunk_seconds=2.0, margin_seconds=0.3)))
