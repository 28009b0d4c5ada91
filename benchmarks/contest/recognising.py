"""What is done with a recogniser: training for its minutes, error rates with and without a language model."""

from collections.abc import Sequence

from contest.costs import timed, times, updates
from contest.entries import Entry
from contest.recognisers import SCRATCH, Recogniser
from sonorant.asr.fusion import FusionConfig
from sonorant.config import convert, override
from sonorant.data.manifest import read, write
from sonorant.evaluate.rows import Row
from sonorant.evaluate.wer import character_error_rate, word_error_rate
from sonorant.lm.model import load
from sonorant.recipes import finetune as finetuning
from sonorant.recipes.label_budget import nearest, settings
from sonorant.recipes.language import Language, tune, write_model
from sonorant.recipes.recognise import Hypothesis, load_recogniser, recognise
from sonorant.recipes.settings import FinetuneConfig, best_checkpoint, encoder_settings
from sonorant.train import checkpoint

ORDER = 4  # words
TUNED = 60  # clips of the development part that the language model's weights are chosen on
WEIGHTS, WORD_BONUSES = (0.25, 0.5, 1.0), (0.0, 2.0)  # of which
WIDTHS = {"ctc": 16, "seq2seq": 4}  # of beams with a language model
PLAIN = {"ctc": None, "seq2seq": 4}  # without: None is greedy


def train(entry: Entry) -> list[Row]:
    """A recogniser, trained with as many updates as fit into the minutes of the one from scratch."""
    recogniser = entry.contestant
    assert isinstance(recogniser, Recogniser)
    measured = entry.root / f"{recogniser.pool}-updates.json"
    steps = updates(measured, config(entry, SCRATCH, 1), entry.budget.finetuning)
    with timed(entry.folder / "train-seconds.json"):
        finetuning.finetune(config(entry, recogniser.arm, steps))
    return [*times(entry, "train"), entry.row("fine-tuning updates", steps)]


def config(entry: Entry, arm: str, steps: int) -> FinetuneConfig:
    """The settings of a way to train, with the schedule for its hours of labels over so many updates."""
    recogniser = entry.contestant
    assert isinstance(recogniser, Recogniser)
    run = best_checkpoint(entry.upstream)
    manifest = entry.corpus / f"paired-{recogniser.labels}.jsonl"
    schedule = nearest(sum(clip.seconds for clip in read(manifest)) / 3600)
    given = settings(schedule, encoder_settings(run), entry.budget.processes)
    waiting = round(steps * given["objective"]["freeze_context"] / given["train"]["steps"])
    words = [
        f"seed={entry.seed}",
        f"train.steps={steps}",
        "train.checkpoint_every=0.25",
        "train.keep=1",
        f"objective.freeze_context={waiting}",
        *recogniser.words(arm),
    ]
    whole = override(given, words)
    whole |= {"out": str(entry.folder / "train"), "pretrained": str(run)}
    whole["data"] |= {"manifest": str(manifest), "validation": str(entry.corpus / "dev.jsonl")}
    return convert(whole, FinetuneConfig)


def decode(entry: Entry) -> list[Row]:
    """Error rates on the dev and test parts, on the latter also with a language model of the allowed text."""
    kind = entry.contestant
    assert isinstance(kind, Recogniser)
    recogniser = load_recogniser(entry.folder / "train")
    rows = []
    for part in ("dev", "test"):
        clips = [clip for clip in read(entry.corpus / f"{part}.jsonl") if clip.text]
        found, _ = recognise(clips, recogniser, width=PLAIN[kind.kind])
        rows += error_rows(entry, part, found)
    texts = [entry.corpus / "unpaired-text.txt", entry.corpus / f"paired-{kind.labels}.jsonl"]
    normalisation = checkpoint.read_config(best_checkpoint(entry.folder / "train"))["normalisation"]
    lm = entry.root / f"lm-{kind.labels}.arpa"
    write_model(texts, lm, order=ORDER, characters=False, test=None, normalisation=normalisation)
    sample = entry.folder / "dev-sample.jsonl"
    dev = [clip for clip in read(entry.corpus / "dev.jsonl") if clip.text]
    write(sample, dev[:: max(1, len(dev) // TUNED)])
    grid = tune(recogniser, sample, lm, width=WIDTHS[kind.kind], weights=WEIGHTS, word_bonuses=WORD_BONUSES)
    best = grid[0]
    fused = Language(load(lm), (), FusionConfig(weight=best.lm_weight, word_bonus=best.word_bonus))
    scorer = fused.scorer(recogniser.vocabulary)
    found, _ = recognise(clips, recogniser, width=WIDTHS[kind.kind], scorer=scorer)
    return [
        *rows,
        *error_rows(entry, "test with LM", found),
        entry.row("LM weight", best.lm_weight),
        entry.row("word bonus", best.word_bonus),
    ]


def error_rows(entry: Entry, part: str, found: Sequence[Hypothesis]) -> list[Row]:
    """Word and character error rates."""
    pairs = [(each.reference or "", each.hypothesis) for each in found]
    rates = {"CER": character_error_rate(pairs), "WER": word_error_rate(pairs)}
    return [
        entry.row(f"{name} {part}", rate.rate, low=rate.low, high=rate.high, n=rate.utterances)
        for name, rate in rates.items()
    ]
