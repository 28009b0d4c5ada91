"""Guards the voices from Debian: G.722 prompts with their texts, and phones with their times."""

import gzip
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sonorant.corpora import asterisk, festvox_ru
from sonorant.data import debian, manifest
from sonorant.data.entries import CorpusError

SPEECH = Path(__file__).parents[1] / "fixtures/speech/ast-en-conf-hasjoin.flac"


def package(monkeypatch, folder):
    @contextmanager
    def unpacked(packages, out):
        out.mkdir(parents=True, exist_ok=True)
        yield folder

    monkeypatch.setattr(debian, "unpacked", unpacked)


def g722(path: Path) -> int:
    """Write the speech as G.722 and give its length in samples."""
    av = pytest.importorskip("av")
    wave, _ = soundfile.read(SPEECH, dtype="int16")
    wave = wave[:16000]
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="g722") as container:
        stream = container.add_stream("g722", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(wave[None], format="s16", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return len(wave)


def test_prompts_are_decoded_and_named(tmp_path, monkeypatch):
    tree = tmp_path / "tree"
    text = "; comment\nhello: Hello: you.\nbeep: [a beep]\nletters/at: at [@]\nvm-saved: [maybe] saved\n"
    for language, voice in asterisk.VOICES.items():
        notes = tree / f"usr/share/doc/asterisk-core-sounds-{language}/core-sounds-{language}.txt.gz"
        notes.parent.mkdir(parents=True)
        notes.write_bytes(gzip.compress(text.encode()))
        for name in ("hello", "beep", "letters/at", "vm-saved", "silence/1", "untold"):
            samples = g722(tree / f"usr/share/asterisk/sounds/{voice}/{name}.g722")
        (tree / f"usr/share/asterisk/sounds/{voice}/empty.g722").touch()
    package(monkeypatch, tree)
    clips = asterisk.fetch(tmp_path / "out")
    english = {clip.id: clip.text for clip in clips if clip.language == "en"}
    assert english == {
        "asterisk-en-hello": "Hello: you.",
        "asterisk-en-letters/at": "at",
        "asterisk-en-untold": None,
        "asterisk-en-vm-saved": None,
    }
    assert manifest.read(tmp_path / "out/ru.jsonl") == [clip for clip in clips if clip.language == "ru"]
    original, _ = soundfile.read(SPEECH)
    decoded, rate = soundfile.read(clips[0].path)
    assert (clips[0].samples, clips[0].rate, rate) == (samples, 16000, 16000)
    # The codec's two-band filter delays by 22 samples.
    assert np.corrcoef(decoded[22:], original[: samples - 22])[0, 1] > 0.95


def test_without_the_extra_the_message_names_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(CorpusError, match=r"pip install 'sonorant\[av\]'"):
        asterisk.fetch(tmp_path)


def test_phones_follow_each_other_in_seconds(tmp_path, monkeypatch):
    voice = tmp_path / "tree" / festvox_ru.VOICE
    for name in ("etc", "lab", "wav"):
        (voice / name).mkdir(parents=True)
    wave, rate = soundfile.read(SPEECH)
    soundfile.write(voice / "wav/ru_0001.wav", wave, rate)
    (voice / "lab/ru_0001.lab").write_text("separator ;\n#\n0.34200 125 pau \n0.39200 125 k\n0.5 125 ay\n")
    (voice / "etc/txt.done.data").write_text('( ru_0001 "\u0432\u043e\u043b+\u043e\u0441, \u0434\u0430." )\n')
    package(monkeypatch, tmp_path / "tree")
    (clip,) = festvox_ru.fetch(tmp_path / "out")
    assert clip.units == [("pau", 0.0, 0.342), ("k", 0.342, 0.392), ("ay", 0.392, 0.5)]
    assert clip.text == "\u0432\u043e\u043b\u043e\u0441, \u0434\u0430."
    assert (clip.samples, clip.rate, clip.language) == (len(wave), rate, "ru")
    assert manifest.read(tmp_path / "out/all.jsonl") == [clip]
