"""Guards the bar: what a command prints meanwhile arrives where its standard output goes."""

from contextlib import redirect_stderr, redirect_stdout
from io import StringIO

from sonorant import console


def test_what_is_printed_beside_a_bar_arrives(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err), console.progress("looking", quiet=False) as bar:
        for done in range(3):
            bar(done, 3)
            print(f"file {done}")
    assert out.getvalue() == "file 0\nfile 1\nfile 2\n"
    assert "looking" in err.getvalue()
    assert "file" not in err.getvalue()
