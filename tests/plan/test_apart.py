"""What is said to keep apart does, in every loop of the table: no result changes with an entry of another sample."""

from typing import Any

import torch
from torch import Tensor

from fxsolve.errors import PartitionError
from fxsolve.ir.spec import Lag, Repeat
from fxsolve.lower.fewer_samples import unknown_outputs
from fxsolve.plan.independence import find_layout
from fxsolve.plan.samples import find_samples
from tests.ops.bodies import reads_for, recorded


def changed_at(value: Tensor, dim: int, place: int) -> Tensor:
    """Another number in every entry at one place along a dimension."""
    here = torch.arange(value.shape[dim]) == place
    here = here.view([-1 if k == dim else 1 for k in range(value.dim())])
    return torch.where(here, value + 1 if value.dtype != torch.bool else ~value, value)


def elsewhere(value: Tensor, dim: int, place: int) -> Tensor:
    return value.movedim(dim, 0)[torch.arange(value.shape[dim]) != place]


def assert_apart(repeat: Repeat, read_dims: dict[int, int], result_dims: dict[int, int]) -> bool:
    """Whether the step could be run; fails where a result changes with another sample of what is read."""
    for seed, place in ((1, 0), (2, -1)):
        reads: list[Any] = reads_for(repeat, seed)
        size = next(reads[k].shape[dim] for k, dim in read_dims.items())
        other = [changed_at(x, read_dims[k], place % size) if k in read_dims else x for k, x in enumerate(reads)]
        try:
            before, after = repeat.body(*reads), repeat.body(*other)
        except (RuntimeError, IndexError):  # a step that any masks and places will not do for
            return False
        for number, dim in result_dims.items():
            one, two = (elsewhere(results[number], dim, place % size) for results in (before, after))
            torch.testing.assert_close(two, one, rtol=0, atol=0, equal_nan=True)
    return True


def test_independent_dimensions_never_mix() -> None:
    tried = 0
    for name, repeat in recorded():
        try:
            layout = find_layout(repeat)
        except PartitionError:
            continue
        carried = {read.output: k for k, read in enumerate(repeat.reads) if isinstance(read, Lag)}
        for axis in range(len(layout.batch)):
            dims = {output: order[axis] for output, order in zip(layout.outputs, layout.orders, strict=True)}
            try:
                tried += assert_apart(repeat, {carried[output]: dim for output, dim in dims.items()}, dims)
            except AssertionError as error:
                raise AssertionError(f"{name}: {repeat.name}, {dims}") from error
    assert tried > 100


def test_samples_never_mix() -> None:
    tried = 0
    for name, repeat in recorded():
        try:
            dims = find_samples(repeat).dims
        except PartitionError:
            continue
        placeholders = repeat.body.graph.find_nodes(op="placeholder")
        results: Any = repeat.body.graph.output_node().args[0]
        read = {k: dims[node.name] for k, node in enumerate(placeholders) if node.name in dims}
        given = {
            number: dims[results[number].name] for number in unknown_outputs(repeat) if results[number].name in dims
        }
        try:
            tried += assert_apart(repeat, read, given)
        except AssertionError as error:
            raise AssertionError(f"{name}: {repeat.name}") from error
    assert tried > 50
