"""Tensors that a program finds and that outlive the call; of those that it writes into, the values from before."""

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx

from fxsolve.capture.effects.writable import why_not_again
from fxsolve.capture.program import Alias, Mutation
from fxsolve.capture.source import user_line
from fxsolve.errors import SideEffectError
from fxsolve.state.memory import copy_of, storage_of, version_of
from fxsolve.torch_compat.dispatch import without_modes
from fxsolve.torch_compat.operators import OpOverload
from fxsolve.torch_compat.tensors import is_view, write_count_of


class External(NamedTuple):
    """`place` is the number of an input, or the name of an attribute of the program."""

    tensor: Tensor
    node: fx.Node
    place: int | str
    label: str


@dataclass(frozen=True)
class Written:
    """An external tensor that is written into, a copy from before the first write, and what autograd knew then."""

    external: External
    before: Tensor
    version: int | None
    wanted_grad: bool

    def undo(self) -> None:
        """Put the old values back, unseen by autograd."""
        tensor = self.external.tensor
        if tensor.requires_grad and not self.wanted_grad and not is_view(tensor):
            tensor.detach_()
        with torch.no_grad():
            tensor.data.copy_(self.before)

    def mutation(self, output: int) -> Mutation:
        is_counted = self.version is None or write_count_of(self.external.tensor) != self.version
        return Mutation(self.external.place, output, is_counted)


@dataclass(frozen=True)
class Moved:
    """An external tensor whose `data` is set, a second tensor on the memory that it had, and what autograd knew."""

    external: External
    memory: Tensor
    wanted_grad: bool

    def check(self) -> None:
        """Raises SideEffectError if setting its memory again is not all that has to be done."""
        tensor, memory = self.external.tensor, self.memory
        changed = tensor.shape != memory.shape or tensor.dtype != memory.dtype or tensor.device != memory.device
        if tensor.requires_grad != self.wanted_grad or (tensor.requires_grad and changed):
            raise SideEffectError(f"the program makes {self.external.label} another kind of tensor.")

    def undo(self) -> None:
        """Put the tensor back on its memory."""
        self.external.tensor.data = self.memory


class Externals:
    """All external tensors that were seen, by the memory that they were on before the run."""

    def __init__(self) -> None:
        self._all: list[External] = []
        self._seen: dict[int, list[External]] = defaultdict(list)
        self._written: dict[int, Written] = {}
        self._moved: dict[int, Moved] = {}

    @property
    def written(self) -> tuple[Written, ...]:
        """In the order of the first writes; for a tensor that has moved, the one that is left on its memory."""
        return tuple(self._written.values())

    @property
    def moved(self) -> tuple[Moved, ...]:
        """In the order of the first moves."""
        return tuple(self._moved.values())

    def before(self) -> dict[int, Tensor]:
        """What the tensors held before the run that were written into or have moved, by the ids of these."""
        written = {id(one.external.tensor): one.before for one in self.written}
        moved = {id(one.external.tensor): written.get(id(one.memory), one.memory) for one in self.moved}
        return written | moved

    def all(self) -> tuple[External, ...]:
        """Every external tensor, each once."""
        return tuple(self._all)

    def memories(self) -> tuple[External, ...]:
        """As `all`; for every tensor that has moved, the one that is left on its memory."""
        return tuple(external for sharing in self._seen.values() for external in sharing)

    def add(self, external: External) -> None:
        """Note a tensor; raises SideEffectError if it shares memory with one that was written into."""
        storage = storage_of(external.tensor)
        if storage in self._written:
            raise _shares_memory(external, self._written[storage].external)
        if all(external.tensor is not seen.tensor for seen in self._seen[storage]):
            self._seen[storage].append(external)
            self._all.append(external)

    def before_move(self, tensor: Tensor) -> None:
        """Keep the memory of an external tensor whose `data` is about to be set.

        Raises:
            SideEffectError: the tensor stands for an argument that gradients flow through.
        """
        storage = storage_of(tensor)
        external = next((one for one in self._seen.get(storage, ()) if one.tensor is tensor), None)
        if external is None:
            return  # it was made in the call, or has moved before
        if isinstance(external.place, int) and not tensor.is_leaf:
            raise SideEffectError(
                f"{user_line()}: the program sets the data of {external.label}, which outlives the call and was "
                "computed with gradients; set that of a detached one."
            )
        with without_modes():
            memory = tensor.detach()
        self._moved[id(tensor)] = Moved(external, memory, tensor.requires_grad)
        left = external._replace(tensor=memory)
        self._seen[storage] = [left if one is external else one for one in self._seen[storage]]
        if (written := self._written.get(storage)) is not None:
            self._written[storage] = replace(written, external=left, wanted_grad=False)

    def before_write(self, function: OpOverload, target: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Keep the values of an external tensor that `function` is about to write into through `target`.

        Raises:
            SideEffectError: the write could not be made again by copying the new values into the tensor.
        """
        storage = storage_of(target)
        if not self._seen.get(storage):
            return
        external, *others = self._seen[storage]
        if others:
            raise _shares_memory(external, others[0])
        problem = why_not_again(function, target, external.tensor, args, kwargs)
        if problem:
            raise SideEffectError(
                f"{user_line()}: {function} writes into {external.label}, which outlives the call, {problem}; "
                "write into a clone of it."
            )
        if storage not in self._written:
            self._written[storage] = _keep(external)

    def check(self) -> None:
        """Raises SideEffectError if a write left more behind than new values."""
        for written in self.written:
            tensor, before = written.external.tensor, written.before
            if tensor.requires_grad != written.wanted_grad or tensor.shape != before.shape:
                raise SideEffectError(f"the program makes {written.external.label} another kind of tensor.")
        for moved in self.moved:
            moved.check()

    def undo(self) -> None:
        """Put back what was written over, and where it was."""
        for moved in self.moved:
            moved.undo()
        for written in self.written:
            written.undo()


def find_aliases(outputs: tuple[Tensor, ...], written: tuple[Written, ...]) -> tuple[Alias, ...]:
    """Which outputs of the program share memory with a tensor that it writes into.

    Raises:
        SideEffectError: an output reads that memory as another type.
    """
    owner = {storage_of(one.external.tensor): number for number, one in enumerate(written)}
    aliases = []
    for number, output in enumerate(outputs):
        mutation = owner.get(storage_of(output))
        if mutation is None:
            continue
        tensor = written[mutation].external.tensor
        if output.dtype != tensor.dtype or output.is_conj() or output.is_neg():
            raise SideEffectError(f"output {number} is {written[mutation].external.label} read as another type.")
        if output.requires_grad and not tensor.requires_grad:
            raise SideEffectError(f"output {number} is {written[mutation].external.label} with gradients of its own.")
        offset = int(output.storage_offset() - tensor.storage_offset())
        view = None if output is tensor else (tuple(output.shape), output.stride(), offset)
        aliases.append(Alias(number, mutation, view))
    return tuple(aliases)


def _shares_memory(one: External, other: External) -> SideEffectError:
    return SideEffectError(
        f"{user_line()}: {one.label} shares memory with {other.label}, and the program writes into it; "
        "pass clones of them."
    )


def _keep(external: External) -> Written:
    tensor = external.tensor
    return Written(external, copy_of(tensor), version_of(tensor), tensor.requires_grad)
