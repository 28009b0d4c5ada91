"""What cjt.py compares: variants of joint training, which share what is the same in them; error rates."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from comparisons import rewrite
from contest.costs import updates
from contest.experiments import Claim, Experiment
from contest.whisper import WHISPER, has_whisper, heard
from sonorant.config import convert, load
from sonorant.data.manifest import read, write
from sonorant.data.text import normalize
from sonorant.evaluate.rows import Row, read_rows
from sonorant.evaluate.wer import character_error_rate, word_error_rate
from sonorant.recipes.cjt import CJTConfig, cjt
from sonorant.recipes.finetune import finetune
from sonorant.recipes.fit import say
from sonorant.recipes.language import BEAM, language, write_model
from sonorant.recipes.measuring import Measurer
from sonorant.recipes.recognise import load_recogniser, recognise
from sonorant.recipes.settings import FinetuneConfig, best_checkpoint
from sonorant.recipes.shipped import shipped
from sonorant.recipes.stages import done

SEED, CJT, PLUS = "seed", "CJT", "CJT++"
SPEECH_ONLY, TEXT_ONLY = "pseudo-labels only", "synthetic audio only"
ONCE = {"rounds": 1}
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    CJT: ONCE,
    SEED: ONCE,
    SPEECH_ONLY: {"only": "speech", **ONCE},
    TEXT_ONLY: {"only": "text", **ONCE},
    PLUS: {},  # conf, block 0.5
    "CJT++, mask thres": {"mask": {"kind": "thres"}},
    "CJT++, mask rand": {"mask": {"kind": "rand"}},
    "CJT++, mask none": {"mask": {"kind": "none"}},
    "CJT++, block 0": {"complementary": {"block": 0.0}},
    "CJT++, block 1": {"complementary": {"block": 1.0}},
    "CJT++, parallel layers": {"complementary": {"parallel": True}},
    "CJT, afresh": {"afresh": True, **ONCE},
    "CJT twice": {"mask": {"kind": "none"}, "complementary": {"block": 0.0}},
}
TWICE = tuple(name for name, changes in VARIANTS.items() if "rounds" not in changes)  # that share round 1
LONGER = "seed, as long again"  # goes on learning from the transcripts alone
REFERENCE = "all transcribed"  # goes on learning from the real texts of the other speech, too
TOLD = (LONGER, REFERENCE)  # that go on from the seed with nothing but transcripts
NETWORKS = (*VARIANTS, *TOLD)
SUBJECTS = (*NETWORKS, WHISPER)
FIRST = (
    "paired.jsonl",
    "speech.jsonl",
    "seed",
    "pseudo.json",
    "pseudo.jsonl",
    "synthetic",
    "synthetic.jsonl",
)
SECOND = (*FIRST, "joint", "pseudo_2.json", "pseudo_2.jsonl")
WER, CER, LM, AUROC = "WER", "CER", "with LM", "AUROC of confidences"
EXPERIMENT = Experiment(
    name="cjt",
    method="",
    expected="Pseudo-labels teach more than synthetic audio, and than the transcripts once more; both teach "
    "more than either; what CJT++ hides and shields makes a second round better than CJT's again.",
    paper="CJT, https://arxiv.org/abs/2204.02023",
    variants=dict.fromkeys(VARIANTS, ()),
    claims=tuple(
        Claim(f"{WER} test", (worse,), (better,))
        for worse, better in (
            (LONGER, SPEECH_ONLY),
            (TEXT_ONLY, SPEECH_ONLY),
            (SPEECH_ONLY, CJT),
            ("CJT, afresh", CJT),
            ("CJT twice", PLUS),
            ("CJT++, mask none", PLUS),
            ("CJT++, mask rand", PLUS),
            ("CJT++, block 0", PLUS),
            (PLUS, "CJT++, parallel layers"),
        )
    ),
)


@dataclass(frozen=True)
class Setup:
    """What all variants have in common."""

    pretrained: Path
    corpus: Path
    part: str  # 10m or 1h
    root: Path
    minutes: float  # of each training, by the processors
    processes: int = 1
    config: str = "ctc"
    tts: tuple[str, ...] = ("flite",)
    language: str = "en"
    order: int = 3  # of the language model's n-grams

    def folder(self, variant: str, seed: int) -> Path:
        name = CJT if variant == SEED else variant
        return self.root / f"seed{seed}" / name.replace(", ", "_").replace(" ", "_")

    def rows(self, variant: str, seed: int) -> Path:
        return self.root / f"seed{seed}" / f"{variant.replace(', ', '_').replace(' ', '_')}.jsonl"


def variant_rows(setup: Setup, variant: str, seed: int) -> list[Row]:
    """A variant's rows, after its training if that has not ended."""
    file = setup.rows(variant, seed)
    if not file.exists():
        say(f"== {variant}, seed {seed}")
        best = _trained(setup, variant, seed)
        rewrite(file, _error_rates(setup, variant, seed, best))
    return read_rows(file)


def whisper_rows(setup: Setup) -> list[Row]:
    """Of Whisper tiny.en on the test part, where it is installed and the language is English."""
    if setup.language != "en" or not has_whisper():
        return []
    file = setup.root / "whisper.jsonl"
    if not file.exists():
        say(f"== {WHISPER}")
        found = _rates(Measurer("cjt"), setup, WHISPER, "test", heard(setup.corpus / "test.jsonl"))
        rewrite(file, found)
    return read_rows(file)


def joint_config(setup: Setup, variant: str, seed: int) -> CJTConfig:
    changes = VARIANTS[variant]
    settings = {
        "out": str(setup.folder(variant, seed)),
        "paired": str(setup.corpus / f"paired-{setup.part}.jsonl"),
        "speech": str(_referenced(setup)),
        "text": str(setup.corpus / "unpaired-text.txt"),
        "tts": setup.tts,
        "spoken": setup.language,
        "finetune": msgspec.to_builtins(_tuning(setup, seed)),
    }
    shallow = {"block": 0.5, **changes.get("complementary", {})}
    return convert({**settings, **changes, "complementary": shallow}, CJTConfig)


def told_config(setup: Setup, variant: str, seed: int) -> FinetuneConfig:
    """As every other recogniser that goes on from the seed, on the transcripts or on all speech with its real
    texts."""
    base = _tuning(setup, seed)
    told = _transcribed(setup) if variant == REFERENCE else Path(base.data.manifest)
    data = msgspec.structs.replace(base.data, manifest=str(told))
    changes = {"out": str(setup.folder(variant, seed)), "pretrained": str(setup.folder(SEED, seed) / "seed")}
    return msgspec.structs.replace(base, data=data, **changes)


def _tuning(setup: Setup, seed: int) -> FinetuneConfig:
    """With as many updates as fit into the minutes of the seed's training."""
    once = _of_steps(setup, seed, 1)
    return _of_steps(setup, seed, updates(setup.root / "updates.json", once, setup.minutes))


def _of_steps(setup: Setup, seed: int, steps: int) -> FinetuneConfig:
    settings = load(shipped(setup.config))
    train = {key: value for key, value in settings["train"].items() if key != "minutes"}
    data = {**settings["data"], "manifest": str(setup.corpus / f"paired-{setup.part}.jsonl")}
    train |= {"steps": steps, "processes": setup.processes, "keep": 1}
    pretrained = str(setup.pretrained)
    changes = {
        "seed": seed,
        "pretrained": pretrained,
        "out": str(setup.root / "timed"),
        "data": data,
        "train": train,
    }
    return convert({**settings, **changes}, FinetuneConfig)


def _trained(setup: Setup, variant: str, seed: int) -> Path:
    folder = setup.folder(variant, seed)
    if variant in TOLD:
        if not done(setup.folder(SEED, seed) / "seed"):
            variant_rows(setup, SEED, seed)
        return best_checkpoint(folder) if done(folder) else finetune(told_config(setup, variant, seed))
    link(folder, [setup.folder(other, seed) for other in VARIANTS], FIRST)
    if variant in TWICE:
        link(folder, [setup.folder(other, seed) for other in (CJT, *TWICE)], SECOND)
    best = cjt(joint_config(setup, variant, seed))
    return best_checkpoint(folder / "seed") if variant == SEED else best


def link(folder: Path, others: Sequence[Path], names: Sequence[str]) -> None:
    """Stages that ended elsewhere and are the same here."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        whole = f"{name}.jsonl" if name == "synthetic" else name
        for other in others:
            if other != folder and done(other / whole) and not (folder / name).exists():
                (folder / name).symlink_to((other / name).resolve())


def _referenced(setup: Setup) -> Path:
    """The speech with its texts, which tell how wrong labels are, and are not learned."""
    file = setup.root / "speech.jsonl"
    if not file.exists():
        texts = {clip.id: clip.text for clip in read(setup.corpus / "all.jsonl")}
        clips = read(setup.corpus / "unpaired-speech.jsonl")
        setup.root.mkdir(parents=True, exist_ok=True)
        write(file, [msgspec.structs.replace(clip, text=texts.get(clip.id)) for clip in clips])
    return file


def _transcribed(setup: Setup) -> Path:
    """The paired part, and the other speech where it has a text in the same characters, so that the seed's
    head writes them, too."""
    file = setup.root / "transcribed.jsonl"
    if not file.exists():
        paired = read(setup.corpus / f"paired-{setup.part}.jsonl")
        known = set("".join(normalize(clip.text or "") for clip in paired))
        other = [
            clip for clip in read(_referenced(setup)) if clip.text and known >= set(normalize(clip.text))
        ]
        write(file, [*paired, *other])
    return file


def _model(setup: Setup) -> Path:
    """A language model of what may be used: the transcripts of the paired part, and the other text."""
    file = setup.root / "lm.arpa"
    if not file.exists():
        texts = [setup.corpus / f"paired-{setup.part}.jsonl", setup.corpus / "unpaired-text.txt"]
        partial = file.with_suffix(".partial")
        write_model(
            texts, partial, order=setup.order, characters=False, test=None, normalisation="lower_alnum"
        )
        shutil.move(partial, file)
    return file


def _error_rates(setup: Setup, variant: str, seed: int, best: Path) -> list[Row]:
    """Of the dev and test parts greedily, and of the test part with the language model at its defaults."""
    recogniser, measurer, rows = load_recogniser(best), Measurer("cjt", seed), []
    known = language(_model(setup), None, weight=0.5, word_bonus=1.0)
    assert known is not None
    scorer = known.scorer(recogniser.vocabulary)
    for part, name, width, with_scorer in (
        ("dev", "dev", None, None),
        ("test", "test", None, None),
        ("test", f"test {LM}", BEAM, scorer),
    ):
        clips = [clip for clip in read(setup.corpus / f"{part}.jsonl") if clip.text]
        found, _ = recognise(clips, recogniser, width=width, scorer=with_scorer)
        pairs = [(each.reference or "", each.hypothesis) for each in found]
        rows += _rates(measurer, setup, variant, name, pairs)
    return rows


def _rates(
    measurer: Measurer, setup: Setup, subject: str, name: str, pairs: Sequence[tuple[str, str]]
) -> list[Row]:
    rates = {WER: word_error_rate(pairs), CER: character_error_rate(pairs)}
    return [
        measurer.row(
            EXPERIMENT.subject(subject), setup.part, f"{metric} {name}", rate.rate,
            low=rate.low, high=rate.high, n=rate.utterances,
        )
        for metric, rate in rates.items()
    ]  # fmt: skip
