"""One emitted loop, by every way in which it may be solved, against its steps by the reference evaluator."""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from fxsolve.ir.evaluate import run_repeat
from fxsolve.ir.nested import Nested
from fxsolve.ir.reads import is_autonomous
from fxsolve.ir.spec import Block, Repeat
from fxsolve.loops.partition import partition
from fxsolve.lower.emission import Emission
from fxsolve.lower.unroll import can_unroll
from fxsolve.plan.complete import in_order
from fxsolve.plan.lower import lower
from fxsolve.plan.method import Part, Steps, whole
from fxsolve.plan.methods.fused import Fused
from fxsolve.plan.methods.jacobi import Jacobi
from fxsolve.plan.methods.sums import Sum
from fxsolve.rewrite.sums.fold import is_sum
from fxsolve.solvers import compile_once
from fxsolve.solvers.solution import Solution, observe
from tests.loops import programs, small
from tests.loops.programs import Sample, given_values

SAMPLES = (programs.lstm, programs.third_order, programs.reversed_time, programs.layers, programs.euler, programs.gru)
every_sample = pytest.mark.parametrize("sample", [*SAMPLES, programs.fixed_point_loop], ids=str)

Values = dict[str, Tensor]


def repeats_of(sample: Sample) -> Iterator[tuple[Repeat, Values]]:
    """Each loop of a program, with all values in front of it."""
    program = sample.captured()
    known = given_values(program)
    for equation in partition(program).system.equations:
        if isinstance(equation, Block):
            results = equation.body(*(known[name] for name in equation.inputs))
            known.update(zip(equation.outputs, results, strict=True))
        else:
            yield equation, dict(known)
            known.update(run_repeat(equation, known))


def check(repeat: Repeat, known: Values, parts: Sequence[Part], rounding: float = 0.0) -> list[Solution]:
    """What was solved in the emitted module, which gives what the steps give."""
    emission = Emission()
    emission.open_values(Nested(repeat).inputs)
    lower(repeat, parts).emit(emission)
    module = emission.finish((write.name for write in repeat.writes), repeat.name)
    wanted = run_repeat(repeat, known)
    with torch.no_grad(), observe() as solutions:
        found = module(*(known[name] for name in Nested(repeat).inputs))
    for write, value in zip(repeat.writes, found, strict=True):
        torch.testing.assert_close(value, wanted[write.name], rtol=rounding, atol=rounding)
    return solutions


def methods(solutions: list[Solution]) -> list[str]:
    return [solution.method for solution in solutions]


@every_sample
def test_in_order_a_loop_gives_the_bits_of_its_steps(sample: Sample) -> None:
    for repeat, known in repeats_of(sample):
        method = "fixed_point" if is_autonomous(repeat) else "gauss_seidel"
        found = check(repeat, known, (in_order(repeat),))
        assert methods(found) == [method]


@every_sample
def test_swept_a_loop_gives_its_steps_up_to_rounding(sample: Sample) -> None:
    for repeat, known in repeats_of(sample):
        cut = repeat.length // 2
        for bounds in ((0, repeat.length), (0, cut, repeat.length)):
            parts = [Jacobi(Steps(repeat.name, a, b)) for a, b in pairwise(bounds)]
            assert methods(check(repeat, known, parts, 1e-5)) == ["jacobi"]


@pytest.mark.parametrize("unroll", [2, 3])
def test_several_steps_in_one_call_give_the_steps(unroll: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compile_once, "_kept", OrderedDict())
    monkeypatch.setattr(compile_once, "compile_by_inductor", lambda module, _: module)
    for sample in SAMPLES:
        for repeat, known in repeats_of(sample):
            if can_unroll(repeat):
                fused = check(repeat, known, (Fused(whole(repeat), unroll),), 1e-6)
                assert methods(fused) == ["fused_gauss_seidel"]


def test_a_sum_is_no_loop_any_more() -> None:
    x = small.numbers(small.T, small.N)
    sample = Sample("with_a_sum", small.with_a_sum, (x,), ())
    ((repeat, known),) = [(repeat, known) for repeat, known in repeats_of(sample) if is_sum(repeat)]
    solutions = check(repeat, known, (Sum(whole(repeat)),), 1e-6)
    assert all(solution.sweeps == 1 for solution in solutions)
