"""What every downstream task with a head promises, whichever tasks there are.

A clip that has all that any task needs is given to each: gradients reach the weights of layers and all of the
head, neighbours and padding change no loss, a batch can be learned by heart, a seed decides what is learned.
"""

from pathlib import Path

import pytest
import torch

from sonorant.data.manifest import Clip
from sonorant.recipes.benching.learning import Reader
from sonorant.task import HeadTask, LayerTask, Times, find, names
from sonorant.types import Padded

DOCS = Path(__file__).parents[2] / "docs" / "bench.md"
HEADS = [(name, head) for name in names() if issubclass(find(name), HeadTask) for head in find(name).heads]
TIMES = Times(0.04, 0.02)
DIM, LAYERS = 24, 3


def clip(number):
    word = ("yes", "no", "maybe")[number % 3]
    seconds = 0.8 + 0.16 * (number % 4)
    speaker = f"s{number % 4}"
    return Clip(
        f"c{number}",
        "x.wav",
        samples=round(seconds * 16000),
        rate=16000,
        speaker=speaker,
        text=f"say {word}",
        units=[("A", 0.0, 0.3), ("BC"[number % 2], 0.2, 0.6)],
        labels={
            "keyword": word,
            "emotion": ("joy", "fear")[number % 2],
            "intent.action": word,
            "intent.place": "here" if number % 2 else "there",
            "iob": f"O B-{word}",
            "mixture": "2",
            "query": word,
        },
    )


CLIPS = [clip(number) for number in range(8)]


def frames(clips, seed=0):
    """Random layers: `layers batch time dim`, and their lengths."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.tensor([round(each.seconds / TIMES.frame_seconds) for each in clips])
    layers = torch.randn(LAYERS, len(clips), int(lengths.max()), DIM, generator=generator)
    mask = Padded(layers[0], lengths).mask
    return layers * mask[None, :, :, None], lengths


def reader(name, head):
    torch.manual_seed(0)
    task = find(name)(CLIPS, TIMES)
    return task, Reader(LAYERS, task.head(head, DIM, 0.1))


def test_every_task_is_a_head_task_or_a_layer_task_and_is_documented():
    text = DOCS.read_text(encoding="utf8")
    for name in names():
        task = find(name)
        assert issubclass(task, HeadTask) != issubclass(task, LayerTask)
        assert f"| `{name}` " in text
        assert task.takes(CLIPS[0])
        assert not task.takes(Clip("bare", "x.wav"))


@pytest.mark.parametrize(("name", "head"), HEADS)
def test_gradients_reach_the_weights_of_layers_and_all_of_the_head(name, head):
    task, model = reader(name, head)
    total, count = task.loss(model(*frames(CLIPS)), CLIPS)
    assert count > 0
    assert total.isfinite()
    total.backward()
    for part, parameter in model.named_parameters():
        assert parameter.grad.abs().sum() > 0, part
    assert model.layers.scores.grad.shape == (LAYERS,)


@pytest.mark.parametrize(("name", "head"), HEADS)
def test_neighbours_and_padding_change_neither_loss_nor_prediction(name, head):
    task, model = reader(name, head)
    model.eval()
    layers, lengths = frames(CLIPS)
    with torch.no_grad():
        together = model(layers, lengths)
        total, count = task.loss(together, CLIPS)
        predictions = task.predictions(together)
        alone, number = 0.0, 0
        for row, each in enumerate(CLIPS):
            output = model(layers[:, row : row + 1, : int(lengths[row])], lengths[row : row + 1])
            loss, targets = task.loss(output, [each])
            alone, number = alone + float(loss), number + targets
            (single,) = task.predictions(output)
            if isinstance(single, torch.Tensor):
                torch.testing.assert_close(single, predictions[row], rtol=1e-3, atol=1e-4)
            else:
                assert single == predictions[row]
    assert number == count
    assert alone == pytest.approx(float(total), rel=1e-4)


@pytest.mark.parametrize(("name", "head"), HEADS)
def test_a_batch_can_be_learned_by_heart(name, head):
    task, model = reader(name, head)
    model.eval()  # nothing is dropped or hidden
    layers, lengths = frames(CLIPS)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        total, count = task.loss(model(layers, lengths), CLIPS)
        (total / count).backward()
        optimizer.step()
        losses.append((total / count).item())
    assert losses[-1] < 0.85 * losses[0]


@pytest.mark.parametrize(("name", "head"), HEADS)
def test_the_first_figure_is_the_metric_and_better_is_what_the_task_says(name, head):
    task, model = reader(name, head)
    layers, lengths = frames(CLIPS)
    model.eval()
    with torch.no_grad():
        measured = task.score(CLIPS, task.predictions(model(layers, lengths)))
    assert measured[0].metric == task.metric
    for each in measured:
        assert each.low <= each.value <= each.high
    truth = perfect(task, name)
    if truth is not None:
        assert task.score(CLIPS, truth)[0].value == (1.0 if task.higher else 0.0)


def perfect(task, name):
    """What the best of all heads would say."""
    if name in ("ks", "er", "ic", "sid"):
        return [dict(task.slots(each)) for each in CLIPS]
    if name in ("pr", "asr", "sf"):
        return [task.said(task.labels(each)) for each in CLIPS]
    if name == "asv":
        return [torch.eye(4)[int(each.speaker[1:])] for each in CLIPS]
    return None
