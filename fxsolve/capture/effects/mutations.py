"""Side effects at run time: tensors are written into, and places set, once a run is known to be valid."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fxsolve.capture.program import Alias, Mutation, Program, attribute_of
from fxsolve.state.held import Held, hold
from fxsolve.state.memory import copy_of, is_dense, storage_of
from fxsolve.state.stores import Added, Stores
from fxsolve.state.storing import make_view, settle, store
from fxsolve.torch_compat.tensors import uncounted_writes
from fxsolve.torch_compat.trees import pytree

_MOST = 4  # names in a note


@dataclass(frozen=True)
class Effects:
    """What a run leaves behind besides its outputs; `attributes` are all tensors that the program owns."""

    mutations: tuple[Mutation, ...]
    aliases: tuple[Alias, ...]
    attributes: Mapping[str, Tensor]
    stores: Stores


def effects_of(program: Program) -> Effects:
    """The side effects of a program."""
    targets = [str(node.target) for node in program.module.graph.find_nodes(op="get_attr")]
    attributes = {target: attribute_of(program, target) for target in targets}
    return Effects(program.mutations, program.aliases, attributes, program.stores)


def note_mutations(program: Program) -> tuple[str, ...]:
    """Notes that name the tensors that the program writes into, and the attributes that it sets."""
    given = len(program.example.inputs) - len(program.stores.reads)
    labels = {given + k: read.place.label for k, read in enumerate(program.stores.reads)}

    def listed(places: Iterable[int | str]) -> str:
        return _listed([labels.get(one, f"input {one}") if isinstance(one, int) else one for one in places])

    mutations, moves = program.mutations, program.stores.moves
    written = (f"writes new values into {listed(one.place for one in mutations)} after each run",) if mutations else ()
    moved = (f"sets the data of {listed(one.place for one in moves)} after each run",) if moves else ()
    writes = program.stores.writes
    names = [place.label for place, recipe in writes if not isinstance(recipe, Added)]
    totals = [f"{sum(one.numbers):g} to {place.label}" for place, one in writes if isinstance(one, Added)]
    assigned = (f"sets {_listed(names)} after each run",) if names else ()
    counted = (f"adds {_listed(totals)} after each run",) if totals else ()
    return (*written, *moved, *assigned, *counted)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return f"{', '.join(names[:_MOST])}{more}"


def is_apart(effects: Effects, inputs: tuple[Tensor, ...]) -> bool:
    """Whether no input shares memory with a tensor of the program where one of the two is written into.

    Inputs that share memory with one another are told apart by the signature of a call.
    """
    if not effects.mutations:
        return True
    theirs = {storage_of(tensor) for tensor in inputs}
    ours = {storage_of(tensor) for tensor in effects.attributes.values()}
    return all(storage_of(tensor) not in theirs & ours for tensor in _written(effects, inputs))


def is_laid_out(effects: Effects) -> bool:
    """Whether the attributes that are moved to other memory lie in theirs as those of the recorded run did."""
    moves = [(place, strides) for place, _, strides in effects.stores.moves if isinstance(place, str)]
    return all(effects.attributes[place].stride() == strides for place, strides in moves)


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
    if not effects.aliases:
        return outputs
    written, results = _written(effects, inputs), list(outputs)
    for alias in effects.aliases:
        tensor = written[alias.mutation]
        results[alias.output] = tensor if alias.view is None else make_view(tensor, alias.view)
    return tuple(results)


def hand_on(effects: Effects, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Set the places that the program sets, after all writes; returns the outputs as the program returns them."""
    outputs = restore_aliases(effects, inputs, outputs)
    if not (effects.stores.leaves_tensors or effects.stores.shared):
        return outputs
    outputs = settle(effects.stores, inputs, effects.attributes, outputs)
    for tensor, move in zip(_moved(effects, inputs), effects.stores.moves, strict=True):
        tensor.data = outputs[move.output]
    store(effects.stores, outputs)
    return outputs


@dataclass(frozen=True)
class Kept:
    """Tensors, copies of what they held, and what rebound places held."""

    tensors: tuple[Tensor, ...]
    copies: tuple[Tensor, ...]
    held: Held

    def swap(self) -> Any:
        """Put everything back, unseen by autograd; returns copies of what was there instead, in the form of `now`."""
        newer = copy_result(self.now())
        self.put_back()
        return newer

    def put_back(self) -> None:
        self.held.put_back()
        _overwrite(self.tensors, self.copies)

    def now(self) -> Any:
        """What the tensors and the places hold now."""
        return self.tensors, self.held.now()


def keep(effects: Effects, inputs: tuple[Tensor, ...]) -> Kept:
    """Keep what the tensors hold that are about to be written into, and the places that are about to be set."""
    tensors = _written(effects, inputs)
    held = hold((one.place for one in effects.stores.writes), _moved(effects, inputs))
    return Kept(tensors, tuple(map(copy_of, tensors)), held)


def copy_result(result: Any) -> Any:
    """A copy of the return value of a program."""
    return pytree.tree_map_only(Tensor, copy_of, result)


@contextmanager
def rewound(program: Program, inputs: tuple[Tensor, ...]) -> Iterator[None]:
    """In the body, what `program` writes into, or sets, is as it was before the recorded run of `inputs`."""
    kept = keep(effects_of(program), inputs)
    # Memory that a tensor has left may still be seen, through what the run returned. Only dense one is written into.
    left = tuple(memory for _, memory in program.example.before.memories if is_dense(memory))
    contents = tuple(map(copy_of, left))
    counted = [tensor for tensor in kept.tensors if not tensor.is_inference()]
    # In the end they are what the recorded run left: its result can still be differentiated. No public name says so.
    with uncounted_writes(tuple(counted)):
        try:
            with as_before(program):
                _overwrite(kept.tensors, tuple(_before(program, mutation) for mutation in program.mutations))
                yield
        finally:
            kept.put_back()
            _overwrite(left, contents)


@contextmanager
def as_before(program: Program) -> Iterator[None]:
    """In the body, the places that `program` sets, and the tensors that it moves, are as before its recorded run."""
    before = program.example.before
    held = hold((place for place, _ in before.values), (tensor for tensor, _ in before.memories))
    try:
        before.put_back()
        yield
    finally:
        held.put_back()


@contextmanager
def counting_nothing(effects: Effects) -> Iterator[None]:
    """In the body the program runs again for a call that it has answered: what it counts there does not stay."""
    held = hold(one.place for one in effects.stores.writes)
    try:
        yield
    finally:
        held.put_back()


def is_read_live(program: Program, tensors: tuple[Tensor, ...]) -> bool:
    """Whether all of `tensors`, found in rebound places, are inputs of `program`, and not attributes; and no others."""
    found = set(map(id, tensors))
    attributes = {id(tensor) for tensor in effects_of(program).attributes.values()}
    return found.isdisjoint(attributes) and found.issuperset(map(id, program.example.state))


def _overwrite(tensors: tuple[Tensor, ...], values: tuple[Tensor, ...]) -> None:
    """Through `.data`, which neither counts a version nor asks whether a gradient is wanted."""
    with torch.no_grad():
        for tensor, value in zip(tensors, values, strict=True):
            tensor.data.copy_(value)


def _written(effects: Effects, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The live tensors of the mutations."""
    return _at(effects, inputs, (mutation.place for mutation in effects.mutations))


def _moved(effects: Effects, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The live tensors that are moved to other memory."""
    return _at(effects, inputs, (move.place for move in effects.stores.moves))


def _at(effects: Effects, inputs: tuple[Tensor, ...], places: Iterable[int | str]) -> tuple[Tensor, ...]:
    return tuple(inputs[place] if isinstance(place, int) else effects.attributes[place] for place in places)


def _before(program: Program, mutation: Mutation) -> Tensor:
    place = mutation.place
    return program.example.inputs[place] if isinstance(place, int) else program.example.attributes[place]
