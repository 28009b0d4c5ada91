"""Guards the meter: what it counts is what the formulas say, and it is put down to the right module."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sonorant.nn.dropout import Dropout
from sonorant.train.meter import UPDATE, Machine, Meter, rates

MACHINE = Machine(operations=1e9, bytes=1e6, threads=1, type=torch.float32)


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(30, 40), nn.Linear(40, 30)])
        self.norm = nn.LayerNorm(30)
        self.dropout = Dropout(0.0)  # gives back what it is given

    def forward(self, values):
        for layer in self.layers:
            values = self.dropout(layer(values))
        return self.norm(values).square().sum()


def test_products_are_counted_forward_and_backward():
    model, values = Two(), torch.randn(50, 30, requires_grad=True)
    with Meter(MACHINE, model) as meter:
        model(values).backward()
    # each layer: the product, the gradient of its input and that of its weight
    assert meter.modules["layers.*"].operations == 2 * 3 * (2 * 50 * 30 * 40)
    assert meter.kinds["matrix products"].operations == 2 * 3 * (2 * 50 * 30 * 40)
    assert meter.modules["norm"].operations == 0
    assert meter.kinds["normalisation"].calls == 2
    assert set(meter.modules) == {"objective", "layers.*", "norm", UPDATE}
    for group in (meter.modules, meter.kinds):
        assert all(cost.seconds > 0 for cost in group.values())
    modules, kinds = (sum(cost.seconds for cost in group.values()) for group in (meter.modules, meter.kinds))
    assert modules == pytest.approx(kinds)


def test_the_floor_is_the_larger_of_arithmetic_and_memory():
    with Meter(MACHINE, nn.Module()) as meter:
        torch.ones(100, 100) @ torch.ones(100, 100)  # 2 ms of arithmetic, 120 ms of memory
    assert meter.kinds["matrix products"].floor == pytest.approx(3 * 4 * 100**2 / 1e6)
    fast = Machine(operations=1e6, bytes=1e9, threads=1, type=torch.float32)
    with Meter(fast, nn.Module()) as meter:
        torch.ones(100, 100) @ torch.ones(100, 100)
    assert meter.kinds["matrix products"].floor == pytest.approx(2 * 100**3 / 1e6)


def test_views_move_nothing_and_work_in_place_reads_and_writes():
    values = torch.ones(10, 100)
    with Meter(MACHINE, nn.Module()) as meter:
        values.view(100, 10).transpose(0, 1)[2:]
    assert sum(cost.bytes for cost in meter.kinds.values()) == 0
    with Meter(MACHINE, nn.Module()) as meter:
        values.mul_(2)
    assert sum(cost.bytes for cost in meter.kinds.values()) == 2 * values.nbytes
    assert list(meter.modules) == [UPDATE]


def test_attention_counts_its_products():
    queries, keys, values = (torch.randn(2, 4, 30, 16, requires_grad=True) for _ in range(3))
    with Meter(MACHINE, nn.Module()) as meter:
        F.scaled_dot_product_attention(queries, keys, values).sum().backward()
    product = 2 * 2 * 4 * 30 * 30 * 16
    assert meter.kinds["attention"].operations == 2 * product + 5 * product


def test_recurrences_count_their_products():
    network = nn.LSTM(20, 32)
    with Meter(MACHINE, nn.Module()) as meter, torch.no_grad():
        network(torch.randn(7, 3, 20))
    assert meter.kinds["recurrences"].operations == 2 * 7 * 3 * (4 * 32) * (20 + 32)


def test_a_machine_has_rates():
    machine = rates(torch.float32, size=64, seconds=0.01)
    assert machine.operations > 1e6
    assert machine.bytes > 1e6
    assert machine.threads == torch.get_num_threads()
