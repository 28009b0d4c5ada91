"""Flight of the Amazon Queen: the English voices of an adventure game of 1995, 273 minutes in 6609 clips.

6023 clips (249 minutes) have their line of the script, which the actors follow closely. Speakers are 30
named characters; in scenes that play by themselves nobody is named. The clips stay the MP3 at 11.025 kHz
that they are. Debian's package flight-of-the-amazon-queen (35 MB) is the source. `fetch` also writes the
low-resource split that `data.split` defines.

A clip's id is `queen-` and its eight-character name in the game's archive. Its group in the split is the
name's first two characters for dialogue (74 groups, of which `JO` is what Joe says to himself) and the name
of the scene for the rest.
"""

import re
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from sonorant.data import debian, manifest
from sonorant.data.entries import CorpusError, Entry, whole
from sonorant.data.manifest import Clip
from sonorant.data.split import low_resource, write_parts
from sonorant.data.text import normalize

LICENCE = "freeware: free to share and to change, not to be sold alone; keep licences/ with the audio"

PACKAGE = "flight-of-the-amazon-queen"
ARCHIVE = "usr/share/scummvm/flight-of-the-amazon-queen/queen.1c"
HEADER = 20  # bytes before the content of dialogue and scene files

Files = Mapping[str, bytes]


class Line(NamedTuple):
    """A line of the script and the character who says it."""

    text: str
    speaker: str | None


def fetch(out: Path) -> list[Clip]:
    """All clips; writes audio/, all.jsonl and the parts of the low-resource split into `out`.

    DebianError: the package cannot be had. CorpusError: it is not what it was.
    """
    with debian.unpacked([PACKAGE], out) as folder:
        clips = extract(folder / ARCHIVE, out / "audio")
    manifest.write(out / "all.jsonl", clips)
    write_parts(low_resource(clips, group), out)
    return clips


def extract(archive: Path, audio: Path) -> list[Clip]:
    """The clips of the game's archive, each one's MP3 written to `audio` byte for byte."""
    files = read_archive(archive)
    script = dict(_script(files))
    audio.mkdir(parents=True, exist_ok=True)
    entries = []
    for name in sorted(_speech(files)):
        path = audio / f"{name}.mp3"
        path.write_bytes(files[f"{name}.SB"])
        line = script.get(name) or Line("", "joe" if name.startswith("JOE") else None)
        speaker = line.speaker and f"queen-{line.speaker}"
        text = line.text if normalize(line.text) else None
        clip = Clip(f"queen-{name}", str(path), speaker=speaker, language="en", text=text, source="queen")
        entries.append(Entry(clip))
    return whole(entries)


def group(name: str) -> str:
    """`07` for 070008P2, which belongs to dialogue 7; `C41B` for C41B_011 in the scene of that name."""
    return name[:2] if name[:2].isdigit() or name.startswith("JOE") else name[:5].rstrip("_")


def read_archive(path: Path) -> Files:
    """The archive's files by their names. It is a table of 21 bytes a file, behind it their contents."""
    data = path.read_bytes()
    if data[:4] != b"QTBL":
        raise CorpusError(f"{path}: not an archive of the game: starts with {data[:4]!r}, expected b'QTBL'")
    (count,) = struct.unpack_from(">H", data, 13)
    files = {}
    for place in range(15, 15 + 21 * count, 21):
        name, _, start, size = struct.unpack_from(">12sBII", data, place)
        files[name.split(b"\0")[0].decode("latin1")] = data[start : start + size]
    return files


def _speech(files: Files) -> Iterator[str]:
    for file in files:
        name, _, kind = file.rpartition(".")
        if kind == "SB" and not name.endswith("SSSS"):  # those are sounds
            yield name


def _script(files: Files) -> Iterator[tuple[str, Line]]:
    """The lines by the name of the clip that speaks each."""
    for name, data in files.items():
        if name.endswith(".DOG"):
            yield from _dialogue(data[HEADER:], re.sub(r"\d*\.DOG$", "", name).lower())
        elif name.endswith(".CUT"):
            yield from _scene(data[HEADER:], name.removesuffix(".CUT"))


def _dialogue(data: bytes, person: str) -> Iterator[tuple[str, Line]]:
    """Joe, the hero, and a person take turns: greetings (SSSS, XXXX), then sentences by their number."""
    levels, _, key, joe_count, person_count = struct.unpack_from(">5h", data, 0)
    person_start, _, again_start = struct.unpack_from(">3H", data, 22)
    joe_start = 32 + 96 * abs(levels)
    for start, count, code, speaker in (
        (person_start, person_count, "P", person),
        (joe_start, joe_count, "J", "joe"),
    ):
        place = start
        for _ in range(count):
            (number,) = struct.unpack_from(">H", data, place + 2)
            sentence, place = _string(data, place + 4, align=4)
            yield from _named(f"{key:02d}{number:04X}{code}", sentence, speaker)
    if not any(data[joe_start + 2 : joe_start + 4]):
        sentence, _ = _string(data, joe_start + 4, align=2)
        yield from _named(f"{key:02d}SSSSJ", sentence, "joe")
    sentence, place = _string(data, again_start, align=2)
    yield from _named(f"{key:02d}XXXXP", sentence, person)
    sentence, _ = _string(data, place, align=2)
    yield from _named(f"{key:02d}XXXXJ", sentence, "joe")


def _scene(data: bytes, name: str) -> Iterator[tuple[str, Line]]:
    """A scene that plays by itself: a stage direction, then a sentence for each of its actions."""
    _, count, _, _, start, _ = struct.unpack_from(">HhHHHH", data, 0)
    _, place = _string(data, start, align=2)
    for number in range(1, abs(count) + 1):
        sentence, place = _string(data, place, align=2)
        yield from _named(f"{name:_<5}{number:02d}", sentence, None)


def _string(data: bytes, place: int, *, align: int) -> tuple[str, int]:
    """A string behind its length of one byte, and the next place; an empty string does not align it."""
    start, end = place + 1, place + 1 + data[place]
    return data[start:end].decode("cp850"), end if end == start else -(-end // align) * align


def _named(prefix: str, sentence: str, speaker: str | None) -> Iterator[tuple[str, Line]]:
    """The segments of a sentence that were recorded one by one; a command such as `*04` ends each.

    `*GD` and `*GM` make Joe grab something in silence; `*XY00(237,112)` makes someone walk.
    """
    pieces = re.split(r"\*(?:XY\d\d\(\d+,\d+\)|(..))", sentence)
    texts, commands = pieces[::2], [*pieces[1::2], None]
    for number, (text, command) in enumerate(zip(texts, commands, strict=True), start=1):
        spoken = " ".join(text.replace("^_", "").split())
        if spoken and command not in ("GD", "GM"):
            yield f"{prefix}{number:X}", Line(spoken, speaker)
