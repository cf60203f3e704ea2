"""A program recorded at two lengths tells its system at a third."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from fxsolve.capture.program import Program, attribute_of
from fxsolve.errors import PartitionError
from fxsolve.ir.evaluate import evaluate
from fxsolve.ir.spec import System
from fxsolve.loops.generalize.blend import Blend, Series
from fxsolve.loops.generalize.counting import Lengths
from fxsolve.stages import capture, partition

N = 4
torch.manual_seed(0)
WEIGHT = torch.randn(N, N) / 2
CELL = nn.GRUCell(N, N)


def rnn(x: Tensor) -> Tensor:
    h, states = torch.zeros_like(x[0]), []
    for t in range(len(x)):
        h = torch.tanh(x[t] + h @ WEIGHT)
        states.append(h)
    return torch.stack(states, 1)


def backwards(x: Tensor) -> tuple[Tensor, Tensor]:
    h, states = torch.zeros_like(x[0]), []
    for t in reversed(range(len(x))):
        h = CELL(x[t], h)
        states.append(h)
    return torch.stack(states[::-1]), h


def filled(x: Tensor) -> Tensor:
    out = torch.empty_like(x)
    h = x[0]
    for t in range(len(x)):
        h = torch.tanh(x[t] + h @ WEIGHT)
        out[t] = h
    return out


def unfolded(x: Tensor) -> Tensor:
    h = x[0]
    for t in range(len(x)):
        for _ in range(5):
            h = h + 0.1 * torch.tanh(h @ WEIGHT + x[t])
    return h


def noisy(x: Tensor) -> Tensor:
    h = x[0]
    for t in range(len(x)):
        h = torch.tanh(h @ WEIGHT + x[t] + torch.randn(x.shape[1], N))
    return h


def gradient(x: Tensor) -> Tensor:
    weight = WEIGHT.clone().requires_grad_()
    with torch.enable_grad():
        h = torch.zeros_like(x[0])
        for t in range(len(x)):
            h = torch.tanh(x[t] + h @ weight)
        return torch.autograd.grad(h.square().sum(), weight)[0]


def captured(program: Callable[..., object], length: int) -> Program:
    with torch.no_grad():
        return capture(program, torch.randn(length, 3, N))


def values_of(program: Program) -> dict[str, Tensor]:
    arriving = iter((*program.example.inputs, *program.example.noise))
    nodes = program.module.graph.nodes
    values = {node.name: next(arriving) for node in nodes if node.op == "placeholder"}
    leaves = [node for node in nodes if node.op == "get_attr"]
    return values | {node.name: attribute_of(program, str(node.target)) for node in leaves}


def blended(one: System, two: System, lengths: Lengths) -> System:
    return Blend(lengths, _noise_of(one), _noise_of(two)).system(one, two)


def _noise_of(system: System) -> Series:
    return Series({name: ("noise", int(name[6:])) for name in system.inputs if name.startswith("noise_")})


@pytest.mark.parametrize("program", [rnn, backwards, filled, unfolded, noisy, gradient])
@pytest.mark.parametrize("wanted", [9, 31])
def test_the_system_at_a_third_length_equals_the_program_there(program: Callable[..., object], wanted: int) -> None:
    one, two = (partition(captured(program, length)).system for length in (7, 12))
    there = captured(program, wanted)
    system = blended(one, two, Lengths(7, 12, wanted))
    assert [repeat.length for repeat in system.repeats] == [r.length for r in partition(there).system.repeats]
    with torch.no_grad():
        outputs = evaluate(system, values_of(there))
    for output, expected in zip(outputs, there.example.outputs, strict=True):
        assert torch.equal(output, expected)


def test_programs_of_another_form_at_the_other_length_are_refused() -> None:
    def program(x: Tensor) -> Tensor:
        return rnn(x) if len(x) < 10 else rnn(torch.tanh(x))

    one, two = (partition(captured(program, length)).system for length in (7, 12))
    with pytest.raises(PartitionError, match="at the other"):
        blended(one, two, Lengths(7, 12, 20))


@given(st.integers(-5, 5), st.integers(-3, 3), st.integers(1, 4), st.integers(1, 3), st.integers(1, 4))
def test_an_index_that_counts_at_two_lengths_counts_at_a_third(
    start: int, distance: int, held: int, rounds: int, width: int
) -> None:
    def index(length: int) -> tuple[int, ...]:
        return tuple(start + k * distance for k in range(length) for _ in range(held)) * rounds

    assert Lengths(6, 9, 6 + width).count(index(6), index(9)) == index(6 + width)


def test_a_number_that_is_not_affine_in_the_length_is_refused() -> None:
    with pytest.raises(PartitionError, match="a number is 4 at length 2 and 9 at length 5"):
        Lengths(2, 5, 6).between(4, 9)
