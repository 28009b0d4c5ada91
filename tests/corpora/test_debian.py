"""Guards fetching from Debian: one clear line without apt-get, and nothing half downloaded is ever used."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from sonorant import corpora
from sonorant.data import debian
from sonorant.data.debian import DebianError

NAME = "game_1.0_all.deb"
CONTROL = "Package: game\nVersion: 1\nArchitecture: all\nMaintainer: A <a@b.c>\nDescription: x\n"


def program(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """A folder that comes first on the PATH."""
    folder = tmp_path / "bin"
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


@pytest.mark.parametrize("name", ["queen", "festvox_ru"])
def test_without_apt_the_message_shows_the_way_on(name, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DebianError) as raised:
        corpora.fetch(name, tmp_path)
    message = str(raised.value)
    assert "needs apt-get" in message
    assert "sonorant manifest FOLDER --out FILE" in message
    assert "\n" not in message


def test_a_package_that_is_there_is_not_fetched_again(tmp_path, monkeypatch):
    (tmp_path / NAME).touch()
    monkeypatch.setenv("PATH", "")
    assert debian.download(["game"], tmp_path) == [tmp_path / NAME]


def test_the_system_lists_come_first_and_own_lists_next(tmp_path, programs):
    log = tmp_path / "log"
    program(
        programs,
        "apt-get",
        f'echo "$*" >> {log}\n'
        'case "$*" in\n'
        "*update) test -d lists/partial && test -f status;;\n"
        f"*-c*download*) echo deb > {NAME};;\n"
        "*) echo 'E: Unable to locate package' >&2; exit 100;;\n"
        "esac",
    )
    out = tmp_path / "out"
    assert debian.download(["game"], out) == [out / NAME]
    assert [path.name for path in out.iterdir()] == [NAME]
    commands = log.read_text().splitlines()
    assert commands[0] == "-q download game"
    assert [command.split()[-1] for command in commands[1:]] == ["update", "game"]


def test_a_download_that_breaks_off_leaves_nothing_behind(tmp_path, programs):
    program(programs, "apt-get", f"echo half > {NAME}; echo 'E: Connection failed' >&2; exit 100")
    out = tmp_path / "out"
    with pytest.raises(DebianError, match="game: apt-get cannot download: E: Connection failed"):
        debian.download(["game"], out)
    assert list(out.iterdir()) == []


def test_a_package_is_unpacked_with_its_licence(tmp_path, programs):
    tree = tmp_path / "tree"
    for path, text in {
        "DEBIAN/control": CONTROL,
        "usr/share/doc/game/copyright": "free",
        "usr/share/game/data": "speech",
    }.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text)
    out = tmp_path / "out"
    out.mkdir()
    if shutil.which("dpkg-deb") is None:
        pytest.skip("dpkg-deb is not here")
    subprocess.run(["dpkg-deb", "-b", tree, out / NAME], check=True, capture_output=True)
    with debian.unpacked(["game"], out) as folder:
        assert (folder / "usr/share/game/data").read_text() == "speech"
    assert (out / "licences/game").read_text() == "free"
    assert sorted(path.name for path in out.iterdir()) == [NAME, "licences"]


def test_a_damaged_package_is_named(tmp_path, programs):
    program(programs, "dpkg-deb", "echo 'dpkg-deb: error: not a Debian archive' >&2; exit 2")
    (tmp_path / NAME).write_text("not a package")
    with (
        pytest.raises(DebianError, match=r"game_1\.0_all\.deb: cannot be unpacked: .*delete the file"),
        debian.unpacked(["game"], tmp_path),
    ):
        pass
