"""Several steps of a repeat in one graph, for a compiler to fuse."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import torch
from torch import fx

from fxsolve.errors import PartitionError
from fxsolve.ir.fingerprint import step_digest
from fxsolve.ir.nested import loops_inside
from fxsolve.ir.reads import read_order, reorder_reads, takes_numbers
from fxsolve.ir.spec import Lag, Prefix, Read, Repeat, Slices, Stacked, Table
from fxsolve.ir.tables import device_of
from fxsolve.lower.arguments import is_backwards
from fxsolve.lower.batch import example
from fxsolve.lower.entries import open_with_tensors
from fxsolve.lower.trace import trace
from fxsolve.torch_compat.batches import FakeTensorMode
from fxsolve.torch_compat.graphs import Graph, lazy_module


def can_unroll(repeat: Repeat) -> bool:
    """Whether the steps can be fused: lags of distance 1, no buffer that is read, no loop inside.

    Numbers that change with the step can be tensors instead.
    """
    if loops_inside(repeat) or takes_numbers(repeat):
        return False
    placeholders = repeat.body.graph.find_nodes(op="placeholder")
    reads = list(zip(placeholders, repeat.reads, strict=True))
    carried = [read for _, read in reads if isinstance(read, Lag)]
    return (
        bool(carried)
        and all(read.distance == 1 for read in carried)
        and not any(isinstance(read, Prefix) and node.users for node, read in reads)
        and (not has_numbers(repeat) or _takes_tensors(repeat))
    )


def has_numbers(repeat: Repeat) -> bool:
    """Whether a step reads numbers of Python that change with it."""
    return any(isinstance(read, Table) for read in repeat.reads)


def _takes_tensors(repeat: Repeat) -> bool:
    # On a GPU the steps before the first compiled ones would wait for each number.
    if device_of(repeat).type != "cpu":
        return False
    try:
        tensor_step(repeat)
    except PartitionError:
        return False
    return True


def tensor_step(repeat: Repeat) -> fx.GraphModule:
    """The body with a 0-d tensor for each number that changes with the step: code would be compiled for one number.

    PartitionError where an op takes none.
    """
    return _traced(_AskedStep(step_digest(repeat), repeat)) if has_numbers(repeat) else repeat.body


@dataclass(frozen=True)
class _AskedStep:
    """The repeat whose step is to be written so; steps of equal digests are equal."""

    digest: str
    repeat: Repeat = field(compare=False)


@lru_cache(maxsize=64)
def _traced(asked: _AskedStep) -> fx.GraphModule:
    body = lazy_module(open_with_tensors(asked.repeat).graph, asked.repeat.name)
    placeholders = body.graph.find_nodes(op="placeholder")
    with torch.no_grad(), FakeTensorMode():
        pairs = zip(placeholders, asked.repeat.reads, strict=True)
        given = [example(node, asked.repeat, read, ()) for node, read in pairs]
        try:
            return trace(body, given)
        except Exception as error:  # fake tensors raise many types for an op that they do not support
            raise PartitionError(f"{asked.repeat.name} cannot take tensors for numbers: {error}") from error


def chunk_graph(repeat: Repeat, unroll: int) -> fx.GraphModule:
    """(states..., per_step..., shared..., places...) -> nothing.

    Every output of the body at every step has a place of its own, those of one output in a row, in which it is written:
    into rows of one tensor, inductor would write all of them at the end, each row by a look at every output. Those of
    the last step are the states behind. The per-step inputs, numbers among them, are those of `fused_arguments`: if all
    are on a CPU, each has `unroll` rows, since kernels that read rows of one tensor would be compiled for each of them;
    and else it is one tensor (unroll, ...).
    """
    order = read_order(repeat.reads)
    step = reorder_reads(replace(repeat, body=tensor_step(repeat)), order)
    reads = [repeat.reads[j] for j in order]
    pairs = zip(step.graph.find_nodes(op="placeholder"), reads, strict=True)
    devices = {node.meta["spec"].device.type for node, read in pairs if isinstance(read, Slices | Stacked | Table)}
    graph, rows = Graph(), unroll if devices <= {"cpu"} else 0
    inputs = [_open_read(graph, f"read{k}", read, rows) for k, read in enumerate(reads)]
    results: Any = step.graph.output_node().args[0]
    places = [[graph.placeholder(f"place{k}_{t}") for t in range(unroll)] for k in range(len(results))]
    states = {k: inputs[k](0) for k, read in enumerate(reads) if isinstance(read, Lag)}
    for t in range(unroll):
        numbers = (unroll - 1 - t if is_backwards(read) else t for read in reads)
        arguments = (states[k] if k in states else inputs[k](row) for k, row in enumerate(numbers))
        outputs = copy_step(graph, step.graph, list(arguments))
        for place, output in zip(places, outputs, strict=True):
            graph.call_method("copy_", (place[t], output))
        states = {k: outputs[reads[k].output] for k in states}  # pyright: ignore[reportAttributeAccessIssue]
    graph.output(())
    return fx.GraphModule({}, graph, class_name=f"{repeat.name}_chunk")


def _open_read(graph: fx.Graph, name: str, read: Read, rows: int) -> Callable[[int], fx.Node | None]:
    """What a step takes of a read, by the row of a per-step one: so many rows are opened, or with 0 one tensor."""
    if isinstance(read, Prefix):
        return lambda _: None
    if rows and isinstance(read, Slices | Stacked | Table):
        return [graph.placeholder(f"{name}_{row}") for row in range(rows)].__getitem__
    whole = graph.placeholder(name)
    if isinstance(read, Slices | Stacked | Table):
        return lambda row: graph.call_function(torch.select, (whole, 0, row))
    return lambda _: whole


def copy_step(graph: fx.Graph, step: fx.Graph, arguments: list[fx.Node | None]) -> tuple[fx.Node, ...]:
    """The results of a step, with names of their own: equal steps have equal code, and are compiled once."""
    given = dict(zip(step.find_nodes(op="placeholder"), arguments, strict=True))
    for node in step.nodes:
        if node.op == "call_function":
            args, kwargs = fx.map_arg((node.args, node.kwargs), given.__getitem__)
            given[node] = graph.call_function(node.target, args, kwargs)
    results: Any = step.output_node().args[0]
    return fx.map_arg(results, given.__getitem__)  # pyright: ignore[reportReturnType]
