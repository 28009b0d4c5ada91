"""Guards result rows: they survive a file, name no host or path, and render as a table."""

import platform
import subprocess

import pytest
import torch

from sonorant.evaluate import rows
from sonorant.evaluate.rows import Row, RowError, commit, machine, read_rows, table, write_rows

ROW = Row(
    benchmark="demo",
    subject="apc|20",
    task="probe",
    metric="accuracy",
    value=0.51234,
    low=0.5,
    high=0.525,
    n=40,
    seed=0,
    seconds=3.456,
    commit="abc",
    machine="m",
)
SHORT = Row(benchmark="demo", subject="log_mel", task="probe", metric="accuracy", value=1e-5)


def git(folder, *words):
    subprocess.run(["git", "-c", "user.name=x", "-c", "user.email=x", *words], cwd=folder, check=True)


def test_rows_are_appended_and_read_back(tmp_path):
    path = tmp_path / "results" / "demo.jsonl"
    write_rows(path, [ROW])
    write_rows(path, [SHORT, ROW])
    assert read_rows(path) == [ROW, SHORT, ROW]


def test_a_value_that_is_not_finite_is_not_written(tmp_path):
    broken = Row(benchmark="demo", subject="s", task="t", metric="wer", value=float("nan"))
    with pytest.raises(RowError, match="wer is not finite"):
        write_rows(tmp_path / "r.jsonl", [ROW, broken])
    assert not (tmp_path / "r.jsonl").exists()


def test_a_damaged_line_is_named(tmp_path):
    path = tmp_path / "r.jsonl"
    write_rows(path, [ROW])
    path.write_bytes(path.read_bytes() + b'{"benchmark": "x"}\n')
    with pytest.raises(RowError, match=r"r\.jsonl:2: .*subject"):
        read_rows(path)
    with pytest.raises(RowError, match="cannot be read"):
        read_rows(tmp_path / "none.jsonl")


def test_the_table():
    assert table([ROW, SHORT]) == (
        "| subject | task | metric | value | 95 % interval | n | seconds |\n"
        "| --- | --- | --- | ---: | ---: | ---: | ---: |\n"
        "| apc\\|20 | probe | accuracy | 0.5123 | [0.5, 0.525] | 40 | 3.46 |\n"
        "| log_mel | probe | accuracy | 1e-05 |  |  |  |\n"
    )


def test_the_machine_has_a_processor_and_no_name():
    text = machine()
    assert f"torch {torch.__version__}" in text
    assert "cores" in text
    assert "bf16" in text
    assert platform.node() not in text
    assert "/" not in text


def test_the_commit_of_a_repository_of_another_project_is_not_taken(tmp_path, monkeypatch):
    (tmp_path / "theirs.py").write_text("one\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "theirs.py")
    git(tmp_path, "commit", "-q", "-m", "one")
    (tmp_path / "rows.py").write_text("installed\n")
    monkeypatch.setattr(rows, "__file__", str(tmp_path / "rows.py"))
    assert commit() == "unknown"


def test_the_commit_says_whether_files_differ_from_it(tmp_path, monkeypatch):
    file = tmp_path / "rows.py"
    file.write_text("one\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "rows.py")
    git(tmp_path, "commit", "-q", "-m", "one")
    monkeypatch.setattr(rows, "__file__", str(file))
    clean = commit()
    assert len(clean) == 12
    file.write_text("two\n")
    assert commit() == f"{clean}-dirty"


def test_results_do_not_make_a_commit_dirty(tmp_path, monkeypatch):
    """A benchmark that is measured piece by piece adds to a file that may be in the repository."""
    result = tmp_path / "benchmarks" / "results" / "speed.jsonl"
    result.parent.mkdir(parents=True)
    result.write_text("one\n")
    code = tmp_path / "src" / "rows.py"
    code.parent.mkdir()
    code.write_text("one\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "one")
    monkeypatch.setattr(rows, "__file__", str(code))
    result.write_text("two\n")
    assert len(commit()) == 12
    code.write_text("two\n")
    assert commit().endswith("-dirty")
