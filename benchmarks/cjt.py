"""Complementary joint training against its parts and among its variants, on the same updates for all.

    python benchmarks/cjt.py runs/pretrained --seeds 0 1 2                   # everything
    python benchmarks/cjt.py runs/pretrained --variants CJT seed --part 1h   # or piece by piece
    python benchmarks/cjt.py --quick                                        # a minute or two; nothing is kept

RUN is a pretraining run. The paired part of the Amazon Queen (10m or 1h), its unpaired speech and its text
are what is learned from; contest/joint.py tells which variants there are. Each training is given as many
updates as fit into --minutes processor minutes of the seed's, measured once. What variants share (seed,
labels, synthetic audio, and for CJT++ round 1) is made once for each seed. Stages are kept in folders of
--out: what has ended is not repeated, what was interrupted goes on. Rows are added to
results/cjt-PART-DATE.jsonl after each variant, in place of those of the same variant, seed and metric, and
the page is made anew of all. At the end of each seed layers and confidences of what has ended are looked into
(contest/joint_analysis.py); layers need the variant `all transcribed`. Where `make peers` has put it, Whisper
tiny.en hears the test part in the end, for scale.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from contest.command import RESULTS
from contest.entries import Budget
from contest.joint import NETWORKS, PLUS, REFERENCE, SPEECH_ONLY, Setup, variant_rows, whisper_rows
from contest.joint_analysis import ANALYSES, RUNS
from contest.joint_page import show
from contest.keeping import check, keep
from contest.small import SPEECH, small_corpus
from sonorant import corpora
from sonorant.config import convert, load
from sonorant.data.manifest import read, write
from sonorant.recipes.pretrain import pretrain
from sonorant.recipes.settings import PretrainConfig
from sonorant.recipes.shipped import shipped

QUICK = ("CJT", "seed", SPEECH_ONLY, PLUS, REFERENCE)
FAKE = SPEECH.parent / "fake_tts.py"


def main() -> None:
    command = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command.add_argument("run", nargs="?", type=Path, help="a pretraining run")
    command.add_argument("--variants", nargs="+", choices=NETWORKS, help="all unless given", metavar="NAME")
    command.add_argument("--seeds", type=int, nargs="+", default=[0])
    command.add_argument("--part", choices=("10m", "1h"), default="10m", help="that is transcribed")
    command.add_argument("--minutes", type=float, default=10.0, help="of each training, by the processors")
    command.add_argument("--processes", type=int, default=2, help="that train together, each on a core")
    command.add_argument("--config", default="ctc", help="of every recogniser")
    command.add_argument(
        "--tts", nargs="+", default=["flite"], help="engines and voices, as for `sonorant cjt`"
    )
    command.add_argument("--language", default="en", help="of the text, for its numbers")
    command.add_argument("--corpus", type=Path, default=Path("demo/corpus"), help="fetched if not there")
    command.add_argument("--out", type=Path, default=Path("runs/cjt_benchmark"), help="where stages are kept")
    command.add_argument("--file", type=Path, help="of rows, to which these are added")
    command.add_argument("--quick", action="store_true", help="a minute or two on fixtures; nothing is kept")
    options = command.parse_args()
    wanted = options.variants or (QUICK if options.quick else NETWORKS)
    if options.quick:
        sys.exit(quick(wanted))
    if options.run is None:
        command.error("give a pretraining run, or --quick")
    setup = Setup(
        pretrained=options.run.resolve(),
        corpus=options.corpus.resolve(),
        part=options.part,
        root=(options.out / f"{options.part}-{options.minutes:g}min-x{options.processes}").resolve(),
        minutes=options.minutes,
        processes=options.processes,
        config=options.config,
        tts=tuple(options.tts),
        language=options.language,
    )
    file = options.file or RESULTS / f"cjt-{options.part}-{datetime.now(UTC):%Y-%m-%d}.jsonl"
    try:
        check(file, budget(setup))
    except ValueError as error:
        command.error(str(error))
    if not (setup.corpus / "all.jsonl").exists():
        corpora.fetch("queen", setup.corpus)
    failed = run(setup, wanted, options.seeds, file)
    if rows := whisper_rows(setup):
        keep(file, rows, budget(setup), show)
    sys.exit(failed)


def budget(setup: Setup) -> Budget:
    return Budget(pretraining=0, finetuning=setup.minutes, processes=setup.processes)


def run(setup: Setup, wanted: Sequence[str], seeds: Sequence[int], file: Path) -> int:
    """All variants of a seed, and what is looked into, before the next seed; one that fails is told, and the
    next goes on. Gives the exit code."""
    failed = 0
    for seed in seeds:
        work = [(variant_rows, variant) for variant in NETWORKS if variant in wanted]
        work += [(analysis, variant) for variant in RUNS for analysis in ANALYSES]
        for find, variant in work:
            try:
                if rows := find(setup, variant, seed):
                    keep(file, rows, budget(setup), show)
            except ValueError as error:  # settings, training that came to nothing, an engine that is missing
                failed = 1
                print(f"{variant}, seed {seed}: {error}", file=sys.stderr, flush=True)
    return failed


def quick(wanted: Sequence[str]) -> int:
    """A few updates on fixtures; prints the page."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        setup = small_setup(folder)
        failed = run(setup, wanted, [0], folder / "quick.jsonl")
        if not failed:
            print((folder / "quick.md").read_text(encoding="utf8"))
        return failed


def small_setup(folder: Path) -> Setup:
    """The fixtures as a corpus, an encoder that has hardly learned, and a program that beeps for a voice."""
    corpus = small_corpus(folder / "corpus")
    clips = [clip for clip in read(corpus / "untranscribed.jsonl") if clip.text]
    write(corpus / "unpaired-speech.jsonl", clips[1::3])
    write(corpus / "paired-10m.jsonl", clips[::3])
    texts = "\n".join(clip.text or "" for clip in clips[::6])
    (corpus / "unpaired-text.txt").write_text(texts + "\n", encoding="utf8")
    for part in ("dev", "test"):
        write(corpus / f"{part}.jsonl", clips[2::9])
    words = ["train.minutes=null", "train.steps=2", "train.processes=1", f"out={folder / 'pretrained'}"]
    settings = load(shipped("demo_pretrain"), [*words, f"data.manifest={corpus / 'untranscribed.jsonl'}"])
    pretrain(convert(settings, PretrainConfig), quiet=True)
    beeps = f"{sys.executable} -I -S {FAKE} {{out}} {{text}}"
    variant = partial(Setup, pretrained=folder / "pretrained", corpus=corpus, part="10m")
    return variant(root=folder / "runs", minutes=0.02, tts=(beeps,))


if __name__ == "__main__":
    main()
