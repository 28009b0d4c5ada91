"""Complementary joint training: a recogniser from little transcribed speech, other speech, and other text.

Du et al., "Complementary joint training approach using unpaired speech and text for low-resource automatic
speech recognition", Interspeech 2022, https://arxiv.org/abs/2204.02023, and its continuation in IEEE/ACM
Transactions on Audio, Speech, and Language Processing 31, 2023, pages 3908 to 3921. A seed recogniser,
trained on transcribed speech, writes pseudo-labels z~ of the speech x_s, and synthesis speaks the text z_t as
x~. The audio of the one kind of pair is real and its text has mistakes; the text of the other is right and
its audio is artificial. One network learns from both, in turn:

    L_s = - ln p(z~ | x_s)    L_t = - ln p(z_t | x~)    L = L_s + lambda L_t          (CJT, round 1)

In the rounds after that (CJT++) the labels are those of the round before, p(z~_u) tells which of them are
hidden (`data/label_masks.py`), and synthetic audio changes the shallow layers of the encoder rarely, or has
layers of its own (`encoders/complementary.py`). Each network goes on from the one before it, or, `afresh`,
starts from the pretrained encoder.

Without transcribed speech (iterative CJT) the seed learns from synthetic audio alone. docs/cjt.md lists the
deviations, and what is not known of the papers.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from sonorant.config import Config, ConfigError, builtins
from sonorant.data.entries import Progress
from sonorant.data.label_masks import LabelMaskConfig
from sonorant.data.manifest import Clip, read, write
from sonorant.encoders.complementary import ComplementaryConfig
from sonorant.recipes import finetune, labelling, unpaired
from sonorant.recipes.fit import say
from sonorant.recipes.language import BEAM, Language
from sonorant.recipes.recognise import load_recogniser
from sonorant.recipes.settings import FinetuneConfig, JointConfig, best_checkpoint
from sonorant.recipes.speaking import engines, lines_of
from sonorant.recipes.stages import (
    PLAN,
    Stage,
    check_plan,
    done,
    keep_plan,
    labelling_minutes,
    told,
    training_minutes,
)
from sonorant.recipes.unpaired import Sentences
from sonorant.tts.engine import Speaker, speakers
from sonorant.tts.speak import SpeakConfig, speak

PAIRED, SPEECH, SYNTHETIC = "paired.jsonl", "speech.jsonl", "synthetic.jsonl"
SAMPLE = 6  # sentences whose synthesis tells how long all take
Bars = Callable[[str], AbstractContextManager[Progress]]


class CJTConfig(Config, frozen=True, kw_only=True):
    """Rounds of joint training in `out`, and what they learn from."""

    out: str
    paired: str | None  # a manifest or a folder, as is `speech`
    speech: str | None
    text: str | None  # a file with a sentence a line
    tts: tuple[str, ...] = ("flite",)
    spoken: str = "en"  # the text's language, in which its numbers are read
    finetune: FinetuneConfig  # of every recogniser; `out`, `data.manifest` and `joint` are each stage's own
    rounds: Annotated[int, Meta(ge=1)] = 2  # the first is CJT, the others are CJT++
    only: Literal["speech", "text"] | None = None  # controls: one of the two kinds of pairs
    afresh: bool = False  # each round starts from the pretrained encoder, not from the network before it
    beside: bool = True  # transcribed clips take their turn in joint training, too
    mask: LabelMaskConfig = LabelMaskConfig(kind="conf")  # from the second round on
    complementary: ComplementaryConfig = ComplementaryConfig(block=0.5)  # likewise, but for `weight`
    language: str | None = None  # what the labelling was told of the language

    def __post_init__(self) -> None:
        if self.speech is None and self.only != "text":
            raise ConfigError("--speech: give a folder or manifest of speech (or leave it out: --only text)")
        if self.text is None and (self.only != "speech" or self.paired is None):
            raise ConfigError("--text: give a file with a sentence a line (or --paired and --only speech)")


@dataclass(frozen=True)
class Part:
    """A stage: what is done, what it is called, and what it leaves."""

    kind: Literal["train", "label", "speak"]
    name: str
    path: Path
    round: int = 0  # of joint training; 0: the seed


def cjt(
    config: CJTConfig,
    *,
    language: Language | None = None,
    quiet: bool = False,
    bars: Bars = lambda what: nullcontext(lambda done, total: None),
) -> Path:
    """All stages, or those that are left; gives the last round's best checkpoint.

    ConfigError: settings do not go together, the folder was begun with others, or a text cannot be spelled.
    EngineError: what is to speak is missing. ManifestError, CorpusError: there is no speech.
    """
    out, chosen = Path(config.out), list(parts(config))
    check_plan(out, config)
    voices = speakers(engines(config.tts)) if _speaks(chosen) else []
    out.mkdir(parents=True, exist_ok=True)
    _gather(config, quiet=quiet, bars=bars)
    found = _sentences(config) if _speaks(chosen) else None
    if found is not None:
        unpaired.tell(Path(config.text or ""), found.skipped, quiet=quiet)
    for line in _plan(config, chosen, found, voices):
        say(line, quiet=quiet)
    keep_plan(out, config)
    best = Path(config.finetune.pretrained)
    for part in chosen:
        left = not done(part.path)
        if part.kind == "train":
            train = partial(finetune.finetune, recogniser_of(config, part.round), quiet=quiet)
            best = train() if left else best_checkpoint(part.path)
        elif part.kind == "label" and left:
            _label(config, best, part.path, language, quiet=quiet, bars=bars)
        elif part.kind == "speak" and found is not None:
            _speak(config, found, voices, part.path, quiet=quiet, bars=bars)
    return best


def parts(config: CJTConfig) -> Iterator[Part]:
    """The stages in their order; without transcribed speech the seed needs synthetic audio."""
    out = Path(config.out)
    spoken = config.paired is None or config.only != "speech"
    speaking = Part("speak", "speak the text", out / SYNTHETIC)
    if config.paired is None:
        yield speaking
    seed = "transcripts" if config.paired else "synthetic audio"
    yield Part("train", f"train on {seed} (seed)", out / "seed")
    for number in range(1, config.rounds + 1):
        if config.only != "text":
            yield Part("label", "label speech", _labels(out, number), number)
        if number == 1 and spoken and config.paired is not None:
            yield speaking
        name = "joint" if number == 1 else f"joint_{number}"
        yield Part("train", f"train jointly, {'CJT' if number == 1 else 'CJT++'}", out / name, number)


def recogniser_of(config: CJTConfig, number: int) -> FinetuneConfig:
    """The training of a round; 0: of the seed."""
    out, base = Path(config.out), config.finetune
    (path,) = (part.path for part in parts(config) if part.kind == "train" and part.round == number)
    data = msgspec.structs.replace(base.data, manifest=str(out / (PAIRED if config.paired else SYNTHETIC)))
    if number == 0:
        return msgspec.structs.replace(base, out=str(path), data=data)
    again = number > 1
    joint = JointConfig(
        paired=config.paired is not None and config.beside,
        speech=None if config.only == "text" else str(_labels(out, number)),
        text=None if config.only == "speech" else str(out / SYNTHETIC),
        mask=config.mask if again and config.only != "text" else LabelMaskConfig(),
    )
    restricted = config.complementary if again else ComplementaryConfig(weight=config.complementary.weight)
    objective = {**base.objective, "complementary": builtins(restricted)}
    changes = {"out": str(path), "data": data, "joint": joint, "objective": objective}
    if not config.afresh:
        changes["pretrained"] = recogniser_of(config, number - 1).out
    return msgspec.structs.replace(base, **changes)


def _labels(out: Path, number: int) -> Path:
    return out / ("pseudo.jsonl" if number == 1 else f"pseudo_{number}.jsonl")


def _speaks(chosen: Sequence[Part]) -> bool:
    return any(part.kind == "speak" and not part.path.exists() for part in chosen)


def _gather(config: CJTConfig, *, quiet: bool, bars: Bars) -> None:
    """Writes what there is of transcribed and of other speech, anew until the first stage has begun."""
    out = Path(config.out)
    if (out / PLAN).exists():
        return
    with bars("looking at files") as bar:
        if config.paired is not None:
            source = Path(config.paired)
            clips = unpaired.listed(source, out, quiet=quiet, progress=bar)
            unpaired.write_paired(source, clips, out / PAIRED)
        if config.speech is not None and config.only != "text":
            source = Path(config.speech)
            clips = unpaired.listed(source, out, quiet=quiet, progress=bar)
            known = read(out / PAIRED) if config.paired is not None else []
            unpaired.write_speech(source, clips, known, out / SPEECH)


def _sentences(config: CJTConfig) -> Sentences:
    text, vocabulary = Path(config.text or ""), None
    if config.paired is not None:
        paired = Path(config.out) / PAIRED
        vocabulary = finetune.learned(paired, read(paired), config.finetune)
    return unpaired.sentences(lines_of(text), text, vocabulary, config.spoken)


def _plan(
    config: CJTConfig, chosen: Sequence[Part], found: Sentences | None, voices: Sequence[Speaker]
) -> list[str]:
    """How much of what there is, and the stages with about how long each takes."""
    out, hours = Path(config.out), []
    if config.paired is not None:
        hours.append(f"paired {_hours(read(out / PAIRED)):.3g} h")
    if (out / SPEECH).exists():
        hours.append(f"speech {_hours(read(out / SPEECH)):.3g} h")
    with tempfile.TemporaryDirectory() as name:
        folder, speaking = Path(name), 0.0
        known = Path(config.out) / SYNTHETIC
        if found is not None:
            sample, seconds = _sampled(found, voices, folder, config)
            scale = found.characters / sum(len(clip.text or "") for clip in sample)
            speaking, known = scale * seconds / 60, folder / SYNTHETIC
            write(known, sample)
            count = sum(bool(line.strip()) for line in found.lines)
            hours.append(f"text {count} sentences, about {scale * _hours(sample):.3g} h when spoken")
        elif known.exists():
            hours.append(f"text {len(read(known))} sentences, {_hours(read(known)):.3g} h spoken")
        minutes = {"speak": speaking, **_learning_minutes(config, chosen, known, folder)}
    plan = [Stage(part.name, part.path, minutes[part.kind]) for part in chosen]
    return [", ".join(hours), *told(plan)]


def _learning_minutes(
    config: CJTConfig, chosen: Sequence[Part], spoken: Path, folder: Path
) -> dict[str, float]:
    """Of a training and of a labelling, measured on a copy; nothing is measured where all is done."""
    if all(done(part.path) for part in chosen):
        return {"train": 0.0, "label": 0.0}
    seed = recogniser_of(config, 0)
    if config.paired is None:
        data = msgspec.structs.replace(seed.data, manifest=str(spoken))
        seed = msgspec.structs.replace(seed, data=data, vocabulary=None)  # of a few sentences
    job = finetune.job(msgspec.structs.replace(seed, out=str(folder / "seed")), quiet=True)
    speech = Path(config.out) / SPEECH
    labelling_ = labelling_minutes(job, read(speech)) if speech.exists() else 0.0
    return {"train": training_minutes(job), "label": labelling_}


def _sampled(
    found: Sentences, voices: Sequence[Speaker], folder: Path, config: CJTConfig
) -> tuple[list[Clip], float]:
    """Some sentences, spoken, and the seconds that took."""
    lines = [line for line in found.lines if line.strip()]
    some = lines[:: max(1, len(lines) // SAMPLE)][:SAMPLE]
    began = time.perf_counter()
    clips = speak(some, voices, folder / "sample", _speaking(config)).clips
    return clips, time.perf_counter() - began


def _speak(
    config: CJTConfig, found: Sentences, voices: Sequence[Speaker], file: Path, *, quiet: bool, bars: Bars
) -> None:
    with bars("speaking") as bar:
        made = speak(found.lines, voices, file.with_suffix(""), _speaking(config), progress=bar)
    unpaired.tell(Path(config.text or ""), made.skipped, quiet=quiet)
    write(file, made.clips)
    say(f"{file}: {len(made.clips)} sentences, {_hours(made.clips):.3g} h, {len(voices)} voices", quiet=quiet)


def _speaking(config: CJTConfig) -> SpeakConfig:
    return SpeakConfig(seed=config.finetune.seed, language=config.spoken)


def _label(
    config: CJTConfig, teacher: Path, file: Path, language: Language | None, *, quiet: bool, bars: Bars
) -> None:
    """Writes pseudo-labels, and beside them what they are worth, as far as the clips have texts."""
    recogniser = load_recogniser(teacher)
    with bars("labelling") as bar:
        labels = labelling.label(
            read(Path(config.out) / SPEECH),
            recogniser,
            width=None if language is None else BEAM,
            scorer=None if language is None else language.scorer(recogniser.vocabulary),
            progress=bar,
        )
    found = labelling.summary(labels)
    figures = {**found, "histogram": labelling.histogram(labels)}
    file.with_suffix(".json").write_bytes(msgspec.json.format(msgspec.json.encode(figures)) + b"\n")
    write(file, labels.kept)
    for line in labelling.worth(found):
        say(f"{file}: {line}", quiet=quiet)


def _hours(clips: Sequence[Clip]) -> float:
    return sum(clip.seconds for clip in clips) / 3600
