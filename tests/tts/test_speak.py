"""Guards synthesis: what a sentence becomes is its own affair, and a bad one does not stop the others."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sonorant.cli import main
from sonorant.data.audio import load
from sonorant.data.manifest import read
from sonorant.tts import command, engine, loudness
from sonorant.tts.engine import EngineError, SpeechError, opened, speakers
from sonorant.tts.speak import SpeakConfig, speak

FAKE = Path(__file__).parents[1] / "fixtures" / "fake_tts.py"
LINE = f"{sys.executable} -I -S {FAKE} {{out}} {{text}} {{voice}} {{pace}}"
SENTENCES = ["Hello there.", "It is late.", "Who are you?", "Come in!", "Not today.", "So long.", "Maybe."]


def voices(line=LINE, names=("a", "bb", "cccc")):
    return speakers([command.engine(line, names)])


def spoken(sentences, folder, **settings):
    return speak(sentences, voices(), folder, SpeakConfig(**settings))


def test_a_sentence_becomes_a_file_of_its_own_voice_and_pace(tmp_path):
    found = spoken(SENTENCES, tmp_path)
    assert [clip.text for clip in found.clips] == SENTENCES
    assert (found.made, found.repeated, found.skipped) == (len(SENTENCES), 0, [])
    lengths = set()
    for clip in found.clips:
        wave, rate = soundfile.read(clip.path)
        assert (Path(clip.path).suffix, rate, wave.ndim, clip.source) == (".flac", 16000, 1, "synthetic")
        assert (len(wave), clip.rate, clip.language) == (clip.samples, 16000, "en")
        pitch = np.abs(np.fft.rfft(wave)).argmax() * rate / len(wave)
        name = clip.speaker.removeprefix(f"{Path(sys.executable).name}:")
        assert pitch == pytest.approx(200 + 100 * len(name), abs=4)
        lengths.add(round(0.5 / clip.seconds, 1))
    assert {clip.speaker[-1] for clip in found.clips} == {"a", "b", "c"}
    assert lengths == {0.9, 1.0, 1.1}
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".flac"] * len(SENTENCES)


def test_neither_order_nor_threads_nor_the_order_of_voices_change_a_clip(tmp_path):
    first = spoken(SENTENCES, tmp_path / "a", threads=1)
    reordered = speakers([command.engine(LINE, ("cccc", "a", "bb"))])
    second = speak(SENTENCES[::-1], reordered, tmp_path / "b", SpeakConfig(threads=3))
    one, two = ({clip.id: clip for clip in each.clips} for each in (first, second))
    assert one.keys() == two.keys()
    for name, clip in one.items():
        assert (clip.text, clip.speaker, clip.samples) == (
            two[name].text,
            two[name].speaker,
            two[name].samples,
        )
        assert Path(clip.path).read_bytes() == Path(two[name].path).read_bytes()
    other = spoken(SENTENCES, tmp_path / "a", seed=1)
    assert [clip.speaker for clip in other.clips] != [clip.speaker for clip in first.clips]


def test_what_is_there_is_not_spoken_again_and_what_is_broken_is(tmp_path):
    first = spoken(SENTENCES, tmp_path)
    Path(first.clips[1].path).write_bytes(b"")
    Path(first.clips[2].path).unlink()
    second = spoken([*SENTENCES, "Oh.", "Oh."], tmp_path)
    assert (second.made, second.repeated) == (3, 1)
    assert second.clips[:-1] == first.clips
    # Another version of the program is another voice.
    script = tmp_path / "tts.py"
    shutil.copy(FAKE, script)
    line = LINE.replace(str(FAKE), str(script))
    (before,) = speak(SENTENCES[:1], voices(line), tmp_path, SpeakConfig()).clips
    assert before.id == first.clips[0].id
    script.write_text(script.read_text() + "# newer\n")
    (after,) = speak(SENTENCES[:1], voices(line), tmp_path, SpeakConfig()).clips
    assert before.id != after.id


def test_a_sentence_that_fails_is_skipped_and_named(tmp_path):
    lines = ["Fine.", "I crash.", "", "I hang.", "I am silent.", "3/4", "I say nothing.", "Fine as well."]
    found = spoken(lines, tmp_path, seconds=1.0)
    assert [clip.text for clip in found.clips] == ["Fine.", "Fine as well."]
    reasons = dict(found.skipped)
    assert list(reasons) == [2, 4, 5, 6, 7]
    assert "ended with code 1: out of breath" in reasons[2]
    assert "gave nothing in 1 s" in reasons[4]
    assert reasons[5].endswith("is silent")
    assert reasons[6] == "no words for '/' (write it as it is spoken)"
    assert "cannot be read" in reasons[7]
    assert {path.suffix for path in tmp_path.iterdir()} == {".flac"}
    with pytest.raises(SpeechError, match=r"none of 2 sentences could be spoken; line 1: .*out of breath"):
        spoken(["I crash.", "I crash again."], tmp_path)


def test_no_shell_sees_a_sentence(tmp_path):
    mark = tmp_path / "mark"
    text = f"$(touch {mark}); touch {mark} `touch {mark}` 'quoted' \"twice\" -x"
    argument = speakers([command.engine(f"{sys.executable} -I -S {FAKE} {{out}} {{text}}", ())])
    stdin = speakers([command.engine(f"{sys.executable} -I -S {FAKE} {{out}}", ())])
    log = tmp_path / "log"
    for each in (argument, stdin):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FAKE_TTS_LOG", str(log))
            each[0].engine.speak(text, voice="", pace=1, out=tmp_path / "out.wav", seconds=20)
    assert log.read_text() == f"{text}\n" * 2
    assert not mark.exists()


def test_a_program_that_hangs_is_ended_with_what_it_started(tmp_path):
    child = tmp_path / "child"
    line = f"sh -c 'sleep 30 & echo $! > {child}; wait' {{out}}"
    with pytest.raises(SpeechError, match="gave nothing"):
        command.engine(line, ()).speak("x", voice="", pace=1, out=tmp_path / "x.wav", seconds=0.5)
    number = child.read_text().strip()
    for _ in range(100):
        status = Path(f"/proc/{number}/stat")
        if not status.exists() or status.read_text().split()[2] == "Z":
            return
        time.sleep(0.02)
    pytest.fail("its child lives on")


@pytest.mark.parametrize(
    ("line", "names", "told"),
    [
        ("say {text}", (), "has no {out}"),
        ("say {out} 'x", (), "No closing quotation"),
        ("say {out} {voice}", (), "give both {voice} and voices"),
        ("cat {out}", ("a",), "give both {voice} and voices"),
        ("no-such-program {out}", (), "no-such-program: no such program"),
    ],
)
def test_a_wrong_command_line_is_refused(line, names, told):
    with pytest.raises(EngineError) as error:
        command.engine(line, names)
    assert told in str(error.value)


def test_a_killed_run_goes_on(tmp_path):
    text, log = tmp_path / "text.txt", tmp_path / "log"
    text.write_text("\n".join([*SENTENCES, "This one may hang.", "The end."]))
    words = [sys.executable, "-m", "sonorant", "speak", text, "--out", tmp_path / "speech", "--threads", "1"]
    words += ["--command", f"{sys.executable} -I -S {FAKE} {{out}} {{text}}"]
    process = subprocess.Popen([str(word) for word in words], env={**os.environ, "FAKE_TTS_LOG": str(log)})
    for _ in range(3000):
        if log.exists() and "hang" in log.read_text():
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(list((tmp_path / "speech" / "audio").glob("*.flac"))) == len(SENTENCES)
    assert not (tmp_path / "speech" / "manifest.jsonl").exists()
    log.unlink()
    done = subprocess.run(
        [*map(str, words), "--timeout", "1", "--json"],
        env={**os.environ, "FAKE_TTS_LOG": str(log)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert log.read_text() == "This one may hang.\nThe end.\n"
    told = json.loads(done.stdout)
    assert (done.returncode, told["clips"], told["new"], len(told["skipped"])) == (0, 8, 1, 1)
    assert done.stderr.startswith(f"skipped {text}:8: {Path(sys.executable).name}: ")
    assert [clip.text for clip in read(tmp_path / "speech" / "manifest.jsonl")] == [*SENTENCES, "The end."]


def test_the_command_ends_with_2_for_mistakes_and_1_where_nothing_is_spoken(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    text = tmp_path / "text.txt"

    def code(*words):
        with pytest.raises(SystemExit) as end:
            main(["speak", str(text), "--out", str(tmp_path / "out"), *words])
        return end.value.code, capsys.readouterr().err

    text.write_text("\n \n")
    line = f"{sys.executable} -I -S {FAKE} {{out}} {{text}}"
    assert code("--command", line) == (2, f"sonorant: {text}: has no sentences (write one a line)\n")
    for name in ("flite", "espeak-ng", "piper"):
        status, err = code("--engine", name)
        assert status == 2
        assert err.startswith(f"sonorant: {name}: no such program on PATH (")
        assert err.count("\n") == 1
    text.write_text("I crash.\n")
    status, err = code("--command", line)
    assert status == 1
    assert "none of 1 sentences could be spoken; line 1: " in err


def test_all_are_as_loud_and_none_is_clipped(tmp_path):
    clips = spoken(["A soft one.", "A loud one."], tmp_path).clips
    for clip in clips:
        wave = load(clip, 16000)
        assert loudness.level(wave, 16000) == pytest.approx(loudness.LEVEL, abs=0.05)
    random = np.random.default_rng(0)
    noise = random.standard_normal(16000).astype(np.float32) * 0.1
    paused = np.concatenate([noise, *[noise * np.float32(0.01)] * 3, noise])
    # Three seconds of a noisy pause do not make two of speech softer; the mean of squares is 4 dB lower.
    assert loudness.level(paused, 16000) == pytest.approx(-20, abs=1)
    assert 10 * np.log10((paused**2).mean()) < -23.5
    clicks = np.zeros(16000, np.float32)
    clicks[::400] = 0.5
    assert np.abs(loudness.levelled(clicks, 16000)).max() == pytest.approx(loudness.PEAK)
    assert loudness.levelled(np.zeros(999, np.float32), 16000) is None


@pytest.mark.parametrize("name", ["flite", "espeak-ng", "hibari"])
def test_an_engine_that_is_installed_speaks(name, tmp_path):
    try:
        engines = opened(name)
    except EngineError as error:
        pytest.skip(str(error))
    found = speak(
        ["Hello there.", "-Minus is no option."], speakers(engines), tmp_path, SpeakConfig(paces=(1.5,))
    )
    assert not found.skipped
    again = speak(["Hello there."], speakers(opened(name)), tmp_path, SpeakConfig(paces=(1.5,)))
    assert again.made == 0
    slow = speak(["Hello there."], speakers(engines), tmp_path, SpeakConfig(paces=(0.75,)))
    assert 1.3 < slow.clips[0].seconds / found.clips[0].seconds < 3
    with pytest.raises(EngineError, match="nosuch"):
        opened(name, ["nosuch"])


def test_voices_of_several_engines_stand_side_by_side(monkeypatch):
    class Module:
        def __init__(self, name):
            self.name = name

        def engine(self, names):
            return command.Command((self.name,), self.name, tuple(names) or ("own",), "1", False)

    monkeypatch.setattr(engine, "find", Module)
    asked = opened("flite", ["slt", "espeak-ng:en", "rms", "c:d"])
    assert [each.name for each in speakers(asked)] == ["espeak-ng:en", "flite:c:d", "flite:rms", "flite:slt"]
    assert [each.name for each in speakers(opened("piper"))] == ["piper:own"]
