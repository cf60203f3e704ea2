"""Backward passes of writes into rows of a buffer are recurrences through rows, as the forward passes are."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import fxsolve
from fxsolve.ir.spec import Lag
from fxsolve.report.report import Report

T, B, N, CALLS = 9, 2, 3, 3


class Rowwise(nn.Module):
    """y[t] = tanh(W y[t - 1] + x[t]), in rows of one tensor that was there before; its gradient is wanted too."""

    def __init__(self) -> None:
        super().__init__()
        self.mix, self.first = nn.Linear(N, N), nn.Parameter(torch.randn(T + 1, B, N))

    def step(self, y: Tensor, x: Tensor) -> Tensor:
        return torch.tanh(self.mix(y) + x)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first * 2
        for t in range(T):
            y[t + 1] = self.step(y[t].clone(), x[t])
        return y


class InColumns(Rowwise):
    def forward(self, x: Tensor) -> Tensor:
        y = self.first.transpose(0, 1) * 2
        for t in range(T):
            y[:, t + 1] = self.step(y[:, t].clone(), x[t])
        return y


class Added(Rowwise):
    def forward(self, x: Tensor) -> Tensor:
        y = self.first * 2
        for t in range(T):
            y[t + 1] += self.step(y[t].clone(), x[t])
        return y


class AddedInAView(Rowwise):
    """The rows are those of what a layer makes of all steps, which is a view of its own rows."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.mix(self.first)
        for t in range(T):
            y[t + 1] += self.step(y[t].clone(), x[t])
        return y


class PartsOfRows(Rowwise):
    """As finite differences write the places that are no boundary."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.first * 2
        for t in range(T):
            row = y[t].clone()
            y[t + 1, :, 1:] = row[:, 1:] + x[t, :, 1:] * (row[:, 1:] - row[:, :-1])
        return y


class TwoBack(Rowwise):
    def forward(self, x: Tensor) -> Tensor:
        y = self.first * 2
        for t in range(2, T):
            y[t] = self.step(y[t - 1].clone(), x[t]) - 0.5 * y[t - 2]
        return y


class ReadTwice(Rowwise):
    """Both gradients are added to one row."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.first * 2
        for t in range(T):
            y[t + 1] = self.step(y[t].clone(), x[t]) + torch.sin(y[t].clone())
        return y


class Downwards(Rowwise):
    def forward(self, x: Tensor) -> Tensor:
        y = self.first * 2
        for t in reversed(range(T)):
            y[t] = self.step(y[t + 1].clone(), x[t])
        return y


class Copied(Rowwise):
    """A row is put into the rows of another tensor as it is."""

    def forward(self, x: Tensor) -> Tensor:
        y, z = self.first * 2, self.first * 3
        for t in range(T):
            y[t + 1] = self.step(y[t].clone(), x[t])
            z[t + 1] = y[t]
        return y + z


class Fresh(Rowwise):
    """Nobody asks for the gradient of the buffer."""

    def forward(self, x: Tensor) -> Tensor:
        y = x.new_zeros(T + 1, B, N)
        for t in range(T):
            y[t + 1] = self.step(y[t].clone(), x[t])
        return y


class FilledOnly(Rowwise):
    """The state is carried beside the rows."""

    def forward(self, x: Tensor) -> Tensor:
        y, h = self.first * 2, x.new_zeros(B, N)
        for t in range(T):
            h = self.step(h, x[t])
            y[t] = h
        return y


class Overwritten(Rowwise):
    """Rows are written again by later steps."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.first * 2
        for t in range(T):
            y[t % 4 + 1] = self.step(y[t % 4].clone(), x[t])
        return y


class WholeToo(Rowwise):
    """Steps look at all rows."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.first * 0.1
        for t in range(T):
            y[t + 1] = self.step(y[t].clone(), x[t]) + y.mean(0)
        return y


ROWS = [Rowwise, InColumns, Added, AddedInAView, PartsOfRows, TwoBack, ReadTwice, Downwards, Copied, Fresh, FilledOnly]


def trained(kind: Callable[[], nn.Module], schedule: str) -> Report:
    """Compare values and gradients of a few calls; the report of what ran."""
    model = kind()
    fast = fxsolve.compile(model, backend="eager", schedule=schedule)
    for _ in range(CALLS):
        x = torch.randn(T, B, N, requires_grad=True)
        results = fast(x), model(x)
        torch.testing.assert_close(*results)
        wanted = [x, *model.parameters()]
        ours, own = (torch.autograd.grad(y.cos().sum(), wanted, allow_unused=True) for y in results)
        torch.testing.assert_close([one for one in ours if one is not None], [one for one in own if one is not None])
        assert [one is None for one in ours] == [one is None for one in own]
    report = fast.report()
    assert report.status == "emitted", report.reason
    return report


@pytest.mark.parametrize("kind", ROWS)
def test_their_backward_passes_are_solved_for_all_steps_at_once(kind: Callable[[], nn.Module], doubles: None) -> None:
    report = trained(kind, "jacobi")
    assert {loop.backward for loop in report.loops} == {False, True}
    assert {loop.chosen.schedule.partition("(")[0] for loop in report.loops} <= {"jacobi", "sum"}


@pytest.mark.parametrize("kind", [*ROWS, Overwritten, WholeToo])
def test_in_order_they_are_the_program(kind: Callable[[], nn.Module], doubles: None) -> None:
    trained(kind, "gs")


@pytest.mark.parametrize("kind", [Added, AddedInAView])
def test_rows_that_are_added_to_are_handed_on_one_by_one(kind: Callable[[], nn.Module]) -> None:
    with torch.no_grad():
        (loop,) = fxsolve.partition(fxsolve.capture(kind(), torch.randn(T, B, N))).system.repeats[-1:]
    placeholders = loop.body.graph.find_nodes(op="placeholder")
    shapes = [
        node.meta["spec"].shape for node, read in zip(placeholders, loop.reads, strict=True) if isinstance(read, Lag)
    ]
    assert shapes == [(B, N)]


def test_a_gradient_that_is_handed_on_between_two_writes_of_a_step_stays_a_buffer(doubles: None) -> None:
    def program(y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        y, z = y * 2, z * 3
        for t in range(T):
            z[t + 1] = 0
            y[t + 1] = 0.3 * z[-t - 2].clone()
        return y, z

    fast = fxsolve.compile(program, backend="eager", schedule="jacobi")
    for _ in range(CALLS):
        given = [torch.randn(2 * T + 2, N, requires_grad=True) for _ in range(2)]
        ours, own = (torch.autograd.grad([one.cos().sum() for one in p(*given)], given) for p in (fast, program))
        torch.testing.assert_close(ours, own)
    assert fast.report().status == "emitted", fast.report().reason
