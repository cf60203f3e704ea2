"""What a read says of itself agrees with what the reference evaluator does with it."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from hypothesis import given, settings
from torch import Tensor

from fxsolve.ir.evaluate import run_repeat
from fxsolve.ir.spec import AllSteps, Repeat, System, inputs_of
from tests.ir.samples import inputs, systems


def _repeats(system: System) -> Iterator[tuple[Repeat, dict[str, Tensor]]]:
    """Each repeat with all values that it may read."""
    known = inputs(0)
    for equation in system.equations:
        if isinstance(equation, Repeat):
            yield equation, known
            known.update(run_repeat(equation, known))
        else:
            results = equation.body(*[known[name] for name in equation.inputs])
            known.update(zip(equation.outputs, results, strict=True))


def _all_steps(repeat: Repeat, known: dict[str, Tensor]) -> list[Tensor]:
    outputs = {write.output for write in repeat.writes if isinstance(write, AllSteps)}
    writes = tuple(AllSteps(f"output{k}", k) for k in sorted(outputs))
    return list(run_repeat(replace(repeat, writes=writes), known).values())


@settings(max_examples=60, deadline=None)
@given(systems(least=1))
def test_a_shortened_repeat_gives_the_first_steps(system: System) -> None:
    for repeat, known in _repeats(system):
        whole = _all_steps(repeat, known)
        for length in range(1, repeat.length + 1):
            first = replace(repeat, length=length, reads=tuple(read.shortened(length) for read in repeat.reads))
            for part, steps in zip(_all_steps(first, known), whole, strict=True):
                assert torch.equal(part, steps[:length])


@settings(max_examples=60, deadline=None)
@given(systems(least=1))
def test_renamed_reads_find_the_same_values_under_new_names(system: System) -> None:
    for repeat, known in _repeats(system):
        renamed = replace(repeat, reads=tuple(read.renamed("new_{}".format) for read in repeat.reads))
        moved = {f"new_{name}": known[name] for name in inputs_of(repeat)}
        for one, other in zip(_all_steps(repeat, known), _all_steps(renamed, moved), strict=True):
            assert torch.equal(one, other)
