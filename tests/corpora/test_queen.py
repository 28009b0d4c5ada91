"""Guards reading the game's archive: dialogues and scenes, which clip says which line, and the MP3s."""

import io
import struct
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from sonorant.corpora import queen
from sonorant.data import debian, manifest
from sonorant.data.entries import CorpusError
from sonorant.data.split import Limits, low_resource

BANK = b"AmBk" + bytes(16)


def mp3(seconds: float) -> bytes:
    rate = 11025
    wave = 0.3 * np.sin(np.arange(int(seconds * rate)) * 0.2)
    file = io.BytesIO()
    soundfile.write(file, wave, rate, format="MP3")
    return file.getvalue()


def padded(text: str, align: int, place: int) -> bytes:
    """A string as the game has it, when it starts at `place`."""
    data = bytes([len(text)]) + text.encode("cp850")
    return data + bytes(-(place + len(data)) % align) if text else data


def dialogue(key: int, person: dict[int, str], joe: dict[int, str], again: tuple[str, str]) -> bytes:
    """A .DOG file with one level and no greeting of Joe's."""
    body = bytearray(32 + 96)

    def sentences(lines: dict[int, str]) -> int:
        start = len(body)
        for number, text in lines.items():
            body.extend(struct.pack(">HH", 0, number))
            body.extend(padded(text, 4, len(body)))
        return start

    sentences(joe)
    person_start = sentences(person)
    again_start = len(body)
    for text in again:
        body.extend(padded(text, 2, len(body)))
    struct.pack_into(">5h", body, 0, 1, 0, key, len(joe), len(person))
    struct.pack_into(">3H", body, 22, person_start, 0, again_start)
    return BANK + bytes(body)


def scene(direction: str, *sentences: str) -> bytes:
    """A .CUT file; the engine counts its actions as negative where players may not skip them."""
    body = bytearray(struct.pack(">HhHHHH", 2, -len(sentences), 0, 0, 12, 0))
    for text in (direction, *sentences):
        body.extend(padded(text, 2, len(body)))
    return BANK + bytes(body)


def archive(files: dict[str, bytes]) -> bytes:
    start = 15 + 21 * len(files)
    table, contents = b"QTBLCEM10\0\0\0\1" + struct.pack(">H", len(files)), b""
    for name, data in files.items():
        table += struct.pack(">12sBII", name.encode(), 1, start + len(contents), len(data))
        contents += data
    return table + contents


FILES = {
    "BOB1.DOG": dialogue(
        7,
        {1: "Hi.*03*WTWho*XY00(237,112) are you?", 0x2A: "Super Treatment^_."},
        {2: "I'm *GDJoe*FL King.", 3: "..."},
        ("You again?", ""),
    ),
    "JIM.DOG": dialogue(12, {}, {0: "Hello.*04"}, ("", "Bye")),
    "C3A.CUT": scene("*FR", "*", "Help!*04Joe!", "Meanwhile"),
    "C41B.CUT": scene("", "Odd", "Even"),
    "COPY.PCX": b"picture",
}
SPEECH = {
    "070001P1": ("Hi.", "queen-bob"),
    "070001P3": ("Who", "queen-bob"),
    "070001P4": ("are you?", "queen-bob"),
    "07002AP1": ("Super Treatment.", "queen-bob"),
    "070002J1": (None, None),
    "070002J2": ("Joe", "queen-joe"),
    "070002J3": ("King.", "queen-joe"),
    "070003J1": (None, "queen-joe"),
    "07XXXXP1": ("You again?", "queen-bob"),
    "12SSSSJ1": ("Hello.", "queen-joe"),
    "12XXXXJ1": ("Bye", "queen-joe"),
    "C3A__021": ("Help!", None),
    "C3A__022": ("Joe!", None),
    "C41B_011": ("Odd", None),
    "C41B_021": ("Even", None),
    "JOE00121": (None, "queen-joe"),
}


@pytest.fixture(scope="module")
def game(tmp_path_factory):
    sound = mp3(0.25)
    files = FILES | {f"{name}.SB": sound for name in [*SPEECH, "1000SSSS"]}
    path = tmp_path_factory.mktemp("game") / "queen.1c"
    path.write_bytes(archive(files))
    return path, sound


def test_each_clip_has_its_line_its_speaker_and_its_bytes(game, tmp_path):
    path, sound = game
    clips = queen.extract(path, tmp_path / "audio")
    assert {clip.id: (clip.text, clip.speaker) for clip in clips} == {
        f"queen-{name}": line for name, line in SPEECH.items()
    }
    for clip in clips:
        data = (tmp_path / "audio" / f"{clip.id[6:]}.mp3").read_bytes()
        assert data == sound
        wave, rate = soundfile.read(clip.path)
        assert (clip.samples, clip.rate) == (len(wave), rate) == (len(wave), 11025)
        assert (clip.language, clip.source) == ("en", "queen")


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.text("ab *", min_size=0, max_size=9), st.text("ab", min_size=1, max_size=9))
def test_no_length_of_a_string_moves_the_lines_behind_it(direction, first):
    lines = dict(queen._scene(scene(direction, first, "*", "last!")[20:], "C3A"))
    assert lines["C3A__011"].text == first
    assert lines["C3A__031"].text == "last!"


def test_groups_are_dialogues_joes_thoughts_and_scenes():
    assert [queen.group(name) for name in ("070008P2", "JOE00121", "C41B_011", "C100A021", "CINTR052")] == [
        "07",
        "JO",
        "C41B",
        "C100A",
        "CINTR",
    ]


def test_another_file_is_refused(tmp_path):
    path = tmp_path / "queen.1c"
    path.write_bytes(b"RIFF----")
    with pytest.raises(CorpusError, match=r"queen\.1c: not an archive of the game: starts with b'RIFF'"):
        queen.extract(path, tmp_path)


def test_fetch_writes_every_part(tmp_path, monkeypatch):
    names = [f"{key:02d}{number:04X}P" for key in range(4) for number in range(40)]
    files = {
        f"B{key}.DOG": dialogue(key, {n: f"line {key} {n}" for n in range(40)}, {}, ("", ""))
        for key in range(4)
    }
    sound = mp3(0.1)
    files |= {f"{name}1.SB": sound for name in names}
    folder = tmp_path / "unpacked"
    (folder / queen.ARCHIVE).parent.mkdir(parents=True)
    (folder / queen.ARCHIVE).write_bytes(archive(files))

    @contextmanager
    def unpacked(packages, out):
        assert packages == ["flight-of-the-amazon-queen"]
        yield folder

    monkeypatch.setattr(debian, "unpacked", unpacked)
    few = Limits(held_out=0.05, small=0.01, large=0.05)
    monkeypatch.setattr(queen, "low_resource", partial(low_resource, limits=few))
    out = tmp_path / "out"
    clips = queen.fetch(out)
    assert len(clips) == 160
    parts = {path.stem: manifest.read(path) for path in out.glob("*.jsonl")}
    assert sorted(parts) == [
        "all",
        "dev",
        "paired-10m",
        "paired-1h",
        "test",
        "train",
        "unpaired-speech",
        "untranscribed",
    ]
    assert parts["all"] == clips
    assert '"path":"audio/' in (out / "test.jsonl").read_text()
    sentences = (out / "unpaired-text.txt").read_text().splitlines()
    unheard = len(parts["train"]) - len(parts["paired-1h"]) - len(parts["unpaired-speech"])
    assert len(sentences) == unheard > 0
