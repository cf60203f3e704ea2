"""Random sequential programs: their systems, and their emitted modules under every schedule, are the program."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import fxsolve
from fxsolve.capture.bits import same_bits
from fxsolve.ir.evaluate import evaluate
from fxsolve.ir.verify import verify_system
from fxsolve.stages import capture, partition
from tests.loops.programs import given_values

B, N = 2, 3

Step = Callable[[Tensor, Tensor, Tensor, int], Tensor]

# A new state from two earlier ones, an input of the step, and the step's number.
STEPS: dict[str, Step] = {
    "add": lambda a, b, x, t: torch.tanh(a + x) * 0.5 + 0.25 * b,
    "gate": lambda a, b, x, t: torch.sigmoid(x) * a + (1 - torch.sigmoid(x)) * torch.sin(b),
    "product": lambda a, b, x, t: torch.tanh(a @ WEIGHT + b @ WEIGHT.t() + x),
    "number": lambda a, b, x, t: torch.sin(a * t) + x * (0.5 * t),
    "compare": lambda a, b, x, t: torch.where(place < t, torch.cos(a), 0.5 * b + x),
    "several": lambda a, b, x, t: torch.tanh((a + x).max(1, keepdim=True)[0] - b),
    "chunk": lambda a, b, x, t: torch.cat((torch.sin(a) + x).chunk(3, 1)[::-1], 1) * 0.9,
    "in place": lambda a, b, x, t: (a * 0.5).add_(x).tanh_(),
    "swap": lambda a, b, x, t: b,
    "hold": lambda a, b, x, t: torch.where(x > 0, torch.tanh(a), a),
    "power": lambda a, b, x, t: torch.tanh(a) ** (t + 1) + b * 0.1 + x,
    "norm": lambda a, b, x, t: torch.nn.functional.layer_norm(a + x, (N,)) * 0.7 + 0.1 * b,
    "index": lambda a, b, x, t: torch.sin(a)[:, [2, 0, 1]] + 0.3 * x,
    "entry": lambda a, b, x, t: torch.tanh(a + TABLE[t % 4] * b) + 0.1 * x,
    "cumulative": lambda a, b, x, t: torch.tanh(a.cumsum(1)) + 0.1 * b,
}

WEIGHT = torch.tensor([[0.3, -0.2, 0.5], [0.1, 0.4, -0.6], [-0.3, 0.2, 0.1]])
place = torch.arange(N)
TABLE = torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [0.7, 0.8, 0.9], [0.2, 0.4, 0.6]])

READS: dict[str, Callable[[Tensor, int], list[Tensor]]] = {
    "index": lambda x, T: [x[t] for t in range(T)],
    "unbind": lambda x, T: list(x.unbind(0)),
    "backwards": lambda x, T: [x[T - 1 - t] for t in range(T)],
    "slices": lambda x, T: [x[t : t + 1].squeeze(0) for t in range(T)],
    "columns": lambda x, T: list(x.transpose(0, 1).contiguous().unbind(1)),
    "split": lambda x, T: [part[0] for part in x.split(1)],
    "same": lambda x, T: [x[0]] * T,
    "permuted": lambda x, T: [x[(3 * t + 1) % T] for t in range(T)],
}

RESULTS: dict[str, Callable[[list[Tensor]], Any]] = {
    "stack": lambda states: torch.stack(states),
    "stack last": lambda states: torch.stack(states, -1),
    "cat": lambda states: torch.cat(states, 1),
    "last": lambda states: states[-1],
    "strided": lambda states: torch.stack(states[1::2], 1),
    "backwards": lambda states: torch.stack(states[::-1]),
    "list": lambda states: list(states),
    "picked": lambda states: states[1] - states[-2],
    "sum": lambda states: sum(states),
    "padded": lambda states: torch.stack([torch.zeros(B, N), *states, states[0]]),
    "all but one": lambda states: torch.cat(states[:-1]),
    "buffer": lambda states: fill(states),
}


def fill(states: list[Tensor]) -> Tensor:
    buffer = torch.empty(B, len(states), N)
    for t, state in enumerate(states):
        buffer[:, t] = state
    return buffer


@dataclass(frozen=True)
class Plan:
    """A program written in words."""

    length: int
    states: int
    steps: tuple[tuple[str, int], ...]
    read: str
    results: tuple[tuple[str, int], ...]
    peeled: bool
    twice: bool

    def __call__(self, x: Tensor) -> list[Any]:
        if self.twice:
            x = torch.stack(self.run(x)[0])
        histories = self.run(x)
        return [RESULTS[name](histories[state % self.states]) for name, state in self.results]

    def run(self, x: Tensor) -> list[list[Tensor]]:
        state = [x[0] * k if self.peeled else torch.zeros(B, N) + k for k in range(self.states)]
        histories: list[list[Tensor]] = [[] for _ in state]
        for t, arriving in enumerate(READS[self.read](x, self.length)):
            for number, (name, other) in enumerate(self.steps):
                target = number % self.states
                state[target] = STEPS[name](state[target], state[other % self.states], arriving, t)
            for history, value in zip(histories, state, strict=True):
                history.append(value)
        return histories


plans = st.builds(
    Plan,
    length=st.integers(4, 9),
    states=st.integers(1, 3),
    steps=st.lists(st.tuples(st.sampled_from(sorted(STEPS)), st.integers(0, 2)), min_size=1, max_size=4).map(tuple),
    read=st.sampled_from(sorted(READS)),
    results=st.lists(st.tuples(st.sampled_from(sorted(RESULTS)), st.integers(0, 2)), min_size=1, max_size=3).map(tuple),
    peeled=st.booleans(),
    twice=st.booleans(),
)


def flat(result: list[Any]) -> list[Tensor]:
    return [value for entry in result for value in (entry if isinstance(entry, list) else [entry])]


@settings(max_examples=12, deadline=None)
@given(plans)
def test_the_system_is_the_program_bit_for_bit(plan: Plan) -> None:
    x = torch.randn(plan.length, B, N)
    program = capture(plan, x)
    system = partition(program).system
    verify_system(system)
    with torch.no_grad():
        outputs = evaluate(system, given_values(program))
    assert all(map(same_bits, outputs, program.example.outputs))


def test_the_emitted_module_gives_the_programs_values_for_other_inputs() -> None:
    seen: dict[tuple[Plan, str], str] = {}

    @settings(max_examples=16, deadline=None, derandomize=True, database=None)
    @given(plans, st.sampled_from(["gs", "jacobi"]))
    def every_plan_is_reproduced(plan: Plan, schedule: str) -> None:
        seen[plan, schedule] = status_of(plan, schedule)

    every_plan_is_reproduced()
    assert list(seen.values()).count("emitted") > 0.8 * len(seen)


def status_of(plan: Plan, schedule: str) -> str:
    """Compare a second call with the program's own values; returns how it ran."""
    fast = fxsolve.compile(plan, schedule=schedule, backend="eager", tolerance=0)
    fast(torch.randn(plan.length, B, N))
    x = torch.randn(plan.length, B, N)
    for found, expected in zip(flat(fast(x)), flat(plan(x)), strict=True):
        assert found.stride() == expected.stride()
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
        if schedule == "gs":
            assert torch.equal(found, expected)
    assert "internal" not in fast.report().reason
    return fast.report().status
