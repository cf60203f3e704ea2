"""A batched body for some lengths, and one step by hand for a single one."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fxsolve.solvers.linearized import Linearized
from fxsolve.solvers.sweep import Sweep

WHOLE, TABLES = (0,), (2,)
"""A shared matrix, then a stacked state, then a number that changes with the step."""


class Step(nn.Module):
    def forward(self, w: Tensor, s: Tensor, t: Any) -> tuple[Tensor, Tensor]:
        assert isinstance(t, int)
        return torch.tanh(w @ s + t), s * t


class Window(nn.Module):
    """The steps of a window, and their number."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = length

    def forward(self, w: Tensor, s: Tensor, t: Tensor) -> tuple[Tensor, ...]:
        assert len(s) == len(t) == self.length
        return torch.tanh(s @ w.T + t[:, None]), s * t[:, None], torch.full((len(s),), self.length)


@pytest.mark.parametrize("length", [1, 2, 4])
def test_a_window_of_every_traced_length_is_its_steps(length: int) -> None:
    w, s, t = torch.randn(3, 3), torch.randn(length, 3), torch.arange(5, 5 + length)
    sweep = Sweep(Step(), {n: Window(n) for n in (2, 4)}, WHOLE, TABLES)
    steps = [Step()(w, s[k], int(t[k])) for k in range(length)]
    for found, wanted in zip(sweep(w, s, t), zip(*steps, strict=True), strict=False):
        torch.testing.assert_close(found, torch.stack(wanted))


def test_a_window_of_another_length_is_refused() -> None:
    sweep = Sweep(Step(), {2: Window(2)}, WHOLE, TABLES)
    with pytest.raises(KeyError, match="n3"):
        sweep(torch.randn(3, 3), torch.randn(3, 3), torch.arange(3))


def test_the_linear_module_is_that_of_the_length_which_whole_reads_do_not_tell() -> None:
    linear = Linearized({n: Window(n) for n in (1, 2, 5)}, WHOLE)
    for length in (1, 2, 5):
        given = torch.randn(3, 3), torch.randn(length, 3), torch.arange(length)
        assert linear(*given)[-1].tolist() == [length] * length
    with pytest.raises(KeyError, match="n4"):
        linear(torch.randn(3, 3), torch.randn(4, 3), torch.arange(4))
