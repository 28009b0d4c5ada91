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
VALUES = 4  # of a slot that is an intent, at most
RATE = 16000

replace = msgspec.structs.replace
Maker = Callable[[Path, Path], Iterator[tuple[str, Path]]]  # from a corpus and a folder: tasks


def commands(folder: Path, out: Path) -> Iterator[tuple[str, Path]]:
    """Keywords and speakers of spoken commands, whose ids end in the round in which they were recorded."""

    def clips() -> Iterator[Clip]:
        return (clip for clip in _table(folder, "keyword=label") if clip.id.endswith(ROUNDS))

    yield "ks", _made(out / "ks.jsonl", lambda: [_labelled(clip, "split", "keyword") for clip in clips()])
    yield "sid", _made(out / "sid.jsonl", lambda: [_labelled(clip) for clip in clips()])


def sentences(folder: Path, out: Path) -> Iterator[tuple[str, Path]]:
    """Read sentences of many speakers: phones (in order, their times are made up), texts, voices, mixtures
    and made emotions."""

    def clips() -> list[Clip]:
        return _table(folder, "text=label")

    yield "pr", _made(out / "pr.jsonl", lambda: [_with_phones(clip) for clip in clips()])
    plain = _made(out / "sentences.jsonl", lambda: [_labelled(clip) for clip in clips()])
    yield from ((name, plain) for name in ("asr", "asv", "sd"))
    yield "er", _made(out / "er.jsonl", lambda: list(_moods(read(plain), out / "er")))


def orders(folder: Path, out: Path) -> Iterator[tuple[str, Path]]:
    """Spoken orders: intents are the slots of few values, because all slots are right at once nowhere; filled
    are all slots, in their alphabetical order and not as spoken."""
    whole_orders = _made(out / "orders.jsonl", lambda: _table(folder, "intent=label"))
    yield "ic", _made(out / "intents.jsonl", lambda: _coarse(read(whole_orders)))
    yield "sf", _made(out / "sf.jsonl", lambda: [_filled(clip) for clip in read(whole_orders)])


def queen(folder: Path, out: Path) -> Iterator[tuple[str, Sequence[Path]]]:
    """Phones of an hour, ten minutes of texts, and spoken words to search for in the test part."""
    hour, dev, test = (folder / f"{name}.jsonl" for name in ("paired-1h", "dev", "test"))
    yield (
        "pr",
        [
            _made(
                out / f"queen-{part.stem}.jsonl", lambda part=part: list(align(read(part), processes=1).clips)
            )
            for part in (hour, dev, test)
        ],
    )
    yield "asr", [folder / "paired-10m.jsonl", dev, test]

    def searched() -> list[Clip]:
        documents = list(read(test))
        return [*_queries(read(hour), documents), *documents]

    yield "qbe", [_made(out / "qbe.jsonl", searched)]


MAKERS: dict[str, Maker] = {
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
    """Some of the clips, slowed and quietened, left alone, or hurried and made louder, in turn."""
    folder.mkdir(parents=True, exist_ok=True)
    for place, clip in enumerate(clips[:: max(1, len(clips) // MOODY)][:MOODY]):
        mood, (speed, decibels) = list(MOODS.items())[place % len(MOODS)]
        path = folder / f"{clip.id}.flac"
        wave = torch.from_numpy(load(clip, round(RATE / speed)))
        soundfile.write(path, gain(wave, decibels).clamp(-1, 1).numpy(), RATE)
        yield replace(
            clip, path=str(path), start=0, samples=len(wave), rate=RATE, text=None, labels={"emotion": mood}
        )


def _coarse(clips: Sequence[Clip]) -> list[Clip]:
    """With the intents that have few values, those that have any."""
    values: dict[str, set[str]] = {}
    for clip in clips:
        for name, value in (clip.labels or {}).items():
            values.setdefault(name, set()).add(value)
    kept = [name for name, found in values.items() if name.startswith("intent.") and len(found) <= VALUES]
    coarse = [_labelled(clip, *kept) for clip in clips]
    return [clip for clip in coarse if clip.labels]


def _filled(clip: Clip) -> Clip:
    """With the values of its slots as its text, and a tag for each word."""
    slots = sorted((clip.labels or {}).items())
    words = [
        (word, f"{'I' if place else 'B'}-{name.removeprefix('intent.')}")
        for name, value in slots
        if name.startswith("intent.")
        for place, word in enumerate(value.split())
    ]
    tags = " ".join(tag for _, tag in words)
    return replace(clip, text=" ".join(word for word, _ in words), labels={"iob": tags})


def _with_phones(clip: Clip) -> Clip:
    """With the phones that `extra` names, without stress, evenly over the clip."""
    names = (clip.labels or {}).get("extra.phones", "").replace("|", " ").split()
    length = clip.seconds / max(len(names), 1)
    units = [(name.rstrip("012"), place * length, (place + 1) * length) for place, name in enumerate(names)]
    return replace(_labelled(clip), units=units)


def _table(folder: Path, label: str) -> list[Clip]:
    """The clips of a folder's table with a label renamed."""
    return renamed(whole(table.read(folder, folder)), [label])


def _labelled(clip: Clip, *kept: str) -> Clip:
    """With these labels only."""
    labels = {name: value for name, value in (clip.labels or {}).items() if name in kept}
    return replace(clip, labels=labels or None)


def _made(file: Path, clips: Callable[[], Sequence[Clip]]) -> Path:
    """The manifest, written if it is not there."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        write(file, clips())
    return file
