"""Guards the linear recurrence and its gradient, which is written by hand."""

import pytest
import torch

from sonorant.nn.scan import linear_scan


@pytest.mark.parametrize("time", [1, 2, 7])
def test_a_state_is_the_share_kept_of_the_last_one_and_what_is_added(time):
    torch.manual_seed(0)
    keep, add = torch.rand(3, time, 4), torch.randn(3, time, 4)
    state, expected = torch.zeros(3, 4), []
    for step in range(time):
        state = keep[:, step] * state + add[:, step]
        expected.append(state)
    torch.testing.assert_close(linear_scan(keep, add), torch.stack(expected, 1))


def test_the_gradient_is_that_of_finite_differences():
    torch.manual_seed(0)
    keep, add = (torch.rand(2, 5, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(linear_scan, (keep, add))
