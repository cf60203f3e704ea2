"""Side effects on tensors at run time: new values are copied into the live tensors once a run is known to be valid."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from fxsolve.tracer.externals import copy_of, storage_of
from fxsolve.tracer.program import Alias, Mutation, Program, attribute_of

_MOST = 4  # names in a note


@dataclass(frozen=True)
class Effects:
    """What a run leaves behind besides its outputs; `attributes` are all tensors that the program owns."""

    mutations: tuple[Mutation, ...]
    aliases: tuple[Alias, ...]
    attributes: Mapping[str, Tensor]


def effects_of(program: Program) -> Effects:
    """The side effects of a program on tensors."""
    targets = [str(node.target) for node in program.module.graph.find_nodes(op="get_attr")]
    attributes = {target: attribute_of(program, target) for target in targets}
    return Effects(program.mutations, program.aliases, attributes)


def note_mutations(program: Program) -> tuple[str, ...]:
    """A note that names the tensors that the program writes into."""
    places = [f"input {m.place}" if isinstance(m.place, int) else m.place for m in program.mutations]
    more = f" and {len(places) - _MOST} more" if len(places) > _MOST else ""
    return (f"writes new values into {', '.join(places[:_MOST])}{more} after each run",) if places else ()


def is_apart(effects: Effects, inputs: tuple[Tensor, ...]) -> bool:
    """Whether no input shares memory with a tensor of the program where one of the two is written into.

    Inputs that share memory with one another are told apart by the signature of a call.
    """
    if not effects.mutations:
        return True
    theirs = {storage_of(tensor) for tensor in inputs}
    ours = {storage_of(tensor) for tensor in effects.attributes.values()}
    return all(storage_of(tensor) not in theirs & ours for tensor in _written(effects, inputs))


def separate(effects: Effects, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Clone every output that is a view of a tensor about to be written into: it holds a value from before."""
    storages = {storage_of(tensor) for tensor in _written(effects, inputs)}
    return tuple(output.clone() if storage_of(output) in storages else output for output in outputs)


def write(effects: Effects, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Copy the new values, which are among `outputs`, into their tensors; returns the outputs."""
    if not effects.mutations:
        return outputs
    outputs = separate(effects, inputs, outputs)
    for mutation, tensor in zip(effects.mutations, _written(effects, inputs), strict=True):
        target = tensor if mutation.is_counted else tensor.data
        target.copy_(outputs[mutation.output])
    return outputs


def restore_aliases(effects: Effects, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The outputs; those that share memory with a tensor that was written into are that tensor, or views of it."""
    written, results = _written(effects, inputs), list(outputs)
    for alias in effects.aliases:
        results[alias.output] = _view(written[alias.mutation], alias.view)
    return tuple(results)


@dataclass(frozen=True)
class Kept:
    """Tensors, and copies of what they held."""

    tensors: tuple[Tensor, ...]
    copies: tuple[Tensor, ...]

    def swap(self) -> tuple[Tensor, ...]:
        """Put the copies back, unseen by autograd; returns copies of what the tensors held instead."""
        newer = tuple(map(copy_of, self.tensors))
        _overwrite(self.tensors, self.copies)
        return newer


def keep(effects: Effects, inputs: tuple[Tensor, ...]) -> Kept:
    """Keep what the tensors hold that are about to be written into."""
    tensors = _written(effects, inputs)
    return Kept(tensors, tuple(map(copy_of, tensors)))


def copy_result(result: Any) -> Any:
    """A copy of the return value of a program."""
    return pytree.tree_map_only(Tensor, copy_of, result)


@contextmanager
def rewound(program: Program, inputs: tuple[Tensor, ...]) -> Iterator[None]:
    """In the body, the tensors that `program` writes into hold what they held before the recorded run of `inputs`."""
    kept = keep(effects_of(program), inputs)
    try:
        _overwrite(kept.tensors, tuple(_before(program, mutation) for mutation in program.mutations))
        yield
    finally:
        _overwrite(kept.tensors, kept.copies)


def _overwrite(tensors: tuple[Tensor, ...], values: tuple[Tensor, ...]) -> None:
    """Through `.data`, which neither counts a version nor asks whether a gradient is wanted."""
    with torch.no_grad():
        for tensor, value in zip(tensors, values, strict=True):
            tensor.data.copy_(value)


def _written(effects: Effects, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The live tensors of the mutations."""
    places = (mutation.place for mutation in effects.mutations)
    return tuple(inputs[place] if isinstance(place, int) else effects.attributes[place] for place in places)


def _before(program: Program, mutation: Mutation) -> Tensor:
    place = mutation.place
    return program.example.inputs[place] if isinstance(place, int) else program.example.attributes[place]


def _view(tensor: Tensor, view: tuple[tuple[int, ...], tuple[int, ...], int] | None) -> Tensor:
    if view is None:
        return tensor
    shape, stride, offset = view
    return tensor.as_strided(shape, stride, tensor.storage_offset() + offset)
