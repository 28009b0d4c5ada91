"""Guards the watch: one line a collapse, none for single or early batches, the same after resuming."""

import json
import math

import pytest
import torch

from sonorant.health import ENCODER, SOON, few_codes, same_negatives
from sonorant.train import frames
from sonorant.train.log import Log, read_metrics
from sonorant.train.watch import WINDOW, Watch, collapsed
from sonorant.types import Hidden, Padded

CODES = few_codes(640, "raise it")
BAD, GOOD = {"code_use": 0.0, "code_perplexity": 2.0}, {"code_use": 0.5, "code_perplexity": 300.0}


def told(watch: Watch, figures: list[dict], *, every: int = 10, start: int = 0) -> list[tuple[int, str]]:
    """What is said to figures that are logged one after the other, with the steps."""
    steps = range(start + every, start + every * (len(figures) + 1), every)
    rows = zip(steps, figures, strict=True)
    return [(step, line) for step, each in rows for line in watch.see(step, each)]


def test_a_collapse_is_told_once_with_its_beginning_and_what_to_change():
    watch = Watch([CODES], every=10)
    lines = told(watch, [GOOD] * 40 + [BAD] * 60)
    line = "codebook collapse: about 2 of 640 codes in use since step 410; raise it"
    assert lines == [(400 + 10 * (WINDOW // 2 + 1), line)]
    assert watch.present == [line]


def test_a_few_bad_batches_are_no_collapse():
    assert not told(Watch([CODES], every=10), ([GOOD] * 6 + [BAD] * 4) * 20)


def test_what_goes_away_is_told_and_told_again_when_it_returns():
    watch = Watch([CODES], every=10)
    lines = told(watch, [BAD] * 40 + [GOOD] * 30 + [BAD] * 30)
    assert [line.split(" since")[0] for _, line in lines] == [
        "codebook collapse: about 2 of 640 codes in use",
        "codebook collapse: over, code_use is 0.5 again",
        "codebook collapse: about 2 of 640 codes in use",
    ]
    assert lines[1][0] == 400 + 10 * WINDOW
    assert "since step 710;" in lines[2][1]


def test_wavering_at_the_limit_is_told_once():
    assert len(told(Watch([CODES], every=10), ([BAD] * 6 + [GOOD] * 4) * 30)) == 1


def test_nothing_is_judged_too_early():
    assert told(Watch([CODES], every=1), [BAD] * 300, every=1)[0][0] == SOON + 1


def test_two_signs_of_one_collapse_make_one_line():
    signs = [CODES, same_negatives("raise it")]
    both = {**BAD, "same_negatives": 1.0}
    assert len(told(Watch(signs, every=10), [both] * 50)) == 1
    alone = {**GOOD, "same_negatives": 1.0}
    assert "100% of the negatives equal the positive" in told(Watch(signs, every=10), [alone] * 50)[0][1]


def test_missing_and_infinite_figures_and_skipped_steps_say_nothing():
    strange = [{}, {"code_use": None}, {"code_use": math.nan}, {**BAD, "skipped": 1}]
    watch = Watch([CODES], every=10)
    assert not told(watch, strange * 50)
    assert len(told(watch, [{**BAD, "code_perplexity": None}] * 20, start=2000)) == 1


@pytest.mark.parametrize("cut", range(300, 700, 30))
def test_a_resumed_run_says_what_an_uninterrupted_one_says(cut, tmp_path):
    figures = [GOOD] * 35 + [BAD] * 15 + [GOOD] * 15 + [BAD] * 15

    def run(folder, first: int, last: int) -> None:
        with Log(folder, total=800, start=first, quiet=True) as log:
            watch = Watch([CODES], every=10, rows=read_metrics(folder / "metrics.jsonl"))
            for step in range(first + 1, last + 1):
                each = figures[(step - 1) // 10]
                if step % 10 == 0:
                    log.row(step, {"loss": 1.0, "skipped": 0, **each})
                for line in watch.see(step, each):
                    log.tell(step, line)

    run(tmp_path / "whole", 0, 800)
    run(tmp_path / "cut", 0, cut + 35)  # lost beyond the last checkpoint
    run(tmp_path / "cut", cut, 800)
    whole = (tmp_path / "whole" / "metrics.jsonl").read_text()
    assert whole.count("diagnosis") == 3
    assert (tmp_path / "cut" / "metrics.jsonl").read_text() == whole


def test_a_diagnosis_is_a_row_and_a_line_even_of_a_quiet_run(tmp_path, capsys):
    with Log(tmp_path, total=5, quiet=True) as log:
        log.tell(3, "codebook collapse: [all] of it")
    assert capsys.readouterr().err == "step 3: codebook collapse: [all] of it\n"
    row = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert row == {"step": 3, "diagnosis": "codebook collapse: [all] of it"}


def test_the_error_says_how_to_go_on():
    told = str(collapsed("runs/a", ["codebook collapse: none"], 40))
    assert "runs/a: codebook collapse: none" in told
    assert "step 40" in told
    assert "train.stop_on_collapse=false" in told
    assert "\n" not in told


class Given(torch.nn.Module):
    """A context network that gives what it was made with."""

    def __init__(self, values: torch.Tensor, lengths: list[int]) -> None:
        super().__init__()
        self.hidden = Hidden((values,), torch.tensor(lengths))

    def forward(self, _: Padded) -> Hidden:
        return self.hidden


def look(values: torch.Tensor, lengths: list[int], *, on: bool = True) -> dict[str, float]:
    context = Given(values, lengths)
    with frames.watched(context, on=on) as found:
        context(Padded(values, context.hidden.lengths))
    assert not context._forward_hooks
    return {name: float(value) for name, value in found.items()}


def test_the_frames_of_the_last_layer_tell_a_collapse_and_padding_does_not():
    torch.manual_seed(0)
    lengths = [300, 40]
    anywhere, line = torch.randn(2, 300, 16), torch.randn(2, 300, 1) * torch.randn(16)
    same = torch.randn(16).expand(2, 300, 16) + 1e-3 * torch.randn(2, 300, 16)
    std, rank = ENCODER
    healthy = look(anywhere, lengths)
    assert healthy["frame_std"] == pytest.approx(1, abs=0.05)
    assert 14 < healthy["frame_rank"] <= 16
    assert not std.shown_by(healthy["frame_std"])
    assert not rank.shown_by(healthy["frame_rank"])
    assert std.shown_by(look(same, lengths)["frame_std"])
    assert rank.shown_by(look(line, lengths)["frame_rank"])
    noisy = same.clone()
    noisy[1, 40:] = 100 * torch.randn(260, 16)
    assert look(noisy, lengths) == look(same, lengths)


def test_frames_are_not_looked_at_in_vain():
    values = torch.randn(2, 300, 16)
    assert not look(values, [300, 300], on=False)
    assert not look(values, [10, 10])
