"""Guards the manifest: what is written comes back, and a mistake is named with its file and line."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sonorant.data.manifest import Clip, ManifestError, read, seconds, where, write

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
    confidence=[0.5, 1, 0, 0.25, 0.1, 0.9, 1, 0.3, 0.7],
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
        ('{"id": "b", "path": "b.tar", "size": -1}', "size: expected a number .*got -1"),
        ('{"id": "b", "path": "b.tar", "offset": 3}', "offset: expected `?size`? beside it"),
        ('{"id": "b", "path": "b.wav"} {"id": "c", "path": "c.wav"}', "not a JSON object: .*trailing"),
        ('{"id": "b",\n"path": "b.wav"}', "not a JSON object"),
        ("\f", "not a JSON object"),
        ('{"id": "b"}', "missing required field path"),
        ('{"id": "", "path": "b.wav"}', "id: expected a name"),
        ('{"id": "b", "path": "b.wav", "units": [["a", 0.5, 0.2]]}', "units: 'a' runs from 0.5 s to 0.2 s"),
        (
            '{"id": "b", "path": "b.wav", "text": "ab", "confidence": [1]}',
            "confidence: expected a number for each",
        ),
        (
            '{"id": "b", "path": "b.wav", "text": "a", "confidence": [2]}',
            r"confidence\[0\]: Expected float",
        ),
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


def test_blank_lines_and_a_last_one_without_its_end_are_read(tmp_path):
    path = tmp_path / "all.jsonl"
    path.write_bytes(b'\n{"id": "a",\r"path": "/a"}\r\n \t\n\n{"id": "\xc3\xa9", "path": "/b"}')
    assert list(read(path)) == [Clip("a", "/a"), Clip("\u00e9", "/b")]


def test_a_file_that_is_decoded_in_parts_gives_the_same_clips(tmp_path, monkeypatch):
    clips = [Clip(f"c{number}", f"/{number}.wav", samples=number + 1, rate=10) for number in range(50)]
    write(tmp_path / "all.jsonl", clips)
    monkeypatch.setattr("sonorant.data.manifest._CHUNK", 100)
    assert read(tmp_path / "all.jsonl") == clips
    with (tmp_path / "all.jsonl").open("a") as file:
        file.write('\n{"id": "c7", "path": "x"}\n')
    with pytest.raises(ManifestError, match=r"all\.jsonl:52: id 'c7' already stands in line 8"):
        read(tmp_path / "all.jsonl")


def test_columns_and_selections(tmp_path):
    clips = [
        FULL,
        Clip("b", "/b", samples=8000, rate=8000),
        Clip("c", "/c", text=""),
        Clip("d", "/d.tar", size=9),
    ]
    write(tmp_path / "all.jsonl", clips)
    found = read(tmp_path / "all.jsonl")
    assert found.transcribed.tolist() == [True, False, False, False]
    assert found.seconds[:2].tolist() == [2.0, 1.0]
    assert np.isnan(found.seconds[2:]).all()
    assert (found.packed, found[:3].packed) == (True, False)
    assert found.where(np.array([True, False, True, False])) == clips[::2]
    assert found[1:] == clips[1:]
    assert found[-1] == clips[-1]
    assert found != clips[1:]
    with pytest.raises(IndexError):
        found[4]
    assert where(clips, np.array([True, False, True, False])) == clips[::2]
    assert seconds(found[:2]).tolist() == seconds(clips[:2]).tolist() == [2.0, 1.0]
    with pytest.raises(ValueError, match="c: length not known"):
        seconds(found)


def test_a_new_manifest_in_its_place_changes_nothing_and_an_edited_one_is_told(tmp_path):
    path = tmp_path / "all.jsonl"
    write(path, [FULL, Clip("b", "/b")])
    found = read(path)
    write(path, [Clip("other", "/other")])
    assert found == [FULL, Clip("b", "/b")]
    found = read(path)
    path.write_text('{"id": "edited", "path": "/b"}\n')
    with pytest.raises(ManifestError, match=r"all\.jsonl: was changed while it was in use"):
        found[0]


def test_a_folder_is_not_a_manifest_and_the_message_tells_what_to_do(tmp_path):
    with pytest.raises(ManifestError, match=f"{tmp_path}: is a folder .*sonorant manifest {tmp_path}"):
        read(tmp_path)


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


def test_reading_a_manifest_needs_no_torch():
    code = "import sys, sonorant.data.manifest; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
