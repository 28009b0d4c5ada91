"""Commands that train, and the one that tells where the time goes."""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol, TypeVar

import typer

from sonorant import console
from sonorant.cli.app import app
from sonorant.console import AsJson, Configuration, Out, Overrides, Quiet

if TYPE_CHECKING:
    from sonorant.data.entries import Skipped


class Planned(Protocol):
    """What a recipe for a folder gives: a run, and the files that were left out of it."""

    @property
    def skipped(self) -> "Sequence[Skipped]": ...


Plan = TypeVar("Plan", bound=Planned)


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
        from sonorant.recipes.budget import plan, told

        settings = _announced(partial(plan, Path(config), budget, overrides or ()), told, quiet).config
    with console.continuable():
        best = run(settings, quiet=quiet)
    console.show({"run": settings.out, "best": str(best)}, as_json, f"best checkpoint: {best}")


def _announced(plan: Callable[..., Plan], told: Callable[[Plan], str], quiet: bool) -> Plan:
    """What is planned for a folder, after a bar for its files, with what is left out, in a line."""
    with console.progress("looking at files", quiet) as bar:
        planned = plan(progress=bar)
    console.tell_skipped(planned.skipped)
    if not quiet:
        print(told(planned), file=sys.stderr)
    return planned


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
            "decide on a schedule after wav2vec 2.0's for 10 min, 1, 10 or 100 h.",
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
        from sonorant.recipes.label_budget import plan, told

        settings = _announced(partial(plan, Path(config), from_run, overrides or ()), told, quiet).config
    with console.continuable():
        best = run(settings, quiet=quiet)
    console.show({"run": settings.out, "best": str(best)}, as_json, f"best checkpoint: {best}")


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
