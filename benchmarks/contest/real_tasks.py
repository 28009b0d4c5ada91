"""Real recordings as the tasks of `sonorant bench` want them: manifests made of four corpora.

Three of them are folders with a table (`manifest.tsv`: file, split, speaker, seconds, label, extra), the
fourth is the Amazon Queen with its low-resource split. What a corpus does not have is made here, and said:
slot filling writes the values of the slots, because the orders have no transcripts; emotion is no emotion but
how a clip was changed.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import soundfile
import torch

from sonorant.asr.align import align
from sonorant.corpora import table
from sonorant.data.audio import load
from sonorant.data.entries import whole
from sonorant.data.labels import renamed
from sonorant.data.manifest import Clip, read, write
from sonorant.data.text import normalize
from sonorant.nn.augment import gain

ROUNDS = ("01", "02", "03")  # of ten: how often each speaker's keyword is taken
QUERIES, LETTERS, DOCUMENTS = 100, 5, 3  # spoken terms; their least letters, and documents that hold them
MOODS = {"calm": (0.9, -6.0), "plain": (1.0, 0.0), "lively": (1.15, 6.0)}  # speed and decibels
MOODY = 300  # clips of which emotions are made
RATE = 16000

replace = msgspec.structs.replace


def commands(folder: Path, out: Path) -> Iterator[tuple[str, Path]]:
    """Keywords and speakers of spoken commands, whose ids end in the round in which they were recorded."""
    clips = [clip for clip in renamed(_table(folder), ["keyword=label"]) if clip.id.endswith(ROUNDS)]
    yield "ks", _written(out / "ks.jsonl", [_labelled(clip, "split", "keyword") for clip in clips])
    yield "sid", _written(out / "sid.jsonl", [_labelled(clip) for clip in clips])


def sentences(folder: Path, out: Path) -> Iterator[tuple[str, Path]]:
    """Read sentences of many speakers: phones (in order, their times are made up), texts, voices, mixtures
    and made emotions."""
    clips = renamed(_table(folder), ["text=label"])
    yield "pr", _written(out / "pr.jsonl", [_with_phones(clip) for clip in clips])
    plain = _written(out / "sentences.jsonl", [_labelled(clip) for clip in clips])
    yield from ((name, plain) for name in ("asr", "asv", "sd"))
    yield "er", _written(out / "er.jsonl", list(_moods(clips[:: len(clips) // MOODY][:MOODY], out / "er")))


def orders(folder: Path, out: Path) -> Iterator[tuple[str, Path]]:
    """Spoken orders with the values of their slots, in the slots' alphabetical order and not as spoken."""
    clips = renamed(_table(folder), ["intent=label"])
    slots = [
        {name.removeprefix("intent."): value for name, value in sorted((clip.labels or {}).items())
         if name.startswith("intent.")}
        for clip in clips
    ]  # fmt: skip
    yield "ic", _written(out / "ic.jsonl", clips)
    filled = [_filled(clip, found) for clip, found in zip(clips, slots, strict=True) if found]
    yield "sf", _written(out / "sf.jsonl", filled)


def queen(folder: Path, out: Path) -> Iterator[tuple[str, Sequence[Path]]]:
    """Phones of an hour, ten minutes of texts, and spoken words to search for in the test part."""
    names = ("paired-1h", "dev", "test")
    phones = [out / f"queen-{name}-phones.jsonl" for name in names]
    for name, file in zip(names, phones, strict=True):
        if not file.exists():
            _written(file, list(align(read(folder / f"{name}.jsonl"), processes=1).clips))
    yield "pr", phones
    yield "asr", [folder / f"{name}.jsonl" for name in ("paired-10m", "dev", "test")]
    documents = list(read(folder / "test.jsonl"))
    yield (
        "qbe",
        [_written(out / "qbe.jsonl", [*_queries(read(folder / "paired-1h.jsonl"), documents), *documents])],
    )


MAKERS: dict[str, Callable[[Path, Path], Iterator[tuple[str, Path]]]] = {
    "commands": commands,
    "sentences": sentences,
    "orders": orders,
}


def _queries(clips: Sequence[Clip], documents: Sequence[Clip]) -> list[Clip]:
    """A stretch of a clip for each term that enough documents hold: where pocketsphinx hears it."""
    held = Counter(word for clip in documents for word in set(normalize(clip.text or "").split()))
    terms = {word for word, count in held.items() if count >= DOCUMENTS and len(word) >= LETTERS}
    wanted = [clip for clip in clips if terms & set(normalize(clip.text or "").split())]
    found = align(wanted, processes=1)
    queries: dict[str, Clip] = {}
    for clip in found.clips:
        for word, start, end in found.words[clip.id]:
            if word in terms and word not in queries:
                queries[word] = replace(
                    clip, id=f"query-{word}", start=clip.start + round(start * clip.rate),
                    samples=round((end - start) * clip.rate), text=None, units=None, labels={"query": word},
                )  # fmt: skip
    return [queries[word] for word in sorted(queries)[:QUERIES]]


def _moods(clips: Sequence[Clip], folder: Path) -> Iterator[Clip]:
    """Clips that are slowed and quietened, left alone, or hurried and made louder, in turn."""
    folder.mkdir(parents=True, exist_ok=True)
    for place, clip in enumerate(clips):
        mood, (speed, decibels) = list(MOODS.items())[place % len(MOODS)]
        path = folder / f"{clip.id}.flac"
        wave = torch.from_numpy(load(clip, round(RATE / speed)))
        soundfile.write(path, gain(wave, decibels).clamp(-1, 1).numpy(), RATE)
        yield replace(
            clip, path=str(path), start=0, samples=len(wave), rate=RATE, text=None, labels={"emotion": mood}
        )


def _filled(clip: Clip, slots: dict[str, str]) -> Clip:
    words = [(word, f"{'I' if place else 'B'}-{name}") for name, value in slots.items()
             for place, word in enumerate(value.split())]  # fmt: skip
    return replace(
        clip, text=" ".join(word for word, _ in words), labels={"iob": " ".join(tag for _, tag in words)}
    )


def _with_phones(clip: Clip) -> Clip:
    """With the phones that `extra` names, without stress, evenly over the clip."""
    names = (clip.labels or {}).get("extra.phones", "").replace("|", " ").split()
    length = clip.seconds / max(len(names), 1)
    units = [(name.rstrip("012"), place * length, (place + 1) * length) for place, name in enumerate(names)]
    return replace(_labelled(clip), units=units)


def _table(folder: Path) -> list[Clip]:
    return whole(table.read(folder, folder))


def _labelled(clip: Clip, *kept: str) -> Clip:
    """With these labels only."""
    labels = {name: value for name, value in (clip.labels or {}).items() if name in kept}
    return replace(clip, labels=labels or None)


def _written(file: Path, clips: Sequence[Clip]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    write(file, clips)
    return file
