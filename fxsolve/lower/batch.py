"""Evaluate many steps of a repeat at once: the body under `vmap`, traced to plain batched ATen ops."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, fx

from fxsolve.capture.together import Together, Undo
from fxsolve.errors import PartitionError
from fxsolve.ir.fingerprint import step_digest
from fxsolve.ir.nested import Nested, loops_inside
from fxsolve.ir.reads import has_carry, read_order, takes_numbers
from fxsolve.ir.spec import Invariant, Prefix, Read, Repeat, Table
from fxsolve.ir.tables import device_of, table_tensor
from fxsolve.lower.attention import attend_by_samples
from fxsolve.lower.batch_inside import as_sweep
from fxsolve.lower.bias import join_bias
from fxsolve.lower.decompose import decompose
from fxsolve.lower.entries import open_with_tensors
from fxsolve.lower.trace import check_rules, trace
from fxsolve.torch_compat.batches import FakeTensorMode
from fxsolve.torch_compat.graphs import Graph, lazy_module

aten = torch.ops.aten


MAX_CALLS = 1000  # batching a longer step takes longer than most users wait


def batch(repeat: Repeat, steps: int) -> fx.GraphModule:
    """The sweep of `steps` steps of `repeat`: reads -> outputs, each (steps, ...).

    Placeholders come in `read_order`; buffers and invariants as they are, everything else, tables included, as
    tensors stacked along a new first dimension. PartitionError if the body cannot be batched.
    """
    if len(repeat.body.graph.nodes) > MAX_CALLS:
        raise PartitionError(f"{repeat.name}: a step has {len(repeat.body.graph.nodes)} ops, more than {MAX_CALLS}")
    if loops_inside(repeat):
        return batch_step(repeat, steps, tensor_body(repeat), f"{repeat.name}_sweep")
    return _with_names(_sweep(_Asked(step_digest(repeat), steps, repeat)), repeat, f"{repeat.name}_sweep")


@dataclass(frozen=True)
class _Asked:
    """The steps that are to be batched, and how many; steps of equal digests are equal."""

    digest: str
    steps: int
    repeat: Repeat = field(compare=False)


@lru_cache(maxsize=64)  # proofs, prices and emission ask for the same one, and layers have equal steps
def _sweep(asked: _Asked) -> fx.Graph:
    return _batched(asked.repeat, asked.steps, tensor_body(asked.repeat), None)


def check_plain(repeat: Repeat) -> None:
    """Raise `PartitionError` for steps that are no function of their reads, written without loops whose steps carry."""
    for inner in loops_inside(repeat):
        if has_carry(inner):
            raise PartitionError(
                f"a step of {repeat.name} runs {inner.name}, a loop of its own, whose steps read others"
            )
    _check_numbers(repeat)


def _check_numbers(repeat: Repeat) -> None:
    if takes_numbers(repeat):
        raise PartitionError(f"a step of {repeat.name} reads a number that changes with a loop around it")


def batch_step(
    repeat: Repeat, steps: int, body: Callable[..., Any], name: str, alone: Callable[..., Any] | None = None
) -> fx.GraphModule:
    """Any function of what one step of `repeat` reads, for `steps` steps at once, as `batch` has it.

    The calls that `alone` makes, the same function unless it batches something itself, must have batching rules.
    """
    return _with_names(_batched(repeat, steps, body, alone), repeat, name)


def _batched(repeat: Repeat, steps: int, body: Callable[..., Any], alone: Callable[..., Any] | None) -> fx.Graph:
    order = read_order(repeat.reads)
    shared = [isinstance(repeat.reads[j], (Invariant, Prefix)) for j in order]
    if all(shared):
        raise PartitionError(f"{repeat.name}: no read changes with the step")
    position = [order.index(j) for j in range(len(order))]
    in_dims = tuple(None if shared[k] else 0 for k in position)

    def sweep(*reads: Tensor) -> tuple[Tensor, ...]:
        return torch.vmap(body, in_dims=in_dims, out_dims=0)(*(reads[k] for k in position))

    sizes = [() if s else (steps,) for s in shared]
    module = _trace(sweep, repeat, list(zip(order, sizes, strict=True)), alone or body)
    for node, j in zip(module.graph.find_nodes(op="placeholder"), order, strict=True):
        read = repeat.reads[j]
        if isinstance(read, Table) and steps == repeat.length:
            _drop_whole_selections(node, read)
    drop_unit_factors(module.graph)
    join_bias(module.graph)
    module.graph.eliminate_dead_code()
    return module.graph


def _with_names(graph: fx.Graph, repeat: Repeat, class_name: str) -> fx.GraphModule:
    """The graph with its placeholders called as in the body."""
    names = [node.name for node in repeat.body.graph.find_nodes(op="placeholder")]
    renamed = Graph()
    copied: dict[fx.Node, fx.Node] = {}
    fresh = iter([names[j] for j in read_order(repeat.reads)])
    for node in graph.nodes:
        if node.op == "placeholder":
            copied[node] = renamed.placeholder(next(fresh))
            copied[node].meta.update(node.meta)
        elif node.op == "output":
            renamed.output(fx.map_arg(node.args[0], lambda source: copied[source]))
        else:
            copied[node] = renamed.node_copy(node, lambda source: copied[source])
    return lazy_module(renamed, class_name)


def tensor_body(repeat: Repeat) -> fx.GraphModule:
    """The body with 0-d tensors for tables, and one sweep for each loop inside, or its steps where these carry.

    Raises `PartitionError` where it can be written in no such way.
    """
    _check_numbers(repeat)
    opened = open_with_tensors(repeat)
    attend_by_samples(opened)
    decompose(opened.graph)
    for node in opened.graph.nodes:
        if isinstance(node.target, Nested):
            node.target = _inside(node.target)
    return lazy_module(opened.graph, opened.name)


def is_short(repeat: Repeat) -> bool:
    """Whether all steps, one after another, may be part of a step of the loop around."""
    return repeat.length * len(repeat.body.graph.nodes) <= MAX_CALLS


def _inside(nested: Nested) -> Callable[..., tuple[Tensor, ...]]:
    """All steps of a loop inside at once; one after another where they read one another, if they are few."""
    inner = nested.repeat
    if inner.until is not None:
        raise PartitionError(f"{inner.name}, a loop in a step, stops on a value, which is another one in each")
    if not has_carry(inner):
        return as_sweep(inner, batch(inner, inner.length))
    if not is_short(inner):
        raise PartitionError(f"the steps of {inner.name}, a loop in a step, make more than {MAX_CALLS} calls in a row")
    return nested


def _trace(
    sweep: Callable[..., Any], repeat: Repeat, reads: list[tuple[int, tuple[int, ...]]], alone: Callable[..., Any]
) -> fx.GraphModule:
    placeholders = repeat.body.graph.find_nodes(op="placeholder")
    shared = [isinstance(read, (Invariant, Prefix)) for read in repeat.reads]
    with torch.no_grad(), _without_log(), FakeTensorMode():
        one = [example(node, repeat, read, ()) for node, read in zip(placeholders, repeat.reads, strict=True)]
        fakes = [example(placeholders[j], repeat, repeat.reads[j], size) for j, size in reads]
        try:
            check_rules(alone, one, shared)
            return trace(sweep, fakes)
        except Exception as error:  # vmap and fake tensors raise many types for an op that they do not support
            reason = str(error).strip().splitlines()[0]
            raise PartitionError(f"{repeat.name} at {repeat.source} cannot be batched: {reason}") from error


def example(node: fx.Node, repeat: Repeat, read: Read, size: tuple[int, ...]) -> Tensor:
    """What a placeholder of a step gets, of so many steps at once; numbers are tensors."""
    if isinstance(read, Table):
        one = table_tensor(Table(read.values[:1]), device_of(repeat))
        return one.new_empty(size)
    spec = node.meta["spec"]
    return torch.empty((*size, *spec.shape), dtype=spec.dtype, device=spec.device)


def drop_unit_factors(graph: fx.Graph) -> None:
    """x * 1, which batching leaves for the factors alpha and beta of addmm, is x."""
    for node in graph.nodes:
        if node.target is aten.mul.Scalar and type(node.args[1]) is int and node.args[1] == 1:
            x = node.args[0]
            if x.meta["val"].dtype == node.meta["val"].dtype:
                node.replace_all_uses_with(x)


def _silence(is_here: Callable[[], bool]) -> Undo:
    """What cannot be traced is refused with a reason: torch's own account of it, in the log, would only alarm."""
    log = logging.getLogger(FakeTensorMode.__module__)

    def is_shown(_: logging.LogRecord) -> bool:
        return not is_here()

    log.addFilter(is_shown)
    return lambda: log.removeFilter(is_shown)


_without_log = Together(_silence)


def _drop_whole_selections(table: fx.Node, read: Table) -> None:
    """index_select(x, dim, [0, 1, ..., n-1]) of all n entries is x."""
    for user in list(table.users):
        if user.target is not aten.index_select.default:
            continue
        x, dim = user.args[:2]
        assert isinstance(x, fx.Node) and isinstance(dim, int)
        if read.values == tuple(range(x.meta["val"].shape[dim])):
            user.replace_all_uses_with(x)
