"""Commands that use a recogniser: transcripts, and when what is known to be said is said."""

import sys
from contextlib import suppress
from pathlib import Path
from shutil import get_terminal_size
from typing import Annotated

import typer

from sonorant import console
from sonorant.cli.app import app
from sonorant.console import HotWords, LanguageModel, LanguageWeight, Out, Precision, Quiet, WordBonus


@app.command()
def transcribe(
    run: Annotated[
        Path,
        typer.Argument(help="A fine-tuned run, one of its checkpoints, or what `export` made of it (.onnx)."),
    ],
    audio: Annotated[
        list[Path],
        typer.Argument(help="Audio files of any length, folders with them, manifests (.jsonl)."),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="A folder for the transcripts; else they are printed.")
    ] = None,
    form: Annotated[str, typer.Option("--format", help="text, srt, vtt, json or ctm.")] = "text",
    beam: Annotated[
        int | None, typer.Option(min=1, help="Prefixes that are kept; else greedy, or 32 with --lm.")
    ] = None,
    precision: Precision = "auto",
    lm: LanguageModel = None,
    lm_weight: LanguageWeight = 0.5,
    word_bonus: WordBonus = 1.0,
    hot_words: HotWords = None,
    ctc_weight: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Of CTC beside an attention decoder. Default: as in training."),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Write down what is said, with the times of words in `srt`, `vtt`, `json` and `ctm`.

    A folder's files keep their places below --out, each whole as soon as it is done. What cannot be read is
    named and left out, and the command then ends with 1. Manifests give one JSON object a clip; where their
    clips have texts, the error rates are told.

    Example: `sonorant transcribe runs/ctc interviews/ --format srt --out subtitles`
    """
    from sonorant.recipes.language import language
    from sonorant.recipes.transcribing import transcribe_all
    from sonorant.recipes.whole import write_whole

    known = language(lm, hot_words, weight=lm_weight, word_bonus=word_bonus)
    skipped = []
    with console.progress("transcribing", quiet or out is None) as bar:
        for each in transcribe_all(
            run,
            audio,
            form=form,
            width=beam,
            precision=precision,
            language=known,
            ctc_weight=ctc_weight,
            progress=bar,
        ):
            if each.content is None:
                skipped.append((str(each.path), each.reason))
                console.tell_skipped(skipped[-1:])
            elif out is None:
                if len(audio) > 1 or audio[0].is_dir():
                    print(f"{each.path}:", file=sys.stderr)
                print(each.content, end="")
            else:
                write_whole(out / each.name, each.content)
                print(out / each.name)
    if skipped:
        print(f"{len(skipped)} could not be read, the others are done", file=sys.stderr)
        raise typer.Exit(console.FAILURE)


@app.command()
def listen(
    run: Annotated[Path, typer.Argument(help="A fine-tuned run, or what `export` made of it (.onnx).")],
    audio: Annotated[
        Path | None,
        typer.Argument(
            help="`-`: the standard input, WAV or raw 16-bit samples; a file. Else the microphone."
        ),
    ] = None,
    chunk: Annotated[float, typer.Option(min=0.02, help="Seconds between two looks.")] = 0.5,
    look_ahead: Annotated[float, typer.Option(min=0, help="Seconds of audio that a look waits for.")] = 0.5,
    rate: Annotated[
        int | None,
        typer.Option(min=1000, help="Samples a second of raw audio. Default: the recogniser's."),
    ] = None,
    beam: Annotated[
        int | None, typer.Option(min=1, help="Prefixes that are kept; else greedy, or 32 with --lm.")
    ] = None,
    precision: Precision = "auto",
    lm: LanguageModel = None,
    lm_weight: LanguageWeight = 0.5,
    word_bonus: WordBonus = 1.0,
    hot_words: HotWords = None,
    quiet: Quiet = False,
) -> None:
    """Write down what is said while it is said, a line at a time.

    On a terminal the line that is being spoken is shown as it grows; it never takes back what it has shown.
    At the end, also after Ctrl-C, the latency is told. The microphone needs `pip install 'sonorant[mic]'`.

    Example: `sonorant listen runs/ctc`

    Then: `arecord -f S16_LE -r 16000 | sonorant listen runs/ctc - > talk.txt`
    """
    from sonorant.asr.live import LiveConfig
    from sonorant.recipes.language import language
    from sonorant.recipes.listening import hear

    config = LiveConfig(chunk_seconds=chunk, look_ahead_seconds=look_ahead, beam=beam)
    known = language(lm, hot_words, weight=lm_weight, word_bonus=word_bonus)
    heard, latency = hear(run, audio, config=config, rate=rate, precision=precision, language=known)
    growing = sys.stderr.isatty() and not quiet
    with suppress(KeyboardInterrupt):
        for each in heard:
            if growing:
                _show(each.text if each.words is None else "")
            if each.words is not None:
                print(each.text, flush=True)
    if not quiet:
        if growing:
            _show("")
        print(latency.summary(), file=sys.stderr)


def _show(text: str) -> None:
    """The end of a growing line, in the place of what was shown of it."""
    shown = text[-(get_terminal_size().columns - 1) :]
    print(f"\r\x1b[K{shown}", end="", file=sys.stderr, flush=True)


@app.command()
def align(
    audio: Annotated[
        list[Path],
        typer.Argument(help="Manifests of clips with texts; audio files with NAME.txt beside; folders."),
    ],
    out: Out = Path("aligned.jsonl"),
    run: Annotated[
        Path | None,
        typer.Option(help="A fine-tuned run, for its language. Else English, by pocketsphinx."),
    ] = None,
    units: Annotated[
        str | None,
        typer.Option(
            help="In the manifest: phones (default) or words; with --run words (default) or characters."
        ),
    ] = None,
    min_score: Annotated[
        float, typer.Option(max=0, help="With --run, texts that fit less well are left out.")
    ] = -3.0,
    textgrids: Annotated[Path | None, typer.Option(help="A folder for TextGrids of all tiers.")] = None,
    ctm: Annotated[
        Path | None, typer.Option(help="A file for the words with confidences, with --run.")
    ] = None,
    processes: Annotated[int, typer.Option(min=1, help="How many at once, without --run.")] = 2,
    quiet: Quiet = False,
) -> None:
    """Find when the words, or the phones, of a known text are said: clips get `units` with times.

    A recogniser aligns what it can spell, hours at a time. Without one, English phones (for probes) and words
    are found by `pip install 'sonorant[align]'`. Clips whose words are unknown or do not fit are named and
    left out.

    Example: `sonorant align chapter.flac --run runs/ctc --textgrids grids`

    Example: `sonorant align paired.jsonl --out phones.jsonl`
    """
    from sonorant.recipes.aligning import ENGLISH, UNITS, align_english, align_words

    if run is None and ctm is not None:
        raise ValueError("ctm: needs confidences (give a recogniser: --run RUN)")
    with console.progress("aligning", quiet) as bar:
        if run is None:
            done = align_english(
                audio,
                out,
                units=units or ENGLISH[0],
                textgrids=textgrids,
                processes=processes,
                progress=bar,
            )
        else:
            done = align_words(
                run,
                audio,
                out,
                units=units or UNITS[0],
                worst=min_score,
                textgrids=textgrids,
                ctm_file=ctm,
                progress=bar,
            )
    console.tell_skipped(done.skipped.items())
    told = f"{out}: {len(done.clips)} clips aligned, {len(done.skipped)} skipped"
    if done.scores:
        ranked = sorted(done.scores)
        told += f", scores {ranked[0]:.2f} at worst, {ranked[len(ranked) // 2]:.2f} in the middle"
    if not done.clips:
        raise ValueError(f"nothing is aligned, {len(done.skipped)} skipped (for the reasons above)")
    print(told)
