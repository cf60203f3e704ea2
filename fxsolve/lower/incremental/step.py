"""One step of a repeat as a graph of ATen calls on tensors, numbers that change with the step among them."""

import torch
from torch import Tensor, fx

from fxsolve.errors import PartitionError
from fxsolve.ir.spec import Read, Repeat, Table
from fxsolve.ir.tables import device_of, table_tensor
from fxsolve.lower.batch import tensor_body
from fxsolve.lower.trace import trace
from fxsolve.torch_compat.batches import FakeTensorMode


def step_graph(repeat: Repeat) -> fx.GraphModule:
    """The body with `meta["val"]` on every node; placeholder j takes reads[j]. PartitionError without such a form."""
    body = tensor_body(repeat)
    placeholders = repeat.body.graph.find_nodes(op="placeholder")
    with torch.no_grad(), FakeTensorMode():
        fakes = [_example(node, repeat, read) for node, read in zip(placeholders, repeat.reads, strict=True)]
        try:
            graph = trace(body, fakes)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[0]
            raise PartitionError(f"a step of {repeat.name} at {repeat.source} cannot be traced: {reason}") from error
    graph.graph.eliminate_dead_code()
    return graph


def _example(node: fx.Node, repeat: Repeat, read: Read) -> Tensor:
    if isinstance(read, Table):
        return table_tensor(Table(read.values[:1]), device_of(repeat)).new_empty(())
    spec = node.meta["spec"]
    return torch.empty_strided(spec.shape, spec.stride, dtype=spec.dtype, device=spec.device)
