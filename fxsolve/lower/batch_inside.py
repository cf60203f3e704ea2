"""A loop inside a step, where its own steps do not read one another: one sweep, which can be batched in its turn."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, fx

from fxsolve.errors import PartitionError
from fxsolve.ir.nested import Nested
from fxsolve.ir.spec import AllSteps, Repeat, Slices, Table
from fxsolve.ir.tables import as_range
from fxsolve.lower.arguments import Values, sweep_arguments


def as_sweep(repeat: Repeat, sweep: fx.GraphModule) -> Callable[..., tuple[Tensor, ...]]:
    """What `repeat` writes, from a value for each of its inputs, by the `sweep` of all its steps.

    Raises `PartitionError` where the steps read numbers, or entries in no plain order: constants cannot be traced.
    """
    for read in repeat.reads:
        if isinstance(read, Table) or (isinstance(read, Slices) and not _counts(read.index)):
            raise PartitionError(f"the steps of {repeat.name} read numbers, or entries in no plain order")
    names = Nested(repeat).inputs

    def run(*given: Any) -> tuple[Tensor, ...]:
        arguments = sweep_arguments(repeat, Values(dict(zip(names, given, strict=True))))
        outputs = sweep(*arguments.per_step, *arguments.shared)
        stacks = [outputs[write.output] for write in repeat.writes]  # pyright: ignore[reportAttributeAccessIssue]
        pairs = zip(repeat.writes, stacks, strict=True)
        return tuple(stack if isinstance(write, AllSteps) else stack[-1] for write, stack in pairs)

    return run


def _counts(index: tuple[int, ...]) -> bool:
    """Whether the entries are read as a view, in order or in reverse."""
    counted = as_range(index)
    return counted is not None and abs(counted.step) == 1
