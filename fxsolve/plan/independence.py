"""Which dimensions of a carry never mix: entry b of the state at t reads entry b at t-1 alone, proved from the ops.

Entries of the carry are labelled by their place along a dimension, and the labels travel through the body as steps do
in the domain of dependence. A value whose highest and lowest label agree depends on one place only; a dimension along
which this holds for every carried output is independent, and the Jacobian of a step is one small block for each of its
places.
"""

import math
from collections.abc import Iterator
from itertools import combinations, islice, product
from typing import Any

import torch
from torch import Tensor

from fxsolve.errors import PartitionError
from fxsolve.ir.spec import Lag, Prefix, Repeat
from fxsolve.ir.tables import device_of
from fxsolve.ir.tensor_spec import TensorSpec
from fxsolve.lower.batch import check_plain
from fxsolve.ops.domains.dependence import Dependence
from fxsolve.ops.domains.entries import Entries, entries
from fxsolve.ops.facts import FACTS, Facts
from fxsolve.ops.interpret import Interpreter
from fxsolve.plan.examples import MOST_LABELS, along, unlabelled, values_in, with_examples
from fxsolve.solvers.layout import Layout

_MOST_PAIRINGS = 64  # ways of matching the dimensions of several carries that are tried

Pairing = tuple[int, ...]  # one dimension of each carry


def find_layout(repeat: Repeat, facts: Facts = FACTS) -> Layout:
    """How the carries of `repeat` lie in one state (*batch, n), with as many independent dimensions as can be proved.

    Raises `PartitionError` with the reason where the carries make up no state of real numbers that one step gives
    to the next.
    """
    check_plain(repeat)
    lags = _lags(repeat)
    outputs = tuple(lag.output for lag in lags)
    specs = _carried_specs(repeat, outputs)
    pairings = _independent(repeat, [spec.shape for spec in specs], facts)
    shapes = tuple(tuple(spec.shape) for spec in specs)
    batch = tuple(shapes[0][pairing[0]] for pairing in pairings)
    orders = tuple(_order(len(shape), [pairing[k] for pairing in pairings]) for k, shape in enumerate(shapes))
    return Layout(outputs, shapes, batch, orders)


def _lags(repeat: Repeat) -> list[Lag]:
    if any(isinstance(read, Prefix) for read in repeat.reads):
        raise PartitionError("a buffer is written step by step; a state of one step does not hold it")
    lags = [read for read in repeat.reads if isinstance(read, Lag)]
    if not lags:
        raise PartitionError("no step reads another")
    longest = max(lag.distance for lag in lags)
    if longest > 1:
        raise PartitionError(f"a step reads {longest} steps back; the state must be that of the step before")
    if len({lag.output for lag in lags}) < len(lags):
        raise PartitionError("two carries are one and the same value")
    return lags


def _carried_specs(repeat: Repeat, outputs: tuple[int, ...]) -> list[TensorSpec]:
    results: Any = repeat.body.graph.output_node().args[0]
    specs: list[TensorSpec] = [results[output].meta["spec"] for output in outputs]
    dtypes = {spec.dtype for spec in specs}
    if any(not dtype.is_floating_point for dtype in dtypes):
        raise PartitionError("the state is not made of real numbers")
    if len(dtypes) > 1:
        raise PartitionError(f"the carries have different types: {', '.join(sorted(map(str, dtypes)))}")
    if not all(math.prod(spec.shape) for spec in specs):
        raise PartitionError("a carry has no entries")
    return specs


def _order(dims: int, first: list[int]) -> tuple[int, ...]:
    return (*first, *(dim for dim in range(dims) if dim not in first))


# The proof.


def _independent(repeat: Repeat, shapes: list[Any], facts: Facts) -> list[Pairing]:
    """Dimensions, paired over all carries, along which nothing mixes; in the order of those of the first carry."""
    if values_in(repeat) > MOST_LABELS:
        return []
    interpreter = Interpreter(with_examples(repeat.body), Dependence(), facts)
    found: list[Pairing] = []
    for pairing in islice(_pairings(shapes), _MOST_PAIRINGS):
        taken = any(one == other for pair in found for one, other in zip(pair, pairing, strict=True))
        if not taken and _keeps_apart(repeat, interpreter, shapes, pairing):
            found.append(pairing)
    return sorted(found)


def _pairings(shapes: list[Any]) -> Iterator[Pairing]:
    """Ways of taking one dimension of the same size from each carry, first the same dimension of all."""
    common = set[int].intersection(*map(set, shapes)) - {1}
    dims = range(max(map(len, shapes)))
    # All of them are exponentially many in the number of carries, so none is made before it is asked for.
    for used in (set(some) for count in dims for some in combinations(dims, count + 1)):
        for size in sorted(common):
            choices = [[dim for dim, width in enumerate(shape) if dim in used and width == size] for shape in shapes]
            yield from (pairing for pairing in product(*choices) if set(pairing) == used)


def _keeps_apart(repeat: Repeat, interpreter: Interpreter, shapes: list[Any], pairing: Pairing) -> bool:
    """Whether no entry of a carried output depends on any place along the paired dimensions but its own."""
    size = shapes[0][pairing[0]]
    for ranks in (torch.arange(size), torch.arange(size).flip(0)):
        wanted = [along(ranks, shape, dim) for shape, dim in zip(shapes, pairing, strict=True)]
        for found, own in zip(_highest(repeat, interpreter, wanted), wanted, strict=True):
            if isinstance(found, Entries) and bool((found.latest > own).any()):
                return False
    return True


def _highest(repeat: Repeat, interpreter: Interpreter, carried: list[Tensor]) -> list[Any]:
    """The carried outputs with the highest label that each entry may depend on."""
    device = device_of(repeat)
    labels = iter(carried)
    inputs = [
        entries(next(labels).to(device)) if isinstance(read, Lag) else unlabelled(node, device)
        for node, read in zip(interpreter.inputs, repeat.reads, strict=True)
    ]
    with torch.no_grad():
        outputs = interpreter.run(*inputs)
    return [outputs[read.output] for read in repeat.reads if isinstance(read, Lag)]
