"""Guards the manifest: what is written comes back, and a mistake is named with its file and line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sonorant.data.manifest import Clip, ManifestError, read, write

FULL = Clip(
    "a",
    "/elsewhere/a.flac",
    start=160,
    samples=32000,
    rate=16000,
    speaker="anna",
    language="it",
    text="perché no",
    units=[("p", 0.0, 0.1), ("e", 0.1, 0.25)],
    source="test",
)


def test_what_is_written_comes_back(tmp_path):
    clips = [FULL, Clip("b", str(tmp_path / "audio" / "b.wav"), samples=8000, rate=8000)]
    write(tmp_path / "all.jsonl", clips)
    assert read(tmp_path / "all.jsonl") == clips
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.jsonl"]


def test_paths_below_the_manifest_are_written_relative_so_that_both_can_move(tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    write(here / "all.jsonl", [Clip("b", str(here / "audio" / "b.wav"))])
    assert json.loads((here / "all.jsonl").read_text()) == {"id": "b", "path": "audio/b.wav"}
    here.rename(there)
    assert read(there / "all.jsonl")[0].path == str(there / "audio" / "b.wav")


def test_relative_manifest_and_clip_paths_start_at_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(Path("all.jsonl"), [Clip("b", "audio/b.wav")])
    assert read(Path("all.jsonl"))[0].path == str(tmp_path / "audio" / "b.wav")


def test_length_in_seconds():
    assert FULL.seconds == 2.0
    with pytest.raises(ValueError, match="b: length not known"):
        _ = Clip("b", "b.wav").seconds


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": "b", "path": "b.wav", "sample": 3}', "unknown field sample"),
        ('{"id": "b", "path": "b.wav", "samples": "3"}', "samples: Expected int, got str"),
        ('{"id": "b", "path": "b.wav", "samples": 3.5}', "samples: Expected int, got float"),
        ('{"id": "b", "path": "b.wav", "samples": -3}', "samples: expected a number .*got -3"),
        ('{"id": "b", "path": "b.wav", "start": -1}', "start: expected a number .*got -1"),
        ('{"id": "b"}', "missing required field path"),
        ('{"id": "", "path": "b.wav"}', "id: expected a name"),
        ('{"id": "b", "path": "b.wav", "units": [["a", 0.5, 0.2]]}', "units: 'a' runs from 0.5 s to 0.2 s"),
        ('{"id": "b", "path": "b.wav", "units": [["a", 0.5]]}', r"units\[0\]: Expected array of length 3"),
        ('{"id": "a", "path": "b.wav"}', "id 'a' already stands in line 1"),
        ('{"id": "b", "path": ', "not a JSON object"),
        ("[1, 2]", "Expected object, got array"),
    ],
)
def test_a_mistake_is_named_with_file_and_line(tmp_path, line, message):
    path = tmp_path / "bad.jsonl"
    path.write_text('{"id": "a", "path": "a.wav"}\n\n' + line + "\n")
    with pytest.raises(ManifestError, match=rf"^{path}:3: .*{message}.* \(.+\)$"):
        read(path)


def test_bytes_that_are_not_unicode_are_named_with_file_and_line(tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_bytes(b'{"id": "\xff", "path": "a.wav"}\n')
    with pytest.raises(ManifestError, match=rf"^{path}:1: not a JSON object"):
        read(path)


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_an_empty_manifest_is_an_error(tmp_path, content):
    (tmp_path / "empty.jsonl").write_text(content)
    with pytest.raises(ManifestError, match="has no clips"):
        read(tmp_path / "empty.jsonl")


def test_a_missing_manifest_is_an_error(tmp_path):
    with pytest.raises(ManifestError, match=r"none\.jsonl: cannot be read: No such file"):
        read(tmp_path / "none.jsonl")


@pytest.mark.parametrize(
    ("clips", "message"),
    [
        ([], "no clips to write"),
        ([FULL, FULL], "id 'a' comes twice"),
        ([Clip("b", "\udcff.wav")], "not valid Unicode"),
    ],
)
def test_a_failed_write_leaves_the_old_manifest_and_nothing_else(tmp_path, clips, message):
    path = tmp_path / "all.jsonl"
    write(path, [FULL])
    with pytest.raises(ManifestError, match=message):
        write(path, clips)
    assert read(path) == [FULL]
    assert [entry.name for entry in tmp_path.iterdir()] == ["all.jsonl"]


def test_reading_a_manifest_needs_neither_torch_nor_numpy():
    code = "import sys, sonorant.data.manifest; sys.exit(bool({'torch', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
