"""Many steps of a repeat with their Jacobians: vjps under `vmap`, traced ahead of time to plain batched ATen ops."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn

from fxsolve.ir.reads import read_order
from fxsolve.ir.spec import Invariant, Lag, Prefix, Repeat
from fxsolve.ir.tables import device_of
from fxsolve.lower.batch import batch_step, tensor_body
from fxsolve.lower.readable import readable
from fxsolve.solvers.layout import Layout, pack, unpack
from fxsolve.solvers.linearized import Linearized

aten = torch.ops.aten

Jacobian = Literal["full", "diagonal"]
_Row = Callable[..., Tensor]
_Seeds = Callable[[], tuple[Tensor, ...]]

# Below autograd these are the identity; differentiation would take their results as constants.
_IDENTITIES = {aten.detach.default: aten.alias.default, aten.detach_copy.default: aten.alias_copy.default}


def linearize(repeat: Repeat, layout: Layout, steps: int, jacobian: Jacobian = "full") -> fx.GraphModule:
    """The sweep of `steps` steps with one result more, J = d s_t / d s_{t-1} at the lagged values given.

    J is (steps, *batch, n, n) in the coordinates of `layout`; (steps, *batch) where n is 1, and (steps, *batch, n)
    where the diagonal alone is asked for. Placeholders come in `read_order`. PartitionError if an op has no batched
    rule or no derivative.
    """
    body = tensor_body(repeat)
    for node in body.graph.nodes:
        node.target = _IDENTITIES.get(node.target, node.target)
    body.recompile()
    step = _with_jacobian(body, repeat, layout, partial(_matrix, layout=layout, jacobian=jacobian))
    alone = _with_jacobian(body, repeat, layout, _first_row)
    return batch_step(repeat, steps, step, f"{repeat.name}_linear", alone)


def linear_loop(repeat: Repeat, layout: Layout, bounds: Sequence[int], jacobian: Jacobian = "full") -> Linearized:
    """What a solver calls for the windows between `bounds`, or for all steps."""
    lengths = {stop - start for start, stop in pairwise(bounds)}
    windows: dict[int, nn.Module] = {n: readable(linearize(repeat, layout, n, jacobian)) for n in lengths}
    whole = (k for k, j in enumerate(read_order(repeat.reads)) if isinstance(repeat.reads[j], (Invariant, Prefix)))
    return Linearized(windows, tuple(whole))


def state_size(layout: Layout) -> int:
    """The entries n of the state that depend on one another, for each place in the batch."""
    return sum(map(math.prod, layout.shapes)) // math.prod(layout.batch)


def _with_jacobian(
    body: fx.GraphModule, repeat: Repeat, layout: Layout, rows: Callable[[_Row, _Seeds], Tensor]
) -> Callable[..., tuple[Tensor, ...]]:
    carried = [j for j, read in enumerate(repeat.reads) if isinstance(read, Lag)]
    seeds = _seeds(repeat, layout)

    def step(*reads: Any) -> tuple[Tensor, ...]:
        def advance(*states: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
            outputs = body(*_replaced(reads, carried, states))
            return tuple(outputs[number] for number in layout.outputs), outputs

        def row(*cotangents: Tensor) -> Tensor:
            return _packed(layout, pull_back(cotangents))

        _, pull_back, outputs = torch.func.vjp(advance, *(reads[j] for j in carried), has_aux=True)  # pyright: ignore
        return (*outputs, rows(row, seeds))

    return step


def _seeds(repeat: Repeat, layout: Layout) -> _Seeds:
    """One cotangent for each of the n entries of the state, the same at all independent places: (n, *shape) a carry."""
    results: Any = repeat.body.graph.output_node().args[0]
    dtype, device, size = results[layout.outputs[0]].meta["spec"].dtype, device_of(repeat), state_size(layout)

    def seeds() -> tuple[Tensor, ...]:
        if size == 1:
            return tuple(torch.ones((1, *shape), dtype=dtype, device=device) for shape in layout.shapes)
        identity = torch.eye(size, dtype=dtype, device=device)
        places = identity.view(size, *(1 for _ in layout.batch), size).expand(size, *layout.batch, size)
        return unpack(layout, places)

    return seeds


def _packed(layout: Layout, values: tuple[Tensor, ...]) -> Tensor:
    """(*batch, n) from the carries of one step."""
    return pack(layout, [value.unsqueeze(0) for value in values]).squeeze(0)


def _replaced(reads: tuple[Any, ...], places: list[int], values: tuple[Tensor, ...]) -> list[Any]:
    new = list(reads)
    for place, value in zip(places, values, strict=True):
        new[place] = value
    return new


def _first_row(row: _Row, seeds: _Seeds) -> Tensor:
    return row(*(seed[0] for seed in seeds()))


def _matrix(row: _Row, seeds: _Seeds, layout: Layout, jacobian: Jacobian) -> Tensor:
    """The rows of the Jacobian in the form that the solvers expect."""
    if state_size(layout) == 1:
        return _first_row(row, seeds).squeeze(-1)
    # Not -2: torch crashes there where no gradient comes back, and so nothing is batched.
    rows = torch.vmap(row, out_dims=len(layout.batch))(*seeds())
    return rows.diagonal(dim1=-2, dim2=-1) if jacobian == "diagonal" else rows
