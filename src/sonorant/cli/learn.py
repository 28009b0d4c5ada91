"""Commands that train, and the one that tells where the time goes."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sonorant import console
from sonorant.cli.app import app
from sonorant.console import (
    AsJson,
    Configuration,
    LanguageModel,
    LanguageWeight,
    Out,
    Overrides,
    Quiet,
    WordBonus,
)

if TYPE_CHECKING:
    from sonorant.recipes.settings import FinetuneConfig, PretrainConfig


@app.command()
def pretrain(
    config: Configuration,
    overrides: Overrides = None,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="10m or 1.5h: what CONFIG, then a folder of recordings or a manifest, is worth. The method, "
            "the number of processes and what is held out to score checkpoints are chosen.",
        ),
    ] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Learn a representation from untranscribed speech; the same command continues an interrupted run.

    Example: `sonorant pretrain recordings/ --budget 1h`

    Example: `sonorant pretrain best_rq data.manifest=speech.jsonl train.minutes=60`

    `train.processes=2` puts two cores to better use; for GPUs: `torchrun --nproc-per-node 2 -m sonorant ...`
    """
    from sonorant.config import convert, load
    from sonorant.recipes.pretrain import pretrain as run
    from sonorant.recipes.settings import PretrainConfig
    from sonorant.recipes.shipped import shipped

    if budget is None:
        settings = convert(load(shipped(config), overrides or ()), PretrainConfig)
    else:
        settings = _planned(Path(config), budget, overrides or (), quiet)
    with console.continuable():
        best = run(settings, quiet=quiet)
    console.show({"run": settings.out, "best": str(best)}, as_json, f"best checkpoint: {best}")


def _planned(source: Path, budget: str, overrides: Sequence[str], quiet: bool) -> "PretrainConfig":
    from sonorant.recipes.budget import plan, told

    with console.progress("looking at files", quiet) as bar:
        planned = plan(source, budget, overrides, progress=bar)
    console.tell_skipped(planned.skipped)
    if not quiet:
        print(told(planned), file=sys.stderr)
    return planned.config


@app.command()
def finetune(
    config: Configuration,
    overrides: Overrides = None,
    from_run: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="RUN",
            help="A pretrained run. CONFIG is then a folder with transcripts or a manifest, and its hours "
            "decide on wav2vec 2.0's schedule for 10 min, 1, 10 or 100 h.",
        ),
    ] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Make a recogniser of a pretrained encoder and transcribed speech: `ctc`, or with attention, `seq2seq`.

    With `from_scratch=true` the encoder keeps its shape and gets new weights: a control.

    Example: `sonorant finetune paired.jsonl --from runs/best_rq`

    Example: `sonorant finetune ctc pretrained=runs/best_rq data.manifest=paired.jsonl`
    """
    from sonorant.config import convert, load
    from sonorant.recipes.finetune import finetune as run
    from sonorant.recipes.settings import FinetuneConfig
    from sonorant.recipes.shipped import shipped

    if from_run is None:
        settings = convert(load(shipped(config), overrides or ()), FinetuneConfig)
    else:
        settings = _tuned(Path(config), from_run, overrides or (), quiet)
    with console.continuable():
        best = run(settings, quiet=quiet)
    console.show({"run": settings.out, "best": str(best)}, as_json, f"best checkpoint: {best}")


def _tuned(source: Path, pretrained: Path, overrides: Sequence[str], quiet: bool) -> "FinetuneConfig":
    from sonorant.recipes.label_budget import plan, told

    with console.progress("looking at files", quiet) as bar:
        planned = plan(source, pretrained, overrides, progress=bar)
    console.tell_skipped(planned.skipped)
    if not quiet:
        print(told(planned), file=sys.stderr)
    return planned.config


@app.command()
def demo(
    out: Out = Path("demo"),
    minutes: Annotated[float, typer.Option(help="Of work, about, after the installation.")] = 15.0,
    seed: Annotated[int, typer.Option(help="Of everything that is drawn.")] = 0,
    as_json: AsJson = False,
) -> None:
    """The whole way on real speech: fetch, pretrain, score, fine-tune, transcribe, report.

    Where apt-get is missing, begin with a folder of your own: `sonorant manifest FOLDER`.

    Example: `sonorant demo --minutes 60 --seed 1`
    """
    from sonorant.recipes.demo import run_demo, summary

    rows = run_demo(out / "corpus", out / f"{minutes:g}min-seed{seed}", minutes=minutes, seed=seed)
    console.show(console.plain(rows), as_json, summary(rows))


@app.command()
def profile(config: Configuration, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Tell where a training step's time goes, module by module, against what this machine could do at best.

    Takes what `pretrain` or `finetune` takes, trains a few steps and writes nothing. `floor` is the time that
    the arithmetic or the memory alone would take.

    Example: `sonorant profile best_rq data.manifest=speech.jsonl`
    """
    from sonorant.config import load
    from sonorant.recipes.profiling import profile as run
    from sonorant.recipes.shipped import shipped

    found = run(load(shipped(config), overrides or ()))
    console.show(found.row(), as_json, found.text())


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
    config: Annotated[str, typer.Option(help="Of every recogniser, as for `finetune`.")] = "seq2seq",
    out: Out = Path("runs/cjt"),
    rounds: Annotated[int, typer.Option(min=1, help="The first is CJT, the others are CJT++.")] = 2,
    only: Annotated[
        str | None, typer.Option(help="A control: `speech` with pseudo-labels, or synthesised `text`.")
    ] = None,
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
    from functools import partial

    from sonorant.config import ConfigError, builtins, convert, load
    from sonorant.data.label_masks import label_mask
    from sonorant.recipes.cjt import CJTConfig
    from sonorant.recipes.cjt import cjt as run
    from sonorant.recipes.language import language as language_model
    from sonorant.recipes.settings import FinetuneConfig
    from sonorant.recipes.shipped import shipped

    words = overrides or ()
    for word in words:
        if word.partition("=")[0].startswith(("out", "pseudo", "joint", "data.manifest", "objective.compl")):
            raise ConfigError(f"{word!r}: is each stage's own (see the options: sonorant cjt --help)")
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
        "beside": beside,
        "language": None if lm is None else f"{lm}, weight {lm_weight:g}, word bonus {word_bonus:g}",
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
    import json

    from sonorant.config import ConfigError, convert, load
    from sonorant.recipes.language import language
    from sonorant.recipes.self_training import SelfTrainConfig
    from sonorant.recipes.self_training import self_train as run
    from sonorant.recipes.settings import FinetuneConfig
    from sonorant.recipes.shipped import shipped

    words = overrides or ()
    for word in words:
        if word.partition("=")[0].partition(".")[0] in ("out", "pseudo"):
            raise ConfigError(f"{word!r}: each round has its own (give --out, --keep and --share)")
    settings = load(shipped(config), [*words, f"data.manifest={json.dumps(str(paired))}"])
    plan = SelfTrainConfig(
        out=str(out),
        speech=str(speech),
        finetune=convert(settings, FinetuneConfig),
        rounds=rounds,
        keep=keep,
        share=share,
        language=None if lm is None else f"{lm}, weight {lm_weight:g}, word bonus {word_bonus:g}",
    )
    known = language(lm, None, weight=lm_weight, word_bonus=word_bonus)
    with console.continuable(), console.progress("labelling", quiet) as bar:
        best = run(plan, language=known, quiet=quiet, progress=bar)
    console.show({"out": str(out), "best": str(best)}, as_json, f"best checkpoint: {best}")
