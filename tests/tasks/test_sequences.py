"""Guards phones and characters: what counts as a label, CTC's loss, decoding, and error rates by hand."""

import pytest
import torch
from torch.nn import functional as F

from sonorant.config import ConfigError
from sonorant.data.manifest import Clip
from sonorant.evaluate.wer import character_errors, word_error_rate, word_errors
from sonorant.nn.heads import RecurrentHead
from sonorant.task import Times, find
from sonorant.tasks.sf import stretches
from sonorant.types import Padded

TIMES = Times(0.02, 0.01)
UNITS = [("SIL", 0.0, 0.1), ("B", 0.2, 0.3), ("A", 0.1, 0.2), ("B", 0.3, 0.4), ("sp", 0.4, 0.5)]


def clip(name="a", **more):
    return Clip(name, "x.wav", samples=8000, rate=16000, **more)


def edit_distance(a, b):
    """Levenshtein's, in a loop over the whole table."""
    table = [[max(i, j) if not i or not j else 0 for j in range(len(b) + 1)] for i in range(len(a) + 1)]
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            change = table[i - 1][j - 1] + (a[i - 1] != b[j - 1])
            table[i][j] = min(change, table[i - 1][j] + 1, table[i][j - 1] + 1)
    return table[-1][-1]


def output(*paths, labels):
    """Logits whose likeliest labels are these."""
    lengths = torch.tensor([len(path) for path in paths])
    values = torch.zeros(len(paths), int(lengths.max()), labels)
    for row, path in enumerate(paths):
        for time, label in enumerate(path):
            values[row, time, label] = 5.0
    return Padded(values, lengths)


def test_phones_are_in_their_order_and_pauses_are_none():
    pr = find("pr")
    assert pr.takes(clip(units=UNITS))
    assert not pr.takes(clip(units=[("SIL", 0.0, 0.5)]))
    assert not pr.takes(clip(text="b"))
    task = pr([clip(units=UNITS)], TIMES)
    assert task.names == ["A", "B"]
    assert task.labels(clip(units=UNITS)) == [1, 2, 2]
    assert task.labels(clip(units=[("A", 0.2, 0.3), ("B", 0.0, 0.1)])) == [2, 1]
    assert task.labels(clip(units=[("X", 0.0, 0.1), ("A", 0.2, 0.3)])) == [1]  # X is new, and an error below


def test_the_phone_error_rate_is_that_of_a_slow_reference():
    pr = find("pr")
    train = [clip(units=[(phone, 0.1 * n, 0.1 * n + 0.1) for n, phone in enumerate("ABCDE")])]
    task = pr(train, TIMES)
    generator = torch.Generator().manual_seed(0)
    clips, predictions, errors, total = [], [], 0, 0
    for number in range(20):
        truth = torch.randint(6, (3 + number % 4,), generator=generator).tolist()
        said = torch.randint(1, 6, (number % 5,), generator=generator).tolist()
        units = [("ABCDEX"[phone], 0.1 * place, 0.1 * place + 0.1) for place, phone in enumerate(truth)]
        clips.append(clip(f"c{number}", units=units))
        predictions.append(task.said(said))
        errors += edit_distance(["ABCDEX"[phone] for phone in truth], ["ABCDE"[phone - 1] for phone in said])
        total += len(truth)
    (found,) = task.score(clips, predictions)
    assert found.value == pytest.approx(errors / total)
    assert found.low < found.value < found.high


def test_greedy_decoding_drops_repeats_then_blanks():
    task = find("pr")([clip(units=UNITS)], TIMES)
    found = task.predictions(output([0, 1, 1, 0, 2, 0, 2, 2], [2, 2], labels=3))
    assert found == ["A B B", "B"]
    assert task.score([clip("a", units=UNITS), clip("b", units=UNITS[1:2])], found)[0].value == 0


def test_the_loss_is_ctc_per_label_and_leaves_out_what_does_not_fit():
    task = find("pr")([clip(units=UNITS)], TIMES)
    clips = [clip("a", units=UNITS), clip("b", units=UNITS)]
    values = torch.randn(2, 8, 3)
    logits = Padded(values, torch.tensor([8, 3]))  # A B B needs four frames: the second does not fit
    total, count = task.loss(logits, clips)
    expected = F.ctc_loss(
        values[:1].log_softmax(-1).transpose(0, 1),
        torch.tensor([[1, 2, 2]]),
        torch.tensor([8]),
        torch.tensor([3]),
        reduction="sum",
    )
    torch.testing.assert_close(total, expected)
    assert count == 3


def test_words_and_characters_of_texts():
    asr = find("asr")
    assert not asr.takes(clip(text=" ... "))
    train = [clip(text="Ab, cab!")]
    task = asr(train, TIMES)
    assert len(task.vocabulary) == 2 + 3
    said = [task.said(task.vocabulary.encode("ab cac")), task.said([])]
    wer, cer = task.score([clip("a", text="Ab cab"), clip("b", text="zb")], said)
    assert wer.value == pytest.approx((1 + 1) / 3)
    assert cer.value == pytest.approx((1 + 2) / 8)
    assert (wer.metric, cer.metric) == ("wer", "cer")
    assert task.labels(clip(text="zab")) == task.vocabulary.encode("ab")


def test_slots_are_opened_and_closed_among_the_characters():
    sf = find("sf")
    order = clip(text="play The Beatles now", labels={"iob": "O B-artist I-artist O"})
    assert stretches(order) == [("", "play"), ("artist", "the beatles"), ("", "now")]
    task = sf([order], TIMES)
    labels = task.labels(order)
    letters = task.vocabulary.encode
    opened, closed = task.opens["artist"], task.closes["artist"]
    assert labels == [*letters("play"), 1, opened, *letters("the beatles"), closed, 1, *letters("now")]
    assert task.said(labels) == [("artist", "the beatles")]
    assert task.said([opened, *letters("the"), opened, *letters("be")]) == [
        ("artist", "the"),
        ("artist", "be"),
    ]
    f1, cer = task.score([order], [[("artist", "the beatle")]])
    assert (f1.value, cer.value) == (1, pytest.approx(1 / 11))
    assert task.score([order], [[]])[1].value == 1
    two = clip(text="a b", labels={"iob": "B-x B-x"})
    assert stretches(two) == [("x", "a"), ("x", "b")]
    for tags in ("O", "O O O O O", "O B- O O", "O Q-x O O", "O O-x O O"):
        with pytest.raises(ConfigError, match="a: iob: "):
            sf.takes(clip(text="play The Beatles now", labels={"iob": tags}))


def test_errors_of_each_pair_sum_to_the_rate():
    pairs = [("a b c", "a x"), ("d", ""), ("e f", "e g f")]
    errors, totals = word_errors(pairs)
    assert errors.tolist() == [2, 1, 1]
    assert totals.tolist() == [3, 1, 2]
    assert word_error_rate(pairs).rate == pytest.approx(float(errors.sum() / totals.sum()))
    assert character_errors([("ab", "b")])[0].tolist() == [1]


def test_the_recurrent_head_hides_frames_in_training_alone_and_ignores_padding():
    torch.manual_seed(0)
    head = RecurrentHead(20, 4, hidden=8)
    frames = Padded(torch.randn(2, 30, 20), torch.tensor([30, 12]))
    head.eval()
    whole = head(frames)
    alone = head(Padded(frames.values[1:, :12], frames.lengths[1:]))
    torch.testing.assert_close(whole.values[1:, :12], alone.values)
    head.train()
    head.dropout.p = 0.0
    assert not torch.allclose(head(frames).values, whole.values)
