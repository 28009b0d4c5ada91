"""Engines that are programs: found on PATH, run without a shell, and ended with their children."""

import hashlib
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from sonorant.tts.engine import EngineError, SpeechError

ASKED = 30.0  # seconds for a question such as which voices there are


def program(name: str, package: str) -> str:
    """The program's path. EngineError: it is not there; `package` tells how it gets there."""
    if (path := shutil.which(name)) is None:
        raise EngineError(f"{name}: no such program on PATH ({package}, or choose another --engine)")
    return path


def run(words: Sequence[str], *, text: str = "", seconds: float) -> str:
    """What a program writes, `text` being its standard input.

    It has a session of its own, so that what it has started ends with it. SpeechError: it cannot be started,
    ends with another code than 0, or takes longer than so many seconds.
    """
    try:
        process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf8",
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        raise SpeechError(f"{words[0]}: cannot be started: {error.strerror}") from error
    with process:
        try:
            out, err = process.communicate(text, timeout=seconds)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise SpeechError(f"{Path(words[0]).name}: gave nothing in {seconds:g} s") from None
    if process.returncode:
        last = (err or out).strip().splitlines()[-1:]
        code = process.returncode
        how = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
        raise SpeechError(f"{Path(words[0]).name}: {how}{''.join(f': {line.strip()}' for line in last)}")
    return out


def answer(words: Sequence[str]) -> str:
    """What a program answers to a question about itself. EngineError: it fails."""
    try:
        return run(words, seconds=ASKED)
    except SpeechError as error:
        raise EngineError(
            f"{error} (asked by {' '.join(words)}; repair it or choose another --engine)"
        ) from error


def fingerprint(words: Sequence[str]) -> str:
    """A digest of words; of those that are files, such as a script or a voice, of their content."""
    digest = hashlib.blake2b(digest_size=8)
    for word in words:
        content = word.encode()
        if Path(word).is_file():
            with Path(word).open("rb") as file:
                content = hashlib.file_digest(file, "blake2b").digest()
        digest.update(hashlib.blake2b(content).digest())
    return digest.hexdigest()
