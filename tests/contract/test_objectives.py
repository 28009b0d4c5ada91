"""What every objective promises, whatever its method: parametrised over all that are found."""

import importlib
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sonorant.objective import Objective, names
from sonorant.train import checkpoint
from sonorant.train.checkpoint import State
from sonorant.train.loop import TrainConfig, train
from sonorant.train.optim import adamw
from sonorant.types import Batch, Padded, pad

from .cases import CASES, Case, batch

every_case = pytest.mark.parametrize("case", CASES, ids=str)
# one encoder each is enough where the encoder's own tests have looked
ONE_EACH = list({case.objective: case for case in CASES}.values())
every_objective = pytest.mark.parametrize("case", ONE_EACH, ids=str)


def gradients(objective: Objective, *batches: Batch) -> dict[str, Tensor]:
    """The gradients of the batches' summed losses over the number of all their targets."""
    objective.zero_grad()
    count = 0
    for each in batches:
        loss = objective(each)
        loss.total.backward()
        count += int(loss.count)
    return {name: each.grad / count for name, each in objective.named_parameters() if each.grad is not None}


def parts(padded: Padded | None) -> tuple[Tensor, list[int]]:
    assert padded is not None
    return padded.values, padded.lengths.tolist()


def test_every_objective_fits_some_encoder() -> None:
    assert {case.objective for case in CASES} == set(names())


@every_case
def test_the_gradient_reaches_every_part_of_the_encoder(case: Case) -> None:
    objective = case.build()
    found = gradients(objective, batch())
    for name, _ in objective.encoder.named_parameters():
        assert found[f"encoder.{name}"].abs().max() > 0, name


@every_case
def test_the_loss_depends_on_the_seeds_and_on_nothing_else(case: Case) -> None:
    objective = case.build()
    torch.manual_seed(1)
    first = objective(batch())
    torch.manual_seed(2)
    again = objective(batch())
    assert torch.equal(first.total, again.total)
    assert int(first.count) == int(again.count)


@every_case
def test_padding_changes_nothing(case: Case) -> None:
    objective = case.build()
    plain, padded = objective(batch()), objective(batch(padding=5000))
    assert int(plain.count) == int(padded.count)
    torch.testing.assert_close(padded.total, plain.total, rtol=1e-5, atol=1e-5)
    before, after = gradients(objective, batch()), gradients(objective, batch(padding=5000))
    assert before.keys() == after.keys()
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, rtol=1e-3, atol=1e-5 + 1e-3 * float(value.abs().max()))


@every_objective
def test_how_the_data_are_cut_into_batches_changes_nothing(case: Case) -> None:
    objective = case.build()
    if objective.couples_utterances and hasattr(objective.config, "diversity"):
        objective = case.build("diversity=0")
    if objective.couples_utterances:  # it says that this is not promised; then it has to be so
        whole = gradients(objective, batch())
        cut = gradients(objective, batch(count=2), batch(start=2, count=2))
        apart = sum(float((cut[name] - value).square().sum()) for name, value in whole.items())
        assert apart > 1e-4 * sum(float(value.square().sum()) for value in whole.values())
        return
    whole = gradients(objective, batch())
    cut = gradients(objective, batch(count=1), batch(start=1, count=3))
    for name, value in whole.items():
        torch.testing.assert_close(cut[name], value, rtol=1e-3, atol=1e-6 + 1e-3 * float(value.abs().max()))
    # Adam hides a wrong scale: the norms have to agree too
    norms = [
        torch.linalg.vector_norm(torch.stack([g.norm() for g in each.values()])) for each in (whole, cut)
    ]
    torch.testing.assert_close(norms[0], norms[1], rtol=1e-4, atol=0)


@every_objective
def test_resuming_is_bitwise(case: Case, tmp_path: Path) -> None:
    config = TrainConfig(steps=4, precision="fp32")

    def batches(first: int) -> list[Batch]:
        return [batch(seed=number) for number in range(first, 4)]

    straight = case.build()
    optimizer = adamw(straight, config.optimizer)
    for step in train(straight, optimizer, iter(batches(0)), config, total=4):
        if step.number == 2:
            state = State(step=2, total=4)
            checkpoint.save(tmp_path, state, objective=straight, optimizer=optimizer, config={})
    resumed = case.build(seed=5)
    optimizer = adamw(resumed, config.optimizer)
    folder = checkpoint.step_folder(tmp_path)
    checkpoint.load(folder, objective=resumed, optimizer=optimizer)
    list(train(resumed, optimizer, iter(batches(2)), config, total=4, start=2))
    for name, value in straight.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


@every_objective
def test_one_batch_can_be_learned_by_heart(case: Case) -> None:
    objective = case.build()
    optimizer = torch.optim.Adam(objective.parameters(), lr=1e-2)
    first = None
    for _ in range(100):
        loss = objective(batch())
        optimizer.zero_grad()
        (loss.total / loss.count).backward()
        optimizer.step()
        now = float((loss.total / loss.count).detach())
        first = first or now
        if now < 0.8 * first:
            return
    pytest.fail(f"a loss of {first} came down to {now} only")


@every_objective
def test_what_tells_of_a_collapse_is_among_the_figures(case: Case) -> None:
    objective, one, two = case.build(), batch(), batch(seed=8)
    waves = [wave[:length] for each in (one, two) for wave, length in zip(*parts(each.inputs), strict=True)]
    words = [row[:length] for each in (one, two) for row, length in zip(*parts(each.labels), strict=True)]
    figures = objective(Batch(pad(waves), one.seeds + two.seeds, pad(words), one.ids + two.ids)).metrics
    for sign in objective.signs():
        assert sign.metric in figures
        assert sign.told({name: float(value) for name, value in figures.items()}, 1)


@pytest.mark.parametrize("name", names())
def test_the_page_of_a_method_names_its_source_and_writes_its_equations(name: str) -> None:
    text = importlib.import_module(f"sonorant.objectives.{name}").__doc__ or ""
    assert re.search(r"https://\S+", text)
    assert re.search(r"^    \S+ += .+", text, re.MULTILINE)
