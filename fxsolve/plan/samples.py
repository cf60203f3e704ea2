"""Which dimension of each value of a step is that of the samples of a batch: no sample depends on another."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, fx

from fxsolve.errors import PartitionError
from fxsolve.ir.nested import loops_inside
from fxsolve.ir.reads import read_order
from fxsolve.ir.spec import Invariant, Lag, Prefix, Read, Repeat, Table
from fxsolve.ir.tables import device_of
from fxsolve.ir.tensor_spec import TensorSpec
from fxsolve.lower.fewer_samples import Samples, thin, unknown_outputs
from fxsolve.lower.lower import sweep_loop
from fxsolve.ops.domains.dependence import Dependence
from fxsolve.ops.domains.entries import NEVER, Entries, entries
from fxsolve.ops.interpret import Interpreter
from fxsolve.plan.examples import MOST_LABELS, along, unlabelled, values_in, with_examples
from fxsolve.solvers.samples import SampleLoops


def sample_loops(repeat: Repeat, sizes: tuple[int, ...], bounds: list[int]) -> SampleLoops:
    """The loop over fewer samples, for each of `sizes`, with windows between `bounds`.

    Raises `PartitionError` where samples mix, or are no more than `sizes`.
    """
    samples = find_samples(repeat)
    if any(size >= samples.size for size in sizes):
        raise PartitionError(f"{repeat.name} has {samples.size} samples; batches of {max(sizes)} are not fewer")
    loops = {size: sweep_loop(thin(repeat, samples, size), bounds) for size in sizes}
    placeholders = repeat.body.graph.find_nodes(op="placeholder")
    order = read_order(repeat.reads)
    reads = tuple(_in_stack(repeat.reads[j], samples.dims.get(placeholders[j].name)) for j in order)
    return SampleLoops(loops, reads, sample_dims(repeat, samples))


def sample_dims(repeat: Repeat, samples: Samples) -> dict[int, int]:
    """The dimension of the samples in the stack of each output that steps read from one another, by number."""
    results: Any = repeat.body.graph.output_node().args[0]
    return {number: samples.dims[results[number].name] + 1 for number in unknown_outputs(repeat)}


def _in_stack(read: Read, dim: int | None) -> int | None:
    """The dimension in what a sweep takes for the read."""
    return dim if dim is None or isinstance(read, (Prefix, Invariant)) else dim + 1


def find_samples(repeat: Repeat) -> Samples:
    """The samples of a batch in the state of a repeat, proved from the ops of a step.

    Raises `PartitionError` where no dimension of the state is one whose entries never mix.
    """
    if not unknown_outputs(repeat):
        raise PartitionError(f"no step of {repeat.name} reads another")
    if loops_inside(repeat):
        raise PartitionError(f"the steps of {repeat.name} have loops of their own")
    if values_in(repeat) > MOST_LABELS:
        raise PartitionError(f"a step of {repeat.name} holds {values_in(repeat)} numbers, more than {MOST_LABELS}")
    interpreter = Interpreter(with_examples(repeat.body), Dependence(), garbage_collect_values=False)
    for size in _sizes(repeat):
        for guess in _GUESSES:
            dims = _prove(repeat, interpreter, size, _read_dims(repeat, size, guess))
            if dims is not None:
                return Samples(size, dims)
    raise PartitionError(f"the steps of {repeat.name} mix the entries of their state along every dimension")


# Weights may be as wide as a batch is long, so what no step changes, or no other step writes, may be shared.
_GUESSES: tuple[Callable[[Read], bool], ...] = (
    lambda _: True,
    lambda read: not isinstance(read, Invariant),
    lambda read: isinstance(read, (Lag, Prefix)),
)


def _sizes(repeat: Repeat) -> Iterator[int]:
    """Sizes that may be that of a batch: those of the first value that steps read from one another."""
    results: Any = repeat.body.graph.output_node().args[0]
    specs: list[TensorSpec] = [results[number].meta["spec"] for number in unknown_outputs(repeat)]
    common = set[int].intersection(*(set(spec.shape) for spec in specs))
    return (size for size in dict.fromkeys(specs[0].shape) if size > 1 and size in common)


def _read_dims(repeat: Repeat, size: int, is_batched: Callable[[Read], bool]) -> list[int | None]:
    """The first dimension of this size of each read that holds a batch; not that of the steps of a buffer."""
    dims: list[int | None] = []
    for node, read in zip(repeat.body.graph.find_nodes(op="placeholder"), repeat.reads, strict=True):
        shape = node.meta["spec"].shape if is_batched(read) and not isinstance(read, Table) else ()
        steps = read.dim if isinstance(read, Prefix) else None
        dims.append(next((dim for dim, width in enumerate(shape) if width == size and dim != steps), None))
    return dims


def _prove(repeat: Repeat, interpreter: Interpreter, size: int, read_dims: list[int | None]) -> dict[str, int] | None:
    """The dimension of the samples in every value that the state depends on; None where any of these mixes samples."""
    ranks = torch.arange(size, device=device_of(repeat))
    passes = [(one, _labels(repeat, interpreter, read_dims, one)) for one in (ranks, ranks.flip(0))]
    dims: dict[str, int] = {}
    for node in _live(repeat):
        found = [(one, labels[node.name]) for one, labels in passes if isinstance(labels.get(node.name), Tensor)]
        if not found or all(bool((labels == NEVER).all()) for _, labels in found):
            continue
        dim = next((dim for dim in range(found[0][1].dim()) if all(_keeps(*one, dim) for one in found)), None)
        if dim is None:
            return None
        dims[node.name] = dim
    placeholders = [node.name for node in repeat.body.graph.find_nodes(op="placeholder")]
    return dims if _agree(repeat, dims, dict(zip(placeholders, read_dims, strict=True))) else None


def _labels(repeat: Repeat, interpreter: Interpreter, read_dims: list[int | None], ranks: Tensor) -> dict[str, Tensor]:
    """For each value of a step, the highest rank of the samples that each of its entries may depend on."""
    reads = zip(interpreter.inputs, repeat.reads, read_dims, strict=True)
    inputs = [_labelled(node, read, dim, ranks) for node, read, dim in reads]
    with torch.no_grad():
        interpreter.run(*inputs)
    firsts = {node.name: _first(value) for node, value in interpreter.env.items()}
    return {name: value.latest for name, value in firsts.items() if isinstance(value, Entries)}


def _first(value: Any) -> Any:
    """Of several results, the first: where an op is told of their shape, it is of that one."""
    return value[0] if isinstance(value, (tuple, list)) and value else value


def _labelled(node: fx.Node, read: Read, dim: int | None, ranks: Tensor) -> Entries | int | float:
    """A read by its samples; any number of a table will do, where it does not tell one sample from the next."""
    if isinstance(read, Table):
        return read.values[0]
    if dim is None:
        return unlabelled(node, ranks.device)
    return entries(along(ranks, node.meta["val"].shape, dim))


def _keeps(ranks: Tensor, labels: Tensor, dim: int) -> bool:
    """Whether no entry depends on a sample of a higher rank than its own place along the dimension has."""
    if labels.shape[dim] != len(ranks):
        return False
    return not bool((labels > along(ranks, labels.shape, dim)).any())


def _live(repeat: Repeat) -> set[fx.Node]:
    """What the state of the next steps depends on."""
    results: Any = repeat.body.graph.output_node().args[0]
    pending, live = [results[number] for number in unknown_outputs(repeat)], set[fx.Node]()
    while pending:
        node = pending.pop()
        if node not in live:
            live.add(node)
            pending += node.all_input_nodes
    return live


def _agree(repeat: Repeat, dims: Mapping[str, int], read_dims: Mapping[str, int | None]) -> bool:
    """Whether the samples lie in each output where the steps that read it expect them."""
    results: Any = repeat.body.graph.output_node().args[0]
    for node, read in zip(repeat.body.graph.find_nodes(op="placeholder"), repeat.reads, strict=True):
        if not isinstance(read, (Lag, Prefix)):
            continue
        expected = read_dims[node.name]
        if expected is None:
            return False
        entry = expected - 1 if isinstance(read, Prefix) and expected > read.dim else expected
        if dims.get(results[read.output].name) != entry:
            return False
    return True
