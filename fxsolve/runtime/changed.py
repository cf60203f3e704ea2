"""Tensors that were written into between a forward and a backward pass, in words."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from fxsolve.capture.effects.mutations import Effects
from fxsolve.runtime.gradients import Original
from fxsolve.state.memory import version_of
from fxsolve.state.reach import Reach, find_reach, name_tensors
from fxsolve.state.snapshot import take_snapshot
from fxsolve.torch_compat.trees import pytree

_MOST = 8  # names in a message


class Changed(NamedTuple):
    """A tensor that a call read, where it is found, and its version then."""

    place: int | str
    tensor: Tensor
    version: int | None


def describe_changed(changed: Sequence[Changed], effects: Effects, inputs: int, original: Original) -> str:
    """The tensors by name with their versions; `inputs` is how many of them a call has."""
    names = [f"{_name(one, effects, inputs, original)} {_versions(one)}" for one in changed[:_MOST]]
    more = f" and {len(changed) - _MOST} more" if len(changed) > _MOST else ""
    return f"{', '.join(names)}{more}"


def _versions(one: Changed) -> str:
    form = f"{str(one.tensor.dtype).removeprefix('torch.')}{list(one.tensor.shape)}"
    return f"({form}, version {one.version} in the forward pass, {version_of(one.tensor)} now)"


def _name(one: Changed, effects: Effects, inputs: int, original: Original) -> str:
    """The qualified name of a parameter or buffer, the number of an input, or the place where Python keeps a tensor."""
    if isinstance(one.place, int):
        reads = effects.stores.reads
        given = inputs - len(reads)
        return f"input {one.place}" if one.place < given else reads[one.place - given].place.label
    reach = find_reach(original.program, tuple(pytree.tree_leaves((original.args, original.kwargs))))
    if id(one.tensor) in name_tensors(reach):
        return one.place
    return next((name for name, held in _held(reach) if _is_in(one.tensor, held)), one.place)


def _held(reach: Reach) -> Iterator[tuple[str, Any]]:
    """What is kept where the program finds it, by name; of modules also what their methods find in globals."""
    yield from ((slot.place.label, slot.held) for slot in take_snapshot(reach).slots)
    parts = (part for root in reach.modules.values() for part in root.modules())
    for forward in (type(part).forward for part in parts):
        yield from getattr(forward, "__globals__", {}).items()


def _is_in(tensor: Tensor, held: Any) -> bool:
    return any(leaf is tensor for leaf in pytree.tree_leaves(held))
