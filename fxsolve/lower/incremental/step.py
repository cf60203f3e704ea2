"""One step of a repeat, or all steps of a level, as a graph of ATen calls on tensors.

Numbers that change with the step are tensors too.
"""

from collections.abc import Callable

import torch
from torch import Tensor, fx

from fxsolve.errors import PartitionError
from fxsolve.ir.reads import read_order
from fxsolve.ir.spec import Invariant, Prefix, Read, Repeat, Table
from fxsolve.lower.batch import batch, example, tensor_body
from fxsolve.lower.trace import trace
from fxsolve.torch_compat.batches import FakeTensorMode


def step_graph(repeat: Repeat, together: int | None = None) -> fx.GraphModule:
    """The body with `meta["val"]` on every node; placeholder j takes reads[j]. PartitionError without such a form.

    That of so many steps `together` takes what is of one step, and makes everything, along a new first dimension.
    """
    body = tensor_body(repeat) if together is None else _swept(repeat, together)
    sizes = () if together is None else (together,)
    placeholders = repeat.body.graph.find_nodes(op="placeholder")
    with torch.no_grad(), FakeTensorMode():
        pairs = zip(placeholders, repeat.reads, strict=True)
        fakes = [_example(node, repeat, read, sizes) for node, read in pairs]
        try:
            graph = trace(body, fakes)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[0]
            raise PartitionError(f"a step of {repeat.name} at {repeat.source} cannot be traced: {reason}") from error
    graph.graph.eliminate_dead_code()
    return graph


def _swept(repeat: Repeat, steps: int) -> Callable[..., tuple[Tensor, ...]]:
    """The sweep of so many steps, which takes their reads in the order of the body."""
    sweep, order = batch(repeat, steps), read_order(repeat.reads)
    return lambda *reads: sweep(*(reads[j] for j in order))


def _example(node: fx.Node, repeat: Repeat, read: Read, sizes: tuple[int, ...]) -> Tensor:
    if isinstance(read, Table) or (sizes and not isinstance(read, Invariant | Prefix)):
        return example(node, repeat, read, sizes)
    spec = node.meta["spec"]
    return torch.empty_strided(spec.shape, spec.stride, dtype=spec.dtype, device=spec.device)
