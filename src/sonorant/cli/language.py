"""Commands about language models: estimate one, weigh it."""

from pathlib import Path
from typing import Annotated

import typer

from sonorant import console
from sonorant.cli.app import app
from sonorant.console import AsJson, Quiet


@app.command()
def lm(
    text: Annotated[list[Path], typer.Argument(help="Files with a sentence a line; manifests (.jsonl).")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to write.")] = Path("lm.arpa"),
    order: Annotated[int, typer.Option(min=1, max=20, help="Words, or characters, at most.")] = 4,
    characters: Annotated[
        bool, typer.Option("--characters", help="Of characters: for little text, or long words.")
    ] = False,
    test: Annotated[Path | None, typer.Option(help="Another text, for the perplexity.")] = None,
    normalisation: Annotated[
        str, typer.Option(help="lower_alnum or none, as the recogniser's.")
    ] = "lower_alnum",
    as_json: AsJson = False,
) -> None:
    """Estimate a language model from text, for `transcribe --lm`: n-grams, smoothed by modified Kneser-Ney.

    It is an ARPA file, which other tools read too. Never give it the text it will be measured on.

    Example: `sonorant lm paired.jsonl sentences.txt --order 4 --out lm.arpa --test dev.jsonl`
    """
    from sonorant.recipes.language import write_model

    told = write_model(text, out, order=order, characters=characters, test=test, normalisation=normalisation)
    console.show(told, as_json, console.lines(told))


@app.command("neural-lm")
def neural_lm(
    text: Annotated[list[Path], typer.Argument(help="Files with a sentence a line; manifests (.jsonl).")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write.")] = Path("lm"),
    test: Annotated[Path | None, typer.Option(help="Another text, for the perplexities.")] = None,
    normalisation: Annotated[
        str, typer.Option(help="lower_alnum or none, as the recogniser's.")
    ] = "lower_alnum",
    width: Annotated[int, typer.Option(min=8, help="Of the recurrent layer.")] = 256,
    seed: Annotated[int, typer.Option(help="Of weights, order and dropout.")] = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train a language model from text, for `transcribe --lm`: an LSTM of characters, beside n-grams.

    Training ends when a tenth of the lines, which is held out, gets no likelier. The same command continues
    an interrupted one. Never give it the text it will be measured on.

    Example: `sonorant neural-lm paired.jsonl sentences.txt --out lm --test dev.jsonl`
    """
    from sonorant.recipes.neural_lm import train_model

    with console.continuable("epoch"), console.progress("epochs, at most", quiet) as bar:
        told = train_model(
            text, out, test=test, normalisation=normalisation, width=width, seed=seed, progress=bar
        )
    console.show(told, as_json, console.lines(told))


@app.command()
def tune(
    run: Annotated[Path, typer.Argument(help="A fine-tuning run, a checkpoint or a .onnx file.")],
    manifest: Annotated[Path, typer.Argument(help="Clips with texts, neither trained nor tested on.")],
    lm: Annotated[Path, typer.Option(help="A language model that `lm` or `neural-lm` wrote.")],
    beam: Annotated[int, typer.Option(min=1, help="Prefixes that are kept.")] = 32,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the whole grid (.json).")] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Find the weights of a language model with the fewest word errors; the audio is computed once.

    Example: `sonorant tune runs/ctc dev.jsonl --lm lm.arpa`
    """
    import json

    from sonorant.recipes.language import tune as run_grid
    from sonorant.recipes.recognise import load_recogniser

    with console.progress("decoding", quiet) as bar:
        settings = run_grid(load_recogniser(run), manifest, lm, width=beam, progress=bar)
    rows = console.plain(settings)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf8")
    best = settings[0]
    table = "\n".join(
        f"{each.lm_weight:9g}  {each.word_bonus:10g}  {each.wer:6.1%}  {each.cer:6.1%}" for each in settings
    )
    words = f"--lm-weight {best.lm_weight:g} --word-bonus {best.word_bonus:g}"
    console.show(rows, as_json, f"lm weight  word bonus     WER     CER\n{table}\nbest: {words}")
