"""The same repeat for fewer samples of a batch."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import fx

from fxsolve.ir.spec import Lag, Prefix, Repeat
from fxsolve.ir.strides import contiguous
from fxsolve.ir.tensor_spec import TensorSpec
from fxsolve.torch_compat.graphs import Graph
from fxsolve.torch_compat.operators import OpOverload, schema_of

_SHAPES = ("size", "shape")  # what ops call the shape of their result
_COUNT = "N"  # and the number of samples alone, as group norm does


@dataclass(frozen=True)
class Samples:
    """`size` samples that never mix: `dims` says along which dimension of a value of the body they lie, by node name.

    A value that is not there is shared by all samples, or no next step depends on it.
    """

    size: int
    dims: Mapping[str, int]


def unknown_outputs(repeat: Repeat) -> list[int]:
    """The numbers of the outputs that steps read from one another."""
    return list(dict.fromkeys(read.output for read in repeat.reads if isinstance(read, (Lag, Prefix))))


def thin(repeat: Repeat, samples: Samples, size: int) -> Repeat:
    """The steps for `size` of the samples; outputs that no step reads are copies of one that steps do."""
    graph = Graph()
    copied: dict[fx.Node, fx.Node] = {}
    for node in repeat.body.graph.nodes:
        if node.op == "output":
            continue
        copied[node] = graph.node_copy(node, copied.__getitem__)
        dim = samples.dims.get(node.name)
        if dim is None:
            continue
        if node.op == "placeholder":
            copied[node].meta["spec"] = _thin_spec(node.meta["spec"], dim, size)
        else:
            _shrink_shapes(copied[node], dim, samples.size, size)
    results: Any = repeat.body.graph.output_node().args[0]
    needed = unknown_outputs(repeat)
    graph.output(
        tuple(copied[result if number in needed else results[needed[0]]] for number, result in enumerate(results))
    )
    graph.eliminate_dead_code()
    return replace(repeat, body=fx.GraphModule({}, graph, class_name=f"{repeat.name}_of_{size}"))


def _thin_spec(spec: TensorSpec, dim: int, size: int) -> TensorSpec:
    return contiguous(spec, tuple(size if k == dim else width for k, width in enumerate(spec.shape)))


def _shrink_shapes(node: fx.Node, dim: int, whole: int, size: int) -> None:
    """Write the new size into the shapes that an op is told of."""
    target: Any = node.target
    names = [argument.name for argument in schema_of(target).arguments] if isinstance(target, OpOverload) else []
    for position, name in enumerate(names[: len(node.args)]):
        given: Any = node.args[position]
        if name in _SHAPES and len(given) > dim and given[dim] == whole:
            node.update_arg(position, [size if k == dim else width for k, width in enumerate(given)])
        elif name == _COUNT and given == whole:
            node.update_arg(position, size)
