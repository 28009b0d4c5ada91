"""Asterisk's telephone prompts in English, Spanish, French, Italian and Russian: 125 minutes in 2759 clips.

Four persons in a studio, one of whom speaks English and Spanish; all but a few clips have their text.
Debian's packages asterisk-core-sounds-XX (text) and -XX-g722 (audio, 55 MB together) are the source. G.722
at 16 kHz is decoded to FLAC by FFmpeg's libraries, the extra `av`. Digits in the texts stand as digits.
"""

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from sonorant.data import debian, manifest
from sonorant.data.entries import CorpusError, Entry, whole
from sonorant.data.manifest import Clip

LICENCE = "CC BY-SA 3.0 (en, es, fr), CC BY 3.0 (it, ru); see licences/"

VOICES = {
    "en": "en_US_f_Allison",
    "es": "es_MX_f_Allison",
    "fr": "fr_CA_f_June",
    "it": "it_IT_m_Carlo",
    "ru": "ru_RU_f_IvrvoiceRU",
}
RATE = 16000


def fetch(out: Path) -> list[Clip]:
    """All clips; writes audio/, all.jsonl and a manifest for each language into `out`.

    CorpusError: the extra `av` is missing. DebianError: the packages cannot be had.
    """
    _require_av()
    names = [f"asterisk-core-sounds-{language}" for language in VOICES]
    with debian.unpacked([*names, *(f"{name}-g722" for name in names)], out) as folder:
        clips = whole(entry for language in VOICES for entry in _language(language, folder, out / "audio"))
    manifest.write(out / "all.jsonl", clips)
    for language in VOICES:
        manifest.write(out / f"{language}.jsonl", (clip for clip in clips if clip.language == language))
    return clips


def _language(language: str, folder: Path, audio: Path) -> Iterator[Entry]:
    voice = VOICES[language]
    texts = _texts(folder / f"usr/share/doc/asterisk-core-sounds-{language}/core-sounds-{language}.txt.gz")
    root = folder / "usr/share/asterisk/sounds" / voice
    for source in sorted(root.rglob("*.g722")):
        key = source.relative_to(root).with_suffix("").as_posix()
        text = texts.get(key, "")
        if key.startswith("silence/") or re.fullmatch(r"\[.*\]", text):  # a sound is described in brackets
            continue
        wave = decode(source)
        if not len(wave):  # a few prompts are empty
            continue
        path = audio / language / f"{key}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, wave, RATE, subtype="PCM_16")
        yield Entry(
            Clip(
                f"asterisk-{language}-{key}",
                str(path),
                speaker=voice,
                language=language,
                text=_said(text),
                source="asterisk",
            )
        )


def _texts(path: Path) -> dict[str, str]:
    """The texts by the prompts' names, from `name: text` lines; `;` starts a comment."""
    lines = gzip.decompress(path.read_bytes()).decode("utf8", "replace").splitlines()
    pairs = (line.partition(":") for line in lines if not line.startswith(";"))
    return {name.strip(): text.strip() for name, colon, text in pairs if colon}


def _said(text: str) -> str | None:
    """The text without a symbol in brackets, `at [@]`; None with words in brackets, spoken or not."""
    plain = " ".join(re.sub(r"\[\W*\]", " ", text).split())
    return plain if plain and "[" not in plain else None


def decode(path: Path) -> np.ndarray:
    """A G.722 file's samples, 16 bits at 16 kHz. CorpusError: it is damaged, or the extra `av` is missing."""
    _require_av()
    import av

    try:
        with av.open(str(path), format="g722") as container:
            frames = [frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)]
    except av.FFmpegError as error:
        raise CorpusError(f"{path}: cannot be decoded: {error} (fetch the corpus again)") from error
    return np.concatenate(frames) if frames else np.zeros(0, np.int16)


def _require_av() -> None:
    try:
        import av  # noqa: F401
    except ImportError as error:
        raise CorpusError("asterisk: G.722 needs FFmpeg's libraries (pip install 'sonorant[av]')") from error
