"""Commands that make recognisers of more than transcribed speech, in stages that are files and folders."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from sonorant import console
from sonorant.cli.app import app
from sonorant.console import AsJson, LanguageModel, LanguageWeight, Out, Overrides, Quiet, WordBonus

OWN_OF_STAGES = ("out", "pseudo", "joint", "data.manifest", "objective.complementary")


@app.command()
def cjt(
    overrides: Overrides = None,
    paired: Annotated[
        Path | None, typer.Option(help="Transcribed clips: a manifest, or a folder with NAME.txt files.")
    ] = None,
    speech: Annotated[
        Path | None, typer.Option(help="Other speech: a manifest or a folder; texts do not count.")
    ] = None,
    text: Annotated[Path | None, typer.Option(help="Other text: a file with a sentence a line.")] = None,
    tts: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ENGINE[:VOICE,...]",
            help="What speaks the text, as for `speak`, or a command line with {out}; may be repeated. "
            "Default: flite.",
        ),
    ] = None,
    language: Annotated[str, typer.Option(help="Of the text, for its numbers: en, it, ...")] = "en",
    config: Annotated[str, typer.Option(help="Of every recogniser, as for `finetune`.")] = "ctc",
    out: Out = Path("runs/cjt"),
    rounds: Annotated[int, typer.Option(min=1, help="The first is CJT, the others are CJT++.")] = 2,
    only: Annotated[
        str | None, typer.Option(help="A control: `speech` with pseudo-labels, or synthesised `text`.")
    ] = None,
    afresh: Annotated[
        bool,
        typer.Option(
            "--afresh", help="Each round starts from the pretrained encoder, not from the network before it."
        ),
    ] = False,
    beside: Annotated[
        bool, typer.Option(help="Transcribed clips take their turn in joint training, too.")
    ] = True,
    weight: Annotated[float, typer.Option(help="Lambda: of synthetic audio's loss.")] = 1.0,
    mask: Annotated[
        str,
        typer.Option(
            metavar="KIND[=NUMBER]",
            help="Which pseudo-labels CJT++ hides: conf (k), thres (threshold), rand (rate), none.",
        ),
    ] = "conf",
    block: Annotated[
        float, typer.Option(min=0, max=1, help="How often CJT++ shields shallow layers from synthetic audio.")
    ] = 0.5,
    layers: Annotated[
        int | None, typer.Option(min=1, help="The shallow ones. Default: 4, or half of fewer than 8.")
    ] = None,
    parallel: Annotated[
        bool, typer.Option("--parallel", help="CJT++ has shallow layers for synthetic audio alone, instead.")
    ] = False,
    lm: LanguageModel = None,
    lm_weight: LanguageWeight = 0.5,
    word_bonus: WordBonus = 1.0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Learn from a little transcribed speech, other speech and other text (complementary joint training).

    A seed recogniser labels the speech, synthesis speaks the text, and one recogniser learns from both. Each
    stage is a file or folder that can be looked at; the same command continues an interrupted run. Without
    --paired the seed learns from synthetic audio alone.

    Example: `sonorant cjt --paired paired/ --speech recordings/ --text text.txt pretrained=runs/best_rq`
    """
    from sonorant.config import builtins, convert, load
    from sonorant.data.label_masks import label_mask
    from sonorant.recipes.cjt import CJTConfig
    from sonorant.recipes.cjt import cjt as run
    from sonorant.recipes.language import language as language_model
    from sonorant.recipes.settings import FinetuneConfig
    from sonorant.recipes.shipped import shipped

    words = overrides or ()
    _refuse(words, OWN_OF_STAGES, "is each stage's own (see the options: sonorant cjt --help)")
    tuning = load(shipped(config), [*words, "data.manifest=paired.jsonl"])
    settings = {
        "out": str(out),
        "paired": None if paired is None else str(paired),
        "speech": None if speech is None else str(speech),
        "text": None if text is None else str(text),
        "tts": tts or ["flite"],
        "spoken": language,
        "finetune": builtins(convert(tuning, FinetuneConfig)),
        "rounds": rounds,
        "only": only,
        "afresh": afresh,
        "beside": beside,
        "language": _told(lm, lm_weight, word_bonus),
    }
    shallow = {"weight": weight, "layers": layers, "block": block, "parallel": parallel}
    plan = convert({**settings, "mask": builtins(label_mask(mask)), "complementary": shallow}, CJTConfig)
    known = language_model(lm, None, weight=lm_weight, word_bonus=word_bonus)
    with console.continuable():
        best = run(plan, language=known, quiet=quiet, bars=partial(console.progress, quiet=quiet))
    console.show({"out": str(out), "best": str(best)}, as_json, f"best checkpoint: {best}")


@app.command("self-train")
def self_train(
    paired: Annotated[Path, typer.Argument(help="Transcribed clips.")],
    speech: Annotated[Path, typer.Argument(help="Clips that are labelled; their texts do not count.")],
    overrides: Overrides = None,
    config: Annotated[str, typer.Option(help="Of every recogniser, as for `finetune`.")] = "ctc",
    out: Out = Path("runs/self_train"),
    rounds: Annotated[int, typer.Option(min=1, help="Of labelling and training.")] = 2,
    keep: Annotated[float, typer.Option(min=0, max=1, help="The share of the clips kept, the surest.")] = 0.8,
    share: Annotated[
        float, typer.Option(min=0.01, max=0.99, help="Of a student's batches with pseudo-labels.")
    ] = 0.5,
    teacher: Annotated[
        str | None,
        typer.Option(
            metavar="ema",
            help="Instead of rounds: one student whose moving average labels each batch (ctc alone).",
        ),
    ] = None,
    lm: LanguageModel = None,
    lm_weight: LanguageWeight = 0.5,
    word_bonus: WordBonus = 1.0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train a recogniser, let it label speech, train the next one on both, and again (noisy student).

    Each round is a folder that can be looked at; the same command continues an interrupted run. What will be
    done, and about how long it takes, is told first.

    Example: `sonorant self-train paired.jsonl speech.jsonl pretrained=runs/best_rq train.minutes=10`
    """
    from sonorant.config import builtins, convert, load
    from sonorant.recipes.language import language
    from sonorant.recipes.self_training import SelfTrainConfig
    from sonorant.recipes.self_training import self_train as run
    from sonorant.recipes.settings import FinetuneConfig
    from sonorant.recipes.shipped import shipped

    words = overrides or ()
    _refuse(words, ("out", "pseudo"), "each round has its own (give --out, --keep and --share)")
    settings = load(shipped(config), [*words, f"data.manifest={json.dumps(str(paired))}"])
    given = {
        "out": str(out),
        "speech": str(speech),
        "finetune": builtins(convert(settings, FinetuneConfig)),
        "rounds": rounds,
        "keep": keep,
        "share": share,
        "language": _told(lm, lm_weight, word_bonus),
        "teacher": teacher,
    }
    plan = convert(given, SelfTrainConfig)
    known = language(lm, None, weight=lm_weight, word_bonus=word_bonus)
    with console.continuable(), console.progress("labelling", quiet) as bar:
        best = run(plan, language=known, quiet=quiet, progress=bar)
    console.show({"out": str(out), "best": str(best)}, as_json, f"best checkpoint: {best}")


def _refuse(words: Sequence[str], keys: Sequence[str], reason: str) -> None:
    """ConfigError: a setting is one of those that a recipe makes itself."""
    from sonorant.config import ConfigError

    for word in words:
        key = word.partition("=")[0]
        if any(key == each or key.startswith(f"{each}.") for each in keys):
            raise ConfigError(f"{word!r}: {reason}")


def _told(lm: Path | None, weight: float, word_bonus: float) -> str | None:
    """What labelling is told of the language, as plans keep it."""
    return None if lm is None else f"{lm}, weight {weight:g}, word bonus {word_bonus:g}"
