"""Runs of equal calls that are no recurrence are loops only where a batch of them is worth it."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from fxsolve.capture.bits import same_bits
from fxsolve.capture.program import Program
from fxsolve.ir.calls import dead_views
from fxsolve.ir.evaluate import evaluate
from fxsolve.ir.nested import every_repeat
from fxsolve.ir.reads import has_carry
from fxsolve.loops.find import find_loops
from fxsolve.loops.partition import Partition, partition
from fxsolve.loops.rolling.roll import MIN_CALLS, roll
from fxsolve.loops.rolling.signature import read_calls
from fxsolve.loops.rolling.worth import worth_rolling
from fxsolve.stages import capture
from tests.loops.programs import given_values

N, HEADS, T = 16, 2, 3
SEQUENCE = (2, 5, N)


def recorded(program: Callable[[Tensor], Tensor], *shape: int) -> Program:
    with torch.no_grad():
        return capture(program, torch.randn(*shape))


def parted(program: Program) -> Partition:
    """The partition, which gives what was recorded: bit for bit."""
    parts = partition(program)
    with torch.no_grad():
        (output,) = evaluate(parts.system, given_values(program))
    assert same_bits(output, program.example.outputs[0])
    return parts


def found(program: Program) -> list[tuple[int, int]]:
    """The trips and the period of every run of equal calls that can be rolled."""
    windows = [loop.window for loop in find_loops(program.module.graph).rolling.loops]
    return [(window.trips, window.period) for window in windows]


def rolled(parts: Partition) -> list[tuple[int, bool]]:
    """The length of every repeat, those inside of others too, and whether it is a recurrence."""
    return [(repeat.length, has_carry(repeat)) for repeat in every_repeat(parts.system)]


class Layer(nn.Module):
    """A layer of a transformer, with three projections one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(N, N) for _ in range(4))
        self.before, self.between = nn.LayerNorm(N), nn.LayerNorm(N)
        self.up, self.down = nn.Linear(N, 4 * N), nn.Linear(4 * N, N)

    def forward(self, x: Tensor) -> Tensor:
        y = self.before(x)
        q, k, v = (self._heads(project(y)) for project in (self.query, self.key, self.value))
        attended = torch.softmax(q @ k.transpose(-1, -2), -1) @ v
        x = x + self.out(attended.transpose(1, 2).flatten(2))
        return x + self.down(torch.relu(self.up(self.between(x))))

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], HEADS, -1).transpose(1, 2)


@pytest.mark.parametrize(("layers", "expected"), [(1, []), (2, []), (3, [(3, True)]), (4, [(4, True)])])
def test_the_layers_of_a_transformer_are_a_loop_and_their_projections_are_none(
    layers: int, expected: list[tuple[int, bool]]
) -> None:
    program = recorded(nn.Sequential(*(Layer() for _ in range(layers))), *SEQUENCE)
    assert found(program) == ([(3, 6)] * layers if layers < 3 else [(layers, 55)])
    parts = parted(program)
    assert rolled(parts) == expected
    assert parts.notes == ()


class Branches(nn.Module):
    """Three equal branches of convolutions, added."""

    def __init__(self) -> None:
        super().__init__()
        branches = (nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()) for _ in range(3))
        self.branches = nn.ModuleList(branches).eval()

    def forward(self, x: Tensor) -> Tensor:
        one, two, three = (branch(x) for branch in self.branches)
        return one + two * three


def test_branches_with_parameters_of_their_own_are_no_loop() -> None:
    program = recorded(Branches(), 2, 3, 8, 8)
    assert found(program) == [(3, 4)]
    assert rolled(parted(program)) == []


class Mixed(nn.Module):
    """What the mixing hands to the projections all together, it hands on one by one where these are no loop."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.ParameterList(torch.rand(N) for _ in range(3))
        self.projections = nn.ModuleList(nn.Linear(N, N, bias=False) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        y = x.roll(1, 1)
        mixed = [x * weight + y * (1 - weight) for weight in self.weights]
        k, v, r = (project(one) for project, one in zip(self.projections, mixed, strict=True))
        return torch.sigmoid(r) * k + v


def test_a_run_that_only_feeds_another_one_goes_with_it() -> None:
    program = recorded(Mixed(), *SEQUENCE)
    assert found(program) == [(3, 4), (3, 4)]
    assert rolled(parted(program)) == []


class Gates(nn.Module):
    """Layers whose four projections make up so much of them that they are found first."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.ModuleList(nn.Linear(N, N) for _ in range(4)) for _ in range(T))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.stack([torch.sigmoid(gate(x)) for gate in layer]).sum(0)  # pyright: ignore[reportGeneralTypeIssues]
        return x


def test_a_loop_around_runs_that_are_none_is_one_loop_of_straight_steps() -> None:
    program = recorded(Gates(), *SEQUENCE)
    assert found(program) == [(4, 5)] * T
    parts = parted(program)
    assert rolled(parts) == [(T, True)]
    assert parts.notes == ()


class Heads(nn.Module):
    """Attention head by head, each with weights of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.ModuleList(nn.Linear(N, 4, bias=False) for _ in range(3)) for _ in range(T))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self._attend(x, *head) for head in self.heads], -1)  # pyright: ignore[reportGeneralTypeIssues]

    def _attend(self, x: Tensor, query: nn.Module, key: nn.Module, value: nn.Module) -> Tensor:
        return torch.softmax(query(x) @ key(x).transpose(-1, -2) / 2, -1) @ value(x)


def map_steps(x: Tensor) -> Tensor:
    """Steps that read and give one entry each."""
    return torch.stack([torch.tanh(x[t]) for t in range(T)])


def recur(x: Tensor) -> Tensor:
    for _ in range(T):
        x = torch.tanh(x + 1)
    return x


@pytest.mark.parametrize(
    ("program", "shape", "carries"),
    [(Heads(), SEQUENCE, False), (map_steps, (T, 4), False), (recur, (4,), True)],
    ids=["heads", "map", "recurrence"],
)
def test_three_steps_that_save_calls_cost_nothing_or_read_one_another_are_a_loop(
    program: Callable[[Tensor], Tensor], shape: tuple[int, ...], carries: bool
) -> None:
    assert rolled(parted(recorded(program, *shape))) == [(T, carries)]


class Steps:
    """T independent steps of p calls each; with s inputs of their own, and the first `picked` of them read alone."""

    def __init__(self, trips: int, calls: int, inputs: int, picked: int) -> None:
        self.trips, self.calls, self.inputs, self.picked = trips, calls, inputs, picked

    def __call__(self, *given: Tensor) -> tuple[Tensor, ...]:
        steps = []
        for t in range(self.trips):
            y = given[t]
            for k in range(1, self.inputs):
                y = torch.add(y, given[k * self.trips + t])
            for _ in range(self.calls - (self.inputs - 1)):
                y = torch.sin(y)
            steps.append(y)
        return torch.stack(steps), *(torch.exp(step) for step in steps[: self.picked])


@pytest.mark.parametrize("trips", [3, 4, 6])
@pytest.mark.parametrize("calls", [2, 3, 5])
@pytest.mark.parametrize("inputs", [1, 2])
def test_independent_steps_are_a_loop_where_a_batch_of_them_saves_the_calls(
    trips: int, calls: int, inputs: int
) -> None:
    for picked in range(trips):
        with torch.no_grad():
            graph = capture(Steps(trips, calls, inputs, picked), *torch.randn(inputs * trips, 4)).module.graph
        read = read_calls(graph, dead_views(graph))
        (loop,) = roll(read).loops
        assert (loop.window.trips, loop.window.period) == (trips, calls)
        saves = (trips - 1) * calls - inputs - picked >= MIN_CALLS
        assert worth_rolling(graph, read, (loop,)) == ((loop,) if saves else ())
