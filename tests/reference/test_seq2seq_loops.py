"""Guards the joint loss and the decoder: plain loops, one label after the other, give the same."""

import copy
import math

import pytest
import torch
from torch import nn

from sonorant.config import convert
from sonorant.encoders.build import EncoderConfig, build
from sonorant.encoders.log_mel import LogMelConfig
from sonorant.encoders.recurrent import GRUConfig
from sonorant.objectives.seq2seq import Config
from sonorant.types import Batch, Padded, pad

LABELS = 5
WORDS = [[1, 3, 3], [2], [], [4, 1, 2, 4]]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(3)
    config = EncoderConfig(
        frontend=LogMelConfig(mels=6, stack=4), context=GRUConfig(dim=10, layers=1, bidirectional=True)
    )
    decoder = {"dim": 8, "layers": 2, "heads": 2, "feedforward": 12, "dropout": 0.0}
    settings = {"labels": LABELS, "decoder": decoder, "ctc_weight": 0.4, "label_smoothing": 0.2}
    objective = convert(settings, Config).build(build(config)).eval()
    for each in objective.parameters():
        torch.nn.init.normal_(each, std=0.5)
    return objective


def batch(words=WORDS, weights=None):
    generator = torch.Generator().manual_seed(5)
    waves = [torch.randn(4000 + 900 * row, generator=generator) for row in range(len(words))]
    labels = pad([torch.tensor(each, dtype=torch.int64) for each in words])
    return Batch(pad(waves), tuple(range(len(words))), labels, weights=weights)


def ctc(rows, labels):
    """-ln p(z | x) by the forward variables; a label that is no number is any but the blank."""
    states = [0]
    for label in labels:
        states += [label, 0]

    def emitted(row, state):
        return math.exp(row[state]) if isinstance(state, int) else 1 - math.exp(row[0])

    alpha = [emitted(rows[0], state) if s < 2 else 0.0 for s, state in enumerate(states)]
    for row in rows[1:]:
        new = []
        for s, state in enumerate(states):
            sources = alpha[s] + (alpha[s - 1] if s else 0.0)
            if s > 1 and state != 0 and state != states[s - 2]:
                sources += alpha[s - 2]
            new.append(sources * emitted(row, state))
        alpha = new
    return -math.log(sum(alpha[-2:]))


def with_pad(decoder):
    """The decoder with one more label, whose embedding is zero."""
    found = copy.deepcopy(decoder)
    rows = torch.cat([decoder.embedding.weight, torch.zeros_like(decoder.embedding.weight[:1])])
    found.embedding = nn.Embedding.from_pretrained(rows.detach())
    return found


def joint_loss(model, many, smoothing, ctc_weight, weights=None):
    """The loss and the number of targets, utterance by utterance and label by label."""
    total, count = 0.0, 0
    decoder = with_pad(model.decoder)
    rows = model.frames(many.inputs)
    for each, (length, words) in enumerate(zip(rows.lengths.tolist(), WORDS, strict=True)):
        frames = rows.values[each, :length]
        memory = Padded(frames[None, :, LABELS:], torch.tensor([length]))
        known = [1.0] * len(words) if weights is None else weights[each][: len(words)]
        read = [word if weight else LABELS for word, weight in zip(words, known, strict=True)]
        for place, target in enumerate([*words, 0]):
            history = torch.tensor([[0, *read[:place]]])
            probabilities = decoder(history, memory)[0, -1].softmax(0).tolist()
            weight = 1.0 if place == len(words) else known[place]
            if weight == 0:
                continue
            own = -math.log(probabilities[target])
            uniform = -sum(math.log(p) for p in probabilities) / LABELS
            total += (1 - ctc_weight) * weight * ((1 - smoothing) * own + smoothing * uniform)
            count += 1
        heard = [word if weight else "any" for word, weight in zip(words, known, strict=True)]
        total += ctc_weight * ctc(frames[:, :LABELS].tolist(), heard)
    return total, count


def test_the_loss_is_both_branches_label_by_label(model):
    with torch.no_grad():
        loss = model(batch())
        expected, count = joint_loss(model, batch(), 0.2, 0.4)
    assert loss.total.item() == pytest.approx(expected, rel=1e-5)
    assert loss.count.item() == count == sum(len(each) + 1 for each in WORDS)


def test_weights_of_labels_weigh_the_decoders_part_and_hidden_ones_are_wildcards_to_ctc(model):
    weights = torch.tensor([[1.0, 0.0, 0.5, 9], [0.0, 9, 9, 9], [9.0, 9, 9, 9], [0.25, 0, 0, 1]])
    with torch.no_grad():
        loss = model(batch(weights=weights))
        expected, count = joint_loss(model, batch(), 0.2, 0.4, weights.tolist())
        ones = model(batch(weights=torch.ones(4, 4)))
        plain = model(batch())
    assert loss.total.item() == pytest.approx(expected, rel=1e-5)
    assert loss.count.item() == count == int(plain.count) - 4
    assert torch.equal(ones.total, plain.total)


def test_which_label_is_hidden_changes_nothing(model):
    weights = torch.tensor([[1.0, 0, 1, 9], [0.0, 9, 9, 9], [9.0, 9, 9, 9], [1.0, 0, 0, 1]])

    def gradients(words):
        model.zero_grad()
        loss = model(batch(words, weights))
        loss.total.backward()
        return loss.total, [each.grad.clone() for each in model.parameters() if each.grad is not None]

    total, found = gradients(WORDS)
    other, again = gradients([[1, 4, 3], [1], [], [4, 3, 1, 4]])
    assert total == other
    assert all(torch.equal(one, two) for one, two in zip(found, again, strict=True))
    shown, _ = gradients([[2, 3, 3], [2], [], [4, 1, 2, 4]])
    assert total != shown


def test_a_label_is_predicted_from_those_before_it_alone(model):
    memory = model._memory(batch().inputs, None)
    generator = torch.Generator().manual_seed(6)
    labels = torch.randint(0, LABELS, (4, 9), generator=generator)
    with torch.no_grad():
        before = model.decoder(labels, memory)
        for place in range(9):
            other = labels.clone()
            other[:, place] = (other[:, place] + 1) % LABELS
            change = (model.decoder(other, memory) - before).abs().amax((0, 2))
            assert (change[:place] == 0).all()
            assert change[place] > 1e-3


def test_steps_with_kept_keys_and_values_are_the_whole(model):
    memory = model._memory(batch().inputs, None)
    generator = torch.Generator().manual_seed(6)
    labels = torch.randint(0, LABELS, (4, 3, 7), generator=generator)  # three hypotheses each
    with torch.no_grad():
        cache = model.decoder.begin(memory, 3)
        for place in range(7):
            found, cache = model.decoder.step(labels[..., place].flatten(), cache)
            for hypothesis in range(3):
                whole = model.decoder(labels[:, hypothesis, : place + 1], memory)[:, -1].log_softmax(-1)
                torch.testing.assert_close(found.view(4, 3, -1)[:, hypothesis], whole, rtol=1e-4, atol=1e-5)
        rows = torch.tensor([1, 1, 0, 3, 5, 4, 6, 7, 8, 11, 9, 9])
        found, _ = model.decoder.step(torch.ones(12, dtype=torch.long), cache.choose(rows))
        histories = torch.cat([labels.flatten(0, 1)[rows], torch.ones(12, 1, dtype=torch.long)], 1)
        whole = model.decoder(histories.view(4, 3, -1)[:, 1], memory)[:, -1].log_softmax(-1)
        torch.testing.assert_close(found.view(4, 3, -1)[:, 1], whole, rtol=1e-4, atol=1e-5)
