"""Known texts on their audio: manifests with units, TextGrids and CTM, by a recogniser or by pocketsphinx."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
from jaxtyping import Float
from numpy import ndarray

from sonorant.asr import align as pocketsphinx
from sonorant.asr.decode import Word
from sonorant.asr.known import Fit, fit, unspelled
from sonorant.asr.subtitles import ctm
from sonorant.asr.textgrid import Unit, textgrid
from sonorant.asr.transcribe import Recogniser, TranscribeConfig, stitched
from sonorant.asr.vocabulary import Vocabulary
from sonorant.config import ConfigError
from sonorant.data.audio import AudioError, clip_blocks
from sonorant.data.entries import Entry, checked
from sonorant.data.manifest import Clip, read, write
from sonorant.recipes.recognise import load_recogniser
from sonorant.recipes.sources import sources
from sonorant.recipes.whole import write_whole

UNITS = ("words", "characters")  # by a recogniser
ENGLISH = ("phones", "words")  # by pocketsphinx
SHOWN = 5  # words without labels that are named

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Known:
    """Clips, with the texts that stand in files beside their audio, and what is left out."""

    clips: list[Clip]
    texts: Mapping[str, str]  # by clip, with their lines
    skipped: dict[str, str]  # clip: why


@dataclass(frozen=True)
class Outcome:
    clips: list[Clip]  # with units
    skipped: dict[str, str]  # clip: why
    scores: list[float] = field(default_factory=list)  # of the clips, by a recogniser


def known(audio: Sequence[Path]) -> Known:
    """The clips of manifests, and audio files, in folders too, with the text of `NAME.txt` beside each.

    ConfigError: two have one name, or a folder has no audio. ManifestError: as `read` has it.
    """
    clips: list[Clip] = []
    texts: dict[str, str] = {}
    skipped: dict[str, str] = {}
    entries = []
    for source in sources(audio):
        if source.is_manifest:
            clips += read(source.path)
            continue
        name, beside = source.name.as_posix(), source.path.with_suffix(".txt")
        try:
            texts[name] = beside.read_text(encoding="utf-8-sig")
        except FileNotFoundError:
            skipped[name] = f"no text: there is no {beside}"
        except UnicodeDecodeError as error:
            skipped[name] = f"{beside}: not UTF-8 at byte {error.start} (convert it: iconv -t UTF-8)"
        else:
            text = " ".join(texts[name].split())
            entries.append(Entry(Clip(name, str(source.path.absolute()), text=text or None)))
    found = checked(entries)
    reasons = dict(found.skipped)
    skipped |= {each.clip.id: reasons[each.clip.path] for each in entries if each.clip.path in reasons}
    return Known(clips + found.clips, texts, skipped)


def align_english(
    audio: Sequence[Path],
    out: Path,
    *,
    units: str,
    textgrids: Path | None,
    processes: int,
    progress: Progress,
) -> Outcome:
    """English phones or words by pocketsphinx.

    AlignmentError: it is not installed. ConfigError: there are no such units. ManifestError: nothing fits.
    """
    _check(units, ENGLISH)
    given = known(audio)
    found = pocketsphinx.align(given.clips, processes=processes, progress=progress)
    done = Outcome([], given.skipped | found.skipped)
    for clip in found.clips:
        tiers = {"words": found.words[clip.id], "phones": clip.units or []}
        done.clips.append(msgspec.structs.replace(clip, units=tiers[units]))
        if textgrids is not None:
            _write_textgrid(textgrids, clip, tiers)
    return _written(out, done)


def align_words(
    run: Path,
    audio: Sequence[Path],
    out: Path,
    *,
    units: str,
    worst: float,
    textgrids: Path | None,
    ctm_file: Path | None,
    progress: Progress,
) -> Outcome:
    """Words and characters by a recogniser; clips whose score is below the worst one allowed are skipped.

    ConfigError: the recogniser has no CTC, or there are no such units. ManifestError: nothing fits.
    """
    _check(units, UNITS)
    recogniser = load_recogniser(run)
    if recogniser.decoder is not None and not recogniser.decoder.ctc_weight:
        raise ConfigError(f"{run}: was trained without CTC, which alignment needs")
    given = known(audio)
    done = Outcome([], dict(given.skipped))
    rows = []
    for number, (clip, found) in enumerate(_fits(given, recogniser, worst), start=1):
        progress(number, len(given.clips))
        if isinstance(found, str):
            done.skipped[clip.id] = found
            continue
        tiers = {"words": _units(found.words), _inner(recogniser): _units(found.pieces)}
        chosen = tiers["words"] if units == "words" else tiers[_inner(recogniser)]
        done.clips.append(msgspec.structs.replace(clip, units=chosen))
        done.scores.append(found.score)
        rows.append(ctm(found.words, clip.id))
        if textgrids is not None:
            _write_textgrid(textgrids, clip, tiers)
    if ctm_file is not None and rows:
        write_whole(ctm_file, "".join(rows))
    return _written(out, done)


def _check(units: str, known_units: Sequence[str]) -> None:
    if units not in known_units:
        raise ConfigError(f"units: {units!r} is not one of {', '.join(known_units)}")


def _fits(given: Known, recogniser: Recogniser, worst: float) -> Iterator[tuple[Clip, Fit | str]]:
    """Each clip's words, or the reason why there are none."""
    vocabulary = recogniser.vocabulary
    for clip in given.clips:
        text = given.texts.get(clip.id, clip.text or "")
        if unknown := unspelled(text, vocabulary):
            many = len(text.splitlines()) > 1
            told = [f"{word!r} in line {line}" if many else repr(word) for word, line in unknown[:SHOWN]]
            more = f" and {len(unknown) - SHOWN} more" if len(unknown) > SHOWN else ""
            yield clip, f"the recogniser cannot spell: {', '.join(told)}{more} (write them otherwise)"
            continue
        labels = vocabulary.encode(text)
        if not labels:
            yield clip, "no text"
            continue
        try:
            found = fit(_posteriors(clip, recogniser), labels, vocabulary, recogniser.seconds_per_frame)
        except AudioError as error:
            yield clip, str(error)
        except ValueError as error:
            yield clip, f"the text is too long for the audio: {error}"
        else:
            low = f"the text does not fit: score {found.score:.2f}, below {worst:g}"
            yield clip, found if found.score >= worst else low


def _posteriors(clip: Clip, recogniser: Recogniser) -> Float[ndarray, "time labels"]:
    """CTC's log probabilities of a clip of any length: 11 MB an hour at 25 frames a second and 30 labels."""
    config, count = TranscribeConfig(), len(recogniser.vocabulary)
    audio = clip_blocks(clip, recogniser.frontend.rate, config.chunk_seconds)
    pieces = [frames[:, :count].copy() for frames in stitched(audio, recogniser, config)]
    return np.concatenate(pieces) if pieces else np.zeros((0, count), dtype=np.float32)


def _inner(recogniser: Recogniser) -> str:
    return "characters" if isinstance(recogniser.vocabulary, Vocabulary) else "subwords"


def _units(words: Sequence[Word]) -> list[Unit]:
    return [(word.text, round(word.start, 4), round(word.end, 4)) for word in words]


def _write_textgrid(folder: Path, clip: Clip, tiers: Mapping[str, Sequence[Unit]]) -> None:
    """Where the clip's id says, below the folder."""
    parts = [part for part in Path(clip.id).parts if part not in ("/", "..")]
    write_whole(folder.joinpath(*parts[:-1], f"{parts[-1]}.TextGrid"), textgrid(tiers, clip.seconds))


def _written(out: Path, done: Outcome) -> Outcome:
    if done.clips:
        out.parent.mkdir(parents=True, exist_ok=True)
        write(out, done.clips)
    return done
