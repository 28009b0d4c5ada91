"""Guards the command line: names that scripts rely on, help that teaches, errors that fit into one line."""

import errno
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
import typer

from sonorant import objective
from sonorant.cli import app, main
from sonorant.config import convert, load
from sonorant.data.manifest import read
from sonorant.encoders.build import build
from sonorant.recipes.settings import FinetuneConfig, PretrainConfig, build_objective, merged
from sonorant.recipes.shipped import names, shipped

ROOT = Path(__file__).parents[2]
SPEECH = ROOT / "tests" / "fixtures" / "speech"
COMMANDS = typer.main.get_command(app).commands

# Scripts depend on these. A name may be added; one that goes or changes is announced in the release notes.
FROZEN = {
    "corpus": ["name", "--out", "-o", "--json"],
    "manifest": ["folder", "--out", "-o", "--layout", "--label", "--json", "--quiet", "-q"],
    "align": [
        *["audio", "--out", "-o", "--run", "--units", "--min-score", "--textgrids", "--ctm"],
        *["--processes", "--quiet", "-q"],
    ],
    "rooms": ["--out", "-o", "--count", "--rate", "--seed", "--quiet", "-q"],
    "speak": [
        *["text", "--out", "-o", "--engine", "--voices", "--command", "--paces", "--language", "--seed"],
        *["--threads", "--timeout", "--json", "--quiet", "-q"],
    ],
    "label": [
        *["run", "manifest", "--out", "-o", "--keep", "--min-confidence", "--beam"],
        *["--lm", "--lm-weight", "--word-bonus", "--json", "--quiet", "-q"],
    ],
    "pretrain": ["config", "overrides", "--budget", "--quiet", "-q", "--json"],
    "finetune": ["config", "overrides", "--from", "--quiet", "-q", "--json"],
    "extract": [
        *["run", "manifest", "--out", "-o", "--untrained", "--no-untrained", "--layer", "--to-score"],
        *["--seed", "--precision", "--quiet", "-q"],
    ],
    "measure": [
        *["features", "--manifest", "--probe", "--layer", "--targets", "--target-layer"],
        *["--curve", "--no-curve", "--codes", "--gaps", "--controls", "--clusters", "--bounds"],
        *["--seed", "--out", "-o", "--json"],
    ],
    "compare": [
        *["first", "second", "--layers", "--measures", "--frames", "--seed", "--out", "-o", "--json"],
        *["--quiet", "-q"],
    ],
    "abx": [
        *["features", "--manifest", "--layer", "--items", "--distance", "--limit", "--other-speakers"],
        *["--seed", "--out", "-o", "--json"],
    ],
    "bench": [
        *["upstream", "--data", "--tasks", "--out", "-o", "--seeds", "--heads", "--rates", "--updates"],
        *["--batch", "--width", "--precision", "--json", "--quiet", "-q"],
    ],
    "transcribe": [
        *["run", "audio", "--out", "-o", "--format", "--beam", "--precision"],
        *["--lm", "--lm-weight", "--word-bonus", "--hot-words", "--ctc-weight", "--quiet", "-q"],
    ],
    "listen": [
        *["run", "audio", "--chunk", "--look-ahead", "--rate", "--beam", "--precision"],
        *["--lm", "--lm-weight", "--word-bonus", "--hot-words", "--quiet", "-q"],
    ],
    "lm": ["text", "--out", "-o", "--order", "--characters", "--test", "--normalisation", "--json"],
    "neural-lm": [
        *["text", "--out", "-o", "--test", "--normalisation", "--width", "--seed", "--json", "--quiet", "-q"],
    ],
    "tune": ["run", "manifest", "--lm", "--beam", "--out", "-o", "--json", "--quiet", "-q"],
    "export": ["run", "--out", "-o", "--layer", "--precision"],
    "report": ["run"],
    "cjt": [
        *["overrides", "--paired", "--speech", "--text", "--tts", "--language", "--config", "--out", "-o"],
        *["--rounds", "--only", "--afresh", "--beside", "--no-beside", "--weight", "--mask", "--block"],
        *["--layers", "--parallel", "--lm", "--lm-weight", "--word-bonus", "--quiet", "-q", "--json"],
    ],
    "self-train": [
        *["paired", "speech", "overrides", "--config", "--out", "-o", "--rounds", "--keep", "--share"],
        *["--teacher", "--lm", "--lm-weight", "--word-bonus", "--quiet", "-q", "--json"],
    ],
    "profile": ["config", "overrides", "--json"],
    "demo": ["--out", "-o", "--minutes", "--seed", "--json"],
}


def code(*words) -> int:
    """The exit code of `sonorant WORDS`."""
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return int(end.value.code or 0)


def chosen_by_data(params):
    """Whether the first argument is speech, and not a configuration."""
    return params.get("budget") or params.get("from_run")


def parsed(line):
    """A command line as it would be run; fails where a command, an option or a setting is not there."""
    words = shlex.split(line, comments=True)
    assert words[0] == "sonorant"
    context = COMMANDS[words[1]].make_context(words[1], [word for word in words[2:] if word != "..."])
    if words[1] in ("pretrain", "finetune") and not chosen_by_data(context.params):
        settings = load(shipped(context.params["config"]), context.params["overrides"] or ())
        settings["data"].setdefault("manifest", "x.jsonl")
        convert(settings, PretrainConfig if words[1] == "pretrain" else FinetuneConfig)


def test_names_of_commands_and_options_are_frozen():
    found = {
        name: [
            word
            for parameter in command.params
            if parameter.name != "help"
            for word in (
                [*parameter.opts, *parameter.secondary_opts]
                if parameter.param_type_name == "option"
                else [parameter.name]
            )
        ]
        for name, command in COMMANDS.items()
    }
    assert found == FROZEN


@pytest.mark.parametrize("name", FROZEN)
def test_help_shows_every_default_and_an_example(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert code(name, "--help") == 0
    told = " ".join(re.sub("[│╭╮╰╯─]", " ", capsys.readouterr().out).split())
    for parameter in COMMANDS[name].params:
        assert parameter.help
        if parameter.default is not None and not isinstance(parameter.default, bool):
            assert f"[default: {parameter.default}]" in told
    example = re.search(r"Example: `(sonorant .+?)`", COMMANDS[name].help)
    assert example[1].replace("`", "") in told
    parsed(example[1])


def test_help_loads_no_torch():
    program = """
import sys
import sonorant
import sonorant.cli
for words in [], *([name] for name in sys.argv[1:]):
    try:
        sonorant.cli.main([*words, "--help"])
    except SystemExit as end:
        assert not end.code
slow = {"torch", "numpy", "soundfile", "safetensors"} & sys.modules.keys()
assert not slow, slow
"""
    subprocess.run([sys.executable, "-c", program, *FROZEN], check=True, stdout=subprocess.DEVNULL)


def test_the_module_is_a_command_and_no_command_is_help():
    done = subprocess.run([sys.executable, "-m", "sonorant", "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert all(name in done.stdout for name in FROZEN)


@pytest.mark.parametrize(
    "words",
    [
        ["pretrian"],
        ["pretrain"],
        ["pretrain", "best_rq", "--fast"],
        ["extract", "run"],
        ["extract", "run", "m.jsonl", "--seed", "one"],
        ["transcribe", "run", "a.wav", "--beam", "0"],
        ["align", "m.jsonl", "--processes", "0"],
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_2_and_points_to_the_help(words, capsys):
    assert code(*words) == 2
    err = capsys.readouterr().err
    assert "--help" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["corpus", "nosuch"], "'nosuch': cannot be fetched; there are asterisk"),
        (["corpus", "kaldi"], "'kaldi': cannot be fetched"),
        (["manifest", "nosuch"], "nosuch: there is no such file or folder"),
        (["align", "nosuch.jsonl"], "nosuch.jsonl: cannot be read: No such file or directory"),
        (["measure", "nosuch"], "nosuch/features.json: cannot be read"),
        (["compare", "nosuch", "other"], "nosuch/features.json: cannot be read"),
        (["abx", "x", "--manifest", "nosuch.jsonl"], "nosuch.jsonl: cannot be read"),
        (["report", "nosuch"], "nosuch: no such folder"),
        (["transcribe", "nosuch", "a.wav"], "nosuch: no checkpoint here"),
        (["listen", "nosuch", "-"], "nosuch: no checkpoint here"),
        (["extract", "log-mel", "nosuch.jsonl"], "nosuch.jsonl: cannot be read"),
        (["pretrain", "apc", "data.manifest=nosuch.jsonl"], "nosuch.jsonl: cannot be read"),
        (["finetune", "ctc", "pretrained=x", "data.manifest=nosuch.jsonl"], "nosuch.jsonl: cannot be read"),
        (["finetune", "ctc", "data.manifest=x.jsonl"], "pretrained: required, but not given"),
        (["label", "nosuch", "speech.jsonl"], "nosuch: no checkpoint here"),
        (["self-train", "p.jsonl", "s.jsonl", "out=x"], "'out=x': each round has its own"),
        (["self-train", "p.jsonl", "s.jsonl", "pretrained=x"], "s.jsonl: cannot be read"),
        (["speak", "nosuch.txt", "--command", "cat {out}"], "nosuch.txt: No such file or directory"),
        (["speak", "x.txt", "--command", "nosuch {out}"], "command: nosuch: no such program"),
        (["speak", "x.txt", "--engine", "nosuch"], "engine: 'nosuch' is not one of espeak-ng, flite"),
        (
            ["speak", "x.txt", "--engine", "flite:slt"],
            "engine: 'flite:slt' is not one of espeak-ng, flite, hibari, piper (give the voice",
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_is_not_there_is_named_in_one_line(words, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert code(*words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"sonorant: {told}")


def test_a_failure_of_the_machine_ends_with_1(monkeypatch, capsys):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", "speech.jsonl")

    monkeypatch.setattr("sonorant.corpora.read", full)
    assert code("manifest", "x") == 1
    assert capsys.readouterr().err == "sonorant: speech.jsonl: No space left on device\n"


def test_an_error_of_several_lines_is_told_in_one(monkeypatch, capsys):
    def wordy(*_, **__):
        raise ValueError("first\nsecond")

    monkeypatch.setattr("sonorant.corpora.read", wordy)
    assert code("manifest", "x") == 2
    assert capsys.readouterr().err == "sonorant: first second\n"


def test_corpora_are_listed(capsys):
    assert code("corpus", "list", "--json") == 0
    assert {"queen", "asterisk", "festvox_ru"} <= json.loads(capsys.readouterr().out).keys()
    assert code("corpus", "list") == 0
    assert "queen: " in capsys.readouterr().out


@pytest.fixture
def recordings(tmp_path):
    """A folder with three sound files, one of them with a text, and four that are not."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    for name in ("a", "b", "c"):
        shutil.copy(SPEECH / "ast-en-conf-hasjoin.flac", folder / f"{name}.flac")
    (folder / "a.txt").write_text("is now in the conference\n")
    (folder / "empty.wav").touch()
    (folder / "text.mp3").write_text("This is not audio. " * 99)
    samples, rate = soundfile.read(folder / "a.flac")
    soundfile.write(folder / "cut.wav", samples, rate)
    (folder / "cut.wav").write_bytes((folder / "cut.wav").read_bytes()[:-1000])
    soundfile.write(folder / "nan.wav", samples * float("nan"), rate, subtype="FLOAT")
    return folder


def test_bad_files_are_skipped_counted_and_listed(recordings, tmp_path, capsys):
    out = tmp_path / "lists" / "speech.jsonl"
    assert code("manifest", recordings, "--out", out, "--json") == 0
    told = capsys.readouterr()
    result = json.loads(told.out)
    seconds = 28182 / 16000
    assert (result["out"], result["clips"], result["with text"]) == (str(out), 3, 1)
    assert result["hours"] == round(3 * seconds / 3600, 3)
    causes = {Path(each["path"]).name: each["reason"] for each in result["skipped"]}
    assert sorted(causes) == ["cut.wav", "empty.wav", "nan.wav", "text.mp3"]
    for line, (name, cause) in zip(told.err.splitlines(), causes.items(), strict=True):
        assert line == f"skipped {recordings / name}: {cause.removeprefix(f'{recordings / name}: ')}"
    assert "truncated" in causes["cut.wav"]
    assert [(clip.id, clip.seconds, clip.text is None) for clip in read(out)] == [
        ("a", seconds, False),
        ("b", seconds, True),
        ("c", seconds, True),
    ]
    assert code("manifest", recordings, "--out", out) == 0
    assert "skipped: 4" in capsys.readouterr().out.splitlines()


def test_folders_without_audio_are_refused(recordings, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for name in ("a", "b", "c"):
        (recordings / f"{name}.flac").unlink()
    out = tmp_path / "speech.jsonl"
    for folder, told in (
        (tmp_path / "empty", "no audio and no list of audio found"),
        (recordings, "no usable clip as folder; 4 skipped"),
    ):
        assert code("manifest", folder, "--out", out) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"sonorant: {folder}: {told}")
    assert code("manifest", recordings, "--layout", "tape", "--out", out) == 2
    assert "'tape': no such layout" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("name", names())
def test_shipped_configurations_are_valid_and_small_ones_are_built(name):
    words = ["data.manifest=x.jsonl"]
    if "frontend" in load(shipped(name)).get("encoder", {}):
        pretraining = convert(load(shipped(name), words), PretrainConfig)
        method = objective.objective_config(pretraining.objective)
        if not name.endswith("_base"):
            build_objective(method, build(pretraining.encoder), pretraining.data)
        return
    tuning = convert(load(shipped(name), [*words, "pretrained=x"]), FinetuneConfig)
    started = convert(load(shipped("best_rq"), words), PretrainConfig)
    encoder = merged(load(shipped("best_rq"))["encoder"], tuning.encoder)
    method = objective.objective_config({"name": "ctc", **tuning.objective, "labels": 30})
    build_objective(method, build(convert(encoder, type(started.encoder))), tuning.data)


def test_the_commands_of_the_readme_exist():
    text = (ROOT / "README.md").read_text(encoding="utf8")
    lines = [line for block in text.split("```")[1::2] for line in block.splitlines()]
    tour = [line for line in lines if line.startswith("sonorant ")]
    assert {line.split()[1] for line in tour} >= {"manifest", "pretrain", "extract", "measure", "transcribe"}
    for line in tour:
        parsed(line)
    targets = re.findall(r"^make (\w+)", "\n".join(lines), re.MULTILINE)
    makefile = (ROOT / "Makefile").read_text(encoding="utf8")
    assert targets
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)
