"""The Russian voice msu_ru_nsh of Festival: 99.5 minutes in 620 sentences by one man, with 54,372 phones.

Made by Nickolay Shmyrev in 2005, who also marked the phones (51 of them, `pau` and other pauses among them).
Debian's package festvox-ru (179 MB) is the source; WAV at 16 kHz, as recorded.
"""

import re
from pathlib import Path

from sonorant.data import debian, manifest
from sonorant.data.entries import CorpusError, Entry, whole
from sonorant.data.manifest import Clip
from sonorant.data.split import Limits, low_resource, write_parts

LICENCE = "BSD-like, keep licences/ with the audio"

LIMITS = Limits(held_out=10, large=30)  # half of what they are where there is more
PACKAGE = "festvox-ru"
VOICE = "usr/share/festival/voices/russian/msu_ru_nsh_clunits"

Units = list[tuple[str, float, float]]


def fetch(out: Path) -> list[Clip]:
    """All clips with their phones as `units`; writes audio/, all.jsonl and the low-resource split into `out`.

    DebianError: the package cannot be had. CorpusError: it is not what it was.
    """
    audio = out / "audio"
    with debian.unpacked([PACKAGE], out) as folder:
        voice = folder / VOICE
        texts = transcripts(voice / "etc/txt.done.data")
        audio.mkdir(parents=True, exist_ok=True)
        entries = []
        for wave in sorted((voice / "wav").glob("*.wav")):
            wave.replace(audio / wave.name)
            entries.append(_entry(audio / wave.name, voice / "lab" / f"{wave.stem}.lab", texts))
    clips = whole(entries)
    manifest.write(out / "all.jsonl", clips)
    write_parts(low_resource(clips, group=str, limits=LIMITS), out)  # a sentence is a group of its own
    return clips


def transcripts(path: Path) -> dict[str, str]:
    """The sentences by name, from `( ru_0001 "..." )` lines; a `+` that marks a stress is left out."""
    text = path.read_text(encoding="utf8")
    return {
        name: said.replace("+", "")
        for name, said in re.findall(r'^\(\s*(\S+)\s+"(.*)"\s*\)', text, re.MULTILINE)
    }


def phones(path: Path) -> Units:
    """The phones of a label file: behind a `#`, lines of end (s), a number, and phone."""
    _, mark, body = path.read_text(encoding="utf8").partition("#\n")
    if not mark:
        raise CorpusError(f"{path}: no labels: expected a line with # (fetch the corpus again)")
    units: Units = []
    start = 0.0
    for line in body.splitlines():
        end, _, label = line.split()
        units.append((label, start, float(end)))
        start = float(end)
    return units


def _entry(path: Path, labels: Path, texts: dict[str, str]) -> Entry:
    return Entry(
        Clip(
            f"festvox_ru-{path.stem}",
            str(path),
            speaker="ru_m_nsh",
            language="ru",
            text=texts.get(path.stem),
            units=phones(labels),
            source="festvox_ru",
        )
    )
