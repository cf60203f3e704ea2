"""Products over what is joined: the part that reads no earlier step leaves the recurrence, where rounding is free."""

import copy

import pytest
import torch
from torch import Tensor, nn

import fxsolve
from fxsolve.ir.evaluate import evaluate
from fxsolve.loops.partition import ROUNDED_PASSES, partition
from fxsolve.plan.auto import example_values
from fxsolve.stages import capture
from tests.cells import assert_close, gradients

T, B, N, H = 24, 2, 3, 4


class Cell(nn.Module):
    """What is joined, in any order, and whether the product has a bias."""

    def __init__(self, order: str = "xh", bias: bool = True) -> None:
        super().__init__()
        self.order = order
        widths = {"x": N, "h": H, "t": 1}
        self.gates = nn.Linear(sum(widths[part] for part in order), 2 * H, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        h, states = x.new_zeros(len(x), H), []
        for t in range(x.shape[1]):
            parts = {"x": x[:, t], "h": h, "t": torch.full((len(x), 1), t / T, dtype=x.dtype)}
            z, new = self.gates(torch.cat([parts[part] for part in self.order], 1)).chunk(2, 1)
            h = h + torch.sigmoid(z) * (torch.tanh(new) - h)
            states.append(h)
        return torch.stack(states, 1)


@pytest.mark.parametrize(("order", "bias"), [("xh", True), ("hx", True), ("xht", False), ("xth", True), ("xhxh", True)])
def test_the_equations_compute_the_same_but_for_rounding(order: str, bias: bool) -> None:
    torch.manual_seed(0)
    model, x = Cell(order, bias).double(), torch.randn(B, T, N, dtype=torch.float64)
    with torch.no_grad():
        program = capture(model, x)
        rounded = partition(program, ROUNDED_PASSES).system
        values = evaluate(rounded, example_values(program))
    (recurrence,) = (one for one in rounded.repeats if one.name == "loop0")
    rows = [
        node.args[-1].meta["spec"].shape[0]
        for node in recurrence.body.graph.find_nodes(op="call_function", target=torch.ops.aten.addmm.default)
    ]
    assert rows == [H] * order.count("h")
    for found, expected in zip(values, program.example.outputs, strict=True):
        torch.testing.assert_close(found, expected)


def test_gradients_are_those_of_the_program() -> None:
    torch.manual_seed(0)
    model, x = Cell().double(), torch.randn(B, T, N, dtype=torch.float64)
    fast = fxsolve.compile(copy.deepcopy(model), backend="eager")
    assert_close(gradients(fast, x), gradients(model, x), rtol=1e-11)


def test_a_named_schedule_keeps_the_bits_and_the_text_of_a_choice_is_one() -> None:
    torch.manual_seed(0)
    model, x = Cell(), torch.randn(B, T, N)
    with torch.no_grad():
        exact = fxsolve.compile(model, schedule="gs", backend="eager")
        assert torch.equal(exact(x), model(x))
        assert "loop0_inputs" not in str(exact.schedule)
        text = "gs(block0, loop0_shared, jacobi(loop0_inputs[0:24]), loop0[0:24], block1)"
        named = fxsolve.compile(model, schedule=text, backend="eager")
        torch.testing.assert_close(named(x), model(x))
        assert str(named.schedule) == text
        kept = fxsolve.compile(model, tolerance=0, backend="eager")
        assert torch.equal(kept(x), model(x))


@pytest.mark.parametrize("piece", [torch.ones(B, 2) > 0, torch.ones(B, 2), torch.zeros(0)], ids=str)
def test_what_only_a_join_converts_or_leaves_out_stays_joined(piece: Tensor) -> None:
    weight = torch.randn(N + piece.numel() // B + H, H, dtype=torch.float64)

    def run(x: Tensor) -> Tensor:
        h = x.new_zeros(B, H)
        for x_t in x:
            h = torch.tanh(torch.cat((x_t, piece, h), 1) @ weight)
        return h

    x = torch.randn(T, B, N, dtype=torch.float64)
    with torch.no_grad():
        program = capture(run, x)
        values = evaluate(partition(program, ROUNDED_PASSES).system, example_values(program))
    torch.testing.assert_close(values[0], program.example.outputs[0])
