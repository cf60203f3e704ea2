"""Results that have memory of their own in the program have it in every call: callers may write into them."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fxsolve
from fxsolve.codegen.own_memory import give_own_memory
from fxsolve.codegen.values import ProgramEmission
from fxsolve.torch_compat.trees import pytree

aten = torch.ops.aten
B, N, T = 2, 3, 12
Program = Callable[[Tensor, Tensor], Any]


def steps(x: Tensor, h: Tensor) -> list[Tensor]:
    found = []
    for a in x:
        h = torch.tanh(h @ a)
        found.append(h)
    return found


def all_steps_and_the_last(x: Tensor, h: Tensor) -> Any:
    found = steps(x, h)
    return torch.stack(found), found[-1]


def all_steps_in_two_forms(x: Tensor, h: Tensor) -> Any:
    found = steps(x, h)
    return torch.cat(found), torch.stack(found)


def the_same_in_every_step(x: Tensor, h: Tensor) -> Any:
    sums = []
    for a in x:
        h = torch.tanh(h @ a)
        sums.append(x.sum())
    return h, sums


def zeros_for_every_step(x: Tensor, h: Tensor) -> Any:
    made = []
    for a in x:
        h = torch.tanh(h @ a)
        made.append(torch.zeros(N))
    return h, made


def a_copy_of_an_argument(x: Tensor, h: Tensor) -> Any:
    copy = torch.empty_like(x)
    copy.copy_(x)
    return steps(x, h)[-1], copy


def copies_of_parts_of_an_argument(x: Tensor, h: Tensor) -> Any:
    copies = [torch.empty(N, N) for _ in range(2)]
    for copy, part in zip(copies, x.unbind(), strict=False):
        copy.copy_(part)
    return steps(x, h)[-1], copies


def two_copies(x: Tensor, h: Tensor) -> Any:
    y, z = torch.zeros_like(x), torch.zeros_like(x)
    y[:] = 2 * x
    z.copy_(y)
    return steps(x, h)[-1], y, z


def what_shares_memory(x: Tensor, h: Tensor) -> Any:
    """Results that the program itself returns on one memory stay there."""
    found, y = steps(x, h), 2 * x
    return found[-1], y, y[0], y, y[1:].flatten(), x, x[0]


class Weights(nn.Module):
    """Returns a copy of its weight, and a row of its buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(N, N))
        self.rows: Tensor
        self.register_buffer("rows", torch.randn(2, N))

    def forward(self, x: Tensor, h: Tensor) -> Any:
        weight, row = torch.empty_like(self.weight), torch.empty(N)
        with torch.no_grad():
            weight.copy_(self.weight)
        row.copy_(self.rows[1])
        return steps(x @ self.weight, h)[-1], weight, row


PROGRAMS: list[Program] = [
    all_steps_and_the_last,
    all_steps_in_two_forms,
    the_same_in_every_step,
    zeros_for_every_step,
    a_copy_of_an_argument,
    copies_of_parts_of_an_argument,
    two_copies,
    what_shares_memory,
    Weights(),
]


def inputs(grad: bool) -> tuple[Tensor, Tensor]:
    return torch.randn(T, N, N), torch.randn(B, N, requires_grad=grad)


def written(program: Any, args: tuple[Tensor, Tensor]) -> list[Tensor]:
    """All that can be seen of a call after a write into each of its results, one after the other."""
    results = [leaf for leaf in pytree.tree_leaves(program(*args)) if isinstance(leaf, Tensor)]
    with torch.no_grad():
        for number, result in enumerate(results, 1):
            result.add_(number)
    state = program.state_dict().values() if isinstance(program, nn.Module) else ()
    return [value.detach().clone() for value in (*results, *args, *state)]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda one: getattr(one, "__name__", "Weights"))
@pytest.mark.parametrize("schedule", ["gs", "jacobi"])
@pytest.mark.parametrize("grad", [False, True])
def test_a_write_into_a_result_changes_what_it_changes_in_the_program(
    program: Program, schedule: str, grad: bool
) -> None:
    twin = deepcopy(program)
    fast = fxsolve.compile(deepcopy(program), schedule=schedule)
    for _ in range(3):
        args = inputs(grad)
        theirs = deepcopy(args)
        for found, wanted in zip(written(fast, args), written(twin, theirs), strict=True):
            torch.testing.assert_close(found, wanted)
    assert fast.report().status == "emitted"
    assert schedule in str(fast.schedule)


def test_a_part_of_an_argument_stays_one_where_hooks_keep_it_from_being_made_again() -> None:
    def program(x: Tensor, h: Tensor) -> Any:
        part = x[0]
        part.register_hook(lambda grad: 2 * grad)
        return steps(x, h)[-1], part

    fast = fxsolve.compile(program, schedule="gs")
    for _ in range(3):
        x = 1.0 * torch.randn(T, N, N, requires_grad=True)
        _, part = fast(x, torch.randn(B, N))
        assert part.data_ptr() == x.data_ptr()
    assert fast.report().status == "emitted"


@torch.no_grad()
def test_a_result_that_shares_a_value_with_another_is_copied_and_the_larger_one_keeps_it() -> None:
    """In the recorded run both had memory of their own; here the second is a row of the first."""

    def both(x: Tensor) -> tuple[Tensor, Tensor]:
        doubled = x * 2
        return doubled, doubled[0].clone()

    program = fxsolve.capture(both, torch.randn(3, 2))
    emission = ProgramEmission()
    x = emission.graph.placeholder("x")
    emission.values["whole"] = emission.call(aten.mul.Tensor, x, 2)
    emission.values["row"] = emission.call(aten.select.int, emission.values["whole"], 0, 0)
    names = give_own_memory(emission, program, ("whole", "row"))
    assert names == ("whole", "row_of_result_1")
    assert emission.values["row_of_result_1"].target in (aten.clone.default, torch.clone)


@pytest.mark.parametrize("schedule", ["gs", "scan", "jacobi"])
def test_single_steps_may_be_written_into_where_gradients_are_wanted(schedule: str) -> None:
    def program(x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        found = []
        for a in x:
            h = 0.9 * h + a
            found.append(h)
        return found[-1], found[len(found) // 2]

    fast = fxsolve.compile(program, schedule=schedule, backend="eager")
    for _ in range(3):
        gradients = []
        x, h = torch.randn(T, B, N), torch.randn(B, N)
        for run in (program, fast):
            given = x.clone().requires_grad_()
            last, middle = run(given, h)
            version = middle._version
            last.mul_(torch.arange(N))
            assert (middle._version, last._is_view()) == (version, False)
            (last.sum() + middle.sum()).backward()
            gradients.append(given.grad)
        torch.testing.assert_close(*gradients)
    assert next(run.method for run in fast.report().runs) == {"gs": "gauss_seidel"}.get(schedule, schedule)
