"""What all steps of a loop read at one place is checked as one vector."""

import pytest
import torch
from torch import Tensor

import fxsolve
from fxsolve.codegen.guards import Guards
from fxsolve.codegen.values import Emission
from fxsolve.errors import GuardError
from fxsolve.ir.spec import System
from fxsolve.solvers.guard import check_guards

T = 12


def clipped(x: Tensor) -> Tensor:
    """Reads two scalars in every step, and one before the loop."""
    h = x[0] if x[0].sum() > -100 else x[1]
    steps = []
    for t in range(T):
        h = torch.tanh(h + x[t])
        if h.abs().max() > 5:
            h = h * 0
        h = h * (1 if h.sum() < 100 else 2)
        steps.append(h)
    return torch.stack(steps)


def emitted(program, x: Tensor):
    captured = fxsolve.capture(program, x)
    parts = fxsolve.partition(captured)
    return captured, fxsolve.emit(captured, parts, fxsolve.schedule(captured, parts, "gs"))


def test_each_place_is_one_vector_and_no_step_is_picked() -> None:
    captured, module = emitted(clipped, torch.randn(T, 3))
    assert len(captured.guards) == 2 * T + 1
    checks = [node for node in module.module.graph.nodes if node.target is check_guards]
    assert [len(check.args[0]) for check in checks] == [1, 2]  # before the loop, and the two places in it
    assert sum(node.target is torch.select for node in module.module.graph.nodes) < T
    expected = [node.target for node in checks[1].args[1]]
    assert all(getattr(module.module, name).shape == (T,) for name in expected)


def test_a_step_that_reads_another_value_is_named() -> None:
    x = torch.randn(T, 3)
    _, module = emitted(clipped, x)
    module.module(x)
    x[7] = float("nan")
    with pytest.raises(GuardError, match=r"guard \d, step 7, read 0, but 1 was read while recording"):
        module.module(x)


def test_the_steps_of_a_peeled_loop_are_checked_too() -> None:
    def program(x: Tensor) -> Tensor:
        h = x[0]
        for t in range(1, T):
            h = torch.sin(h * x[t]) + x[t]
            if h[0] > 50:
                break
        return h

    x = torch.randn(T, 3)
    _, module = emitted(program, x)
    for step in range(1, T):
        changed = x.clone()
        changed[step, 0] = 100.0
        with pytest.raises(GuardError):
            module.module(changed)


def test_a_guard_is_checked_once_and_as_soon_as_its_value_is_known() -> None:
    guards = Guards(System(("a", "b"), (), ()), ("b", "a"), (2, (1.0, 3.0)))
    emission = Emission()
    checks = []
    for name in ((), ("a",), (), ("b",), ()):
        emission.open_values(name)
        guards.emit(emission)
        checks.append([node.args[2] for node in emission.graph.nodes if node.target is check_guards])
    assert checks == [[], [(1,)], [(1,)], [(1,), (0,)], [(1,), (0,)]]
    module = emission.finish((), "Guarded")
    module(torch.tensor([1.0, 3.0]), torch.tensor(2))
    for a, b in (((1.0, 4.0), 2), ((1.0, 3.0), 3)):
        with pytest.raises(GuardError, match=f"guard {0 if b == 3 else 1}, step 1, read 4.0|guard 0 read 3"):
            module(torch.tensor(a), torch.tensor(b))
