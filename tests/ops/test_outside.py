"""Ops of other libraries are understood as torch is told of them, and otherwise by a row that is handed down."""

from collections.abc import Callable

import torch
from torch import Tensor

import fxsolve
from fxsolve.ops.access import Cumulative, Reduced
from fxsolve.ops.facts import FACTS, Fact, Facts
from fxsolve.solvers.solution import observe

T = 8
MASK = torch.rand(T, T, dtype=torch.float64).tril(-1)


@torch.library.custom_op("fxsolve_outside::running", mutates_args=())
def running(x: Tensor, dim: int) -> Tensor:
    """The sums along a dimension so far."""
    return x.cumsum(dim)


@running.register_fake
def _like_running(x: Tensor, dim: int) -> Tensor:
    return torch.empty_like(x)


@running.register_vmap
def _running_of_many(info: object, dims: tuple[int | None, ...], x: Tensor, dim: int) -> tuple[Tensor, int]:
    assert dims[0] is not None
    return running(x.movedim(dims[0], 0), dim % (x.dim() - 1) + 1), 0


@torch.library.custom_op("fxsolve_outside::squash", mutates_args=(), tags=(torch.Tag.pointwise,))
def squash(x: Tensor) -> Tensor:
    """Between -1/2 and 1/2."""
    return 0.5 * x.tanh()


@squash.register_fake
def _like_squash(x: Tensor) -> Tensor:
    return torch.empty_like(x)


@squash.register_vmap
def _squash_of_many(info: object, dims: tuple[int | None], x: Tensor) -> tuple[Tensor, int | None]:
    return squash(x), dims[0]


LIBRARY = torch.library.Library("fxsolve_outside", "FRAGMENT")
LIBRARY.define("halved(Tensor x) -> Tensor")
LIBRARY.impl("halved", lambda x: 0.5 * x, "CompositeImplicitAutograd")

# y[..., t] reads x[..., :t + 1] along the dimension in `dim`, and is linear in it.
RUNNING = {"fxsolve_outside::running": Fact(Cumulative(), affine=("x",))}
CROSS = {"linalg_cross": Fact(Reduced(), affine=("self", "other"))}


def sampled(op: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A loop that reads its buffer whole, through `op` and a mask."""

    def program(x: Tensor) -> Tensor:
        y = torch.zeros(T, 3, dtype=x.dtype)
        for t in range(T):
            y[t] = MASK[t] @ op(y) + x[t].sin()
        return y

    return program


def carried(op: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A loop that carries what `op` makes of its state."""

    def program(x: Tensor) -> Tensor:
        h, states = x[0], []
        for x_t in x:
            h = op(h) + x_t.cos()
            states.append(h)
        return torch.stack(states)

    return program


def solved(program: Callable[[Tensor], Tensor], text: str, facts: Facts = FACTS) -> tuple[tuple[str, ...], str]:
    """The notes of the decision and the method that ran last; values are those of the program."""
    x = torch.randn(T, 3, dtype=torch.float64)
    captured = fxsolve.capture(program, x)
    parts = fxsolve.partition(captured)
    decision = fxsolve.schedule(captured, parts, text, "eager", facts=facts)
    emitted = fxsolve.emit(captured, parts, decision)
    with torch.no_grad(), observe() as seen:
        (result,) = emitted.module(*captured.example.inputs)
    torch.testing.assert_close(result, program(x), rtol=1e-10, atol=1e-10)
    return decision.notes, seen[-1].method


def test_a_row_that_is_handed_down_proves_that_a_loop_may_be_swept() -> None:
    program = sampled(lambda y: running(y, 1))
    (note,), ran = solved(program, "jacobi")
    assert "through fxsolve_outside::running" in note
    assert ran == "gauss_seidel"
    assert solved(program, "jacobi", {**FACTS, **RUNNING}) == ((), "jacobi")


def test_a_row_that_is_handed_down_proves_that_a_loop_may_be_scanned() -> None:
    constant = torch.randn(3, dtype=torch.float64)
    program = carried(lambda h: 0.3 * torch.linalg.cross(h, constant))
    note = "loop0 runs in order: a step is not proved to be affine in what it carries"
    assert solved(program, "scan") == ((note,), "gauss_seidel")
    assert solved(program, "scan", {**FACTS, **CROSS}) == ((), "scan")


def test_an_automatic_choice_rests_on_it_too() -> None:
    captured = fxsolve.capture(sampled(lambda y: running(y, 1)), torch.randn(T, 3, dtype=torch.float64))
    parts = fxsolve.partition(captured)
    for facts, found in ((FACTS, "not shown"), ({**FACTS, **RUNNING}, "proved")):
        decision = fxsolve.schedule(captured, parts, backend="eager", facts=facts)
        assert decision.choices[-1].causal.startswith(found)


def test_of_an_op_with_the_tag_pointwise_no_row_is_asked() -> None:
    assert solved(sampled(squash), "jacobi") == ((), "jacobi")
    assert solved(carried(squash), "jacobi") == ((), "jacobi")


def test_of_an_op_that_torch_writes_by_others_none_is_asked_either() -> None:
    assert solved(carried(torch.ops.fxsolve_outside.halved), "scan") == ((), "scan")


def test_compiled_programs_know_what_torch_is_told_of_their_ops() -> None:
    x = torch.randn(T, 3, dtype=torch.float64)
    for program, text in ((carried(squash), "jacobi"), (carried(torch.ops.fxsolve_outside.halved), "scan")):
        compiled = fxsolve.compile(program, schedule=text, backend="eager")
        torch.testing.assert_close(compiled(x), program(x), rtol=1e-10, atol=1e-10)
        assert f"{text}(loop0" in str(compiled.schedule)
