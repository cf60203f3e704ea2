"""Columns that the backward pass reads of the forward pass's steps are read from one stack, laid out as they were."""

import torch
from torch import Tensor, nn

import fxsolve
from fxsolve.ir.spec import Stacked

T, B, N = 12, 3, 4


class Pendulum(nn.Module):
    """The columns of the state are views of what the step before joined; only the first ones are those of an input."""

    def __init__(self) -> None:
        super().__init__()
        self.push = nn.Linear(2, 1)

    def forward(self, state: Tensor) -> Tensor:
        cost = torch.zeros(())
        for _ in range(T):
            angle, speed = state.split(1, -1)
            force = torch.tanh(self.push(state)) * angle.cos() - 0.1 * speed * angle.sin()
            state = torch.cat([angle + 0.1 * speed, speed + 0.1 * force], -1)
            cost = cost + state[:, 0].square().mean()
        return cost


def test_no_step_of_a_column_is_picked_by_itself() -> None:
    system = fxsolve.partition(fxsolve.capture(Pendulum(), torch.randn(B, 2, requires_grad=True))).system
    reads = [read for repeat in system.repeats for read in repeat.reads if isinstance(read, Stacked)]
    assert len(reads) <= 1  # the weight, turned in every step, is not copied for each
    copies = [
        node
        for equation in system.equations
        for node in equation.body.graph.find_nodes(op="call_function", target=torch.ops.aten.copy.default)
    ]
    assert len(copies) < T


def test_in_order_it_is_the_program_bit_for_bit() -> None:
    model = Pendulum()
    fast = fxsolve.compile(model, backend="eager", schedule="gs")
    for _ in range(3):
        state = torch.randn(B, 2, requires_grad=True)
        ours, own = (torch.autograd.grad(p(state), [state, *model.parameters()]) for p in (fast, model))
        torch.testing.assert_close(ours, own, rtol=0, atol=0)
    assert fast.report().status == "emitted"
