"""A row for an op is all that a proof needs, and the table is a value that is handed down."""

import torch
from torch import Tensor

import fxsolve
from fxsolve.capture.program import Program
from fxsolve.ir.reads import has_carry
from fxsolve.ir.spec import Repeat
from fxsolve.loops.partition import Partition
from fxsolve.ops.access import Reduced
from fxsolve.ops.facts import FACTS, Fact
from fxsolve.plan.causality import judge
from fxsolve.plan.facts import is_affine
from fxsolve.plan.independence import find_layout
from fxsolve.plan.structural import constants_of, known_values

T, N = 5, 4
MASK = torch.rand(T, T).tril(-1)

# y[..., i] reads x[..., :] and y[..., :] along the last dimension alone, and is linear in each of them.
CROSS = {"linalg_cross": Fact(Reduced(), affine=("self", "other"))}


def loop_of(program: object, *inputs: Tensor) -> tuple[Program, Partition, Repeat]:
    captured = fxsolve.capture(program, *inputs)
    parts = fxsolve.partition(captured)
    (repeat,) = [repeat for repeat in parts.system.repeats if has_carry(repeat)]
    return captured, parts, repeat


def test_a_row_that_is_added_from_outside_proves_causality() -> None:
    def program(x: Tensor) -> Tensor:
        y = torch.zeros(T, 3)
        for t in range(T):
            y[t] = MASK[t] @ torch.linalg.cross(y, x) + x[t].sin()
        return y

    captured, parts, repeat = loop_of(program, torch.randn(T, 3))
    known = known_values(parts.system, constants_of(captured))
    assert judge(repeat, known).found.startswith("not shown")
    assert judge(repeat, known, {**FACTS, **CROSS}).found == "proved"
    assert "linalg_cross" not in FACTS


def test_a_row_that_is_added_from_outside_proves_that_a_step_is_affine_and_keeps_rows_apart() -> None:
    def program(x: Tensor) -> Tensor:
        h, states = x[0], []
        for x_t in x:
            h = torch.linalg.cross(h, x_t) + x_t.cos()
            states.append(h)
        return torch.stack(states)

    _, _, repeat = loop_of(program, torch.randn(T, N, 3))
    assert (is_affine(repeat), find_layout(repeat).batch) == (False, ())
    facts = {**FACTS, **CROSS}
    assert (is_affine(repeat, facts), find_layout(repeat, facts).batch) == (True, (N,))


def test_without_its_row_an_op_is_opaque() -> None:
    def program(x: Tensor) -> Tensor:
        h = x[0]
        for x_t in x:
            h = h.cumsum(-1) * x_t.sin() + x_t
        return h

    _, _, repeat = loop_of(program, torch.randn(T, N, 3))
    assert (is_affine(repeat), find_layout(repeat).batch) == (True, (N,))
    without = {name: fact for name, fact in FACTS.items() if name != "cumsum"}
    assert (is_affine(repeat, without), find_layout(repeat, without).batch) == (False, ())
