"""When a recorded program may be used again: everything about a call that recording took for granted."""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch
from torch import Tensor, nn

from fxsolve.errors import CaptureError, CommunicationError
from fxsolve.runtime.forms import PLAIN_LEAVES, Forms, are_plain_tensors, describe, describe_tensors, flatten, sameness
from fxsolve.runtime.modes import AUTOCAST_DEVICES, runs_as_written
from fxsolve.state.live import NO_STATE, LiveSet, LiveState, read_live
from fxsolve.state.places import PLAIN, is_container
from fxsolve.state.processes import communicates
from fxsolve.state.stores import Stores
from fxsolve.state.tokens import HashedState, callable_token, token_of
from fxsolve.state.watch import Watch
from fxsolve.torch_compat.dispatch import (
    DeviceContext,
    count_dispatch_modes,
    count_function_modes,
    current_transform,
    function_modes,
    has_hooks_on_saved_tensors,
    is_any_autocast_enabled,
    is_forward_mode,
    tracing_state,
)
from fxsolve.torch_compat.modules import GLOBAL_HOOKS

UNSEEN = "not called yet, or only under checkpointing, transforms or modes, where the original runs"
_MAX_WATCHES = 8


@dataclass(frozen=True)
class CallKey:
    """One call, taken apart: its tensors in pytree order and the key under which its entry is kept."""

    tensors: tuple[Tensor, ...]
    key: HashedState
    state: LiveState


class Reader:
    """Reads the calls of one program."""

    def __init__(self, program: Any) -> None:
        self._live = LiveSet()
        self._program = Watch(program, self._live)
        self._arguments: dict[int, tuple[Any, Watch]] = {}
        self._key: HashedState | None = None
        self._forms = Forms()

    def read(self, args: tuple[Any, ...], kwargs: dict[str, Any], recorded: Stores | None = None) -> CallKey:
        """Flatten a call; `recorded` is what a recording of it has shown.

        The key holds the structure of the arguments; of each tensor the shape, stride, dtype, device and whether it
        wants a gradient, which tensors are one object, and which share memory; the values of plain arguments, and what
        is watched of modules, functions and objects among them; the modes of torch; what is watched of the program; and
        what it keeps in places that it rebinds, tensors there as if they were arguments.

        Raises `CaptureError` for an argument that may change without notice, such as an iterator or a NumPy array, and
        for what communicates with other processes.
        """
        leaves, spec = flatten(args, kwargs)
        grad = torch.is_grad_enabled()
        tensors, others = self._sort(leaves, grad)
        arguments = (spec, others, *self._forms.of(tensors))
        parts = (arguments, _modes(grad), self._program.state(grad))
        kind = HashedState(parts) if self._live.made() else parts
        if recorded is not None:
            self._live.settle(kind, recorded)
        state = self._read_state(leaves, kind)
        kept = (state.tokens, tuple(map(describe, state.tensors)))
        if state.tensors:
            kept = (*kept, sameness((*tensors, *state.tensors)))
        return CallKey(tensors, self._known((*parts, kept)), state)

    def _sort(self, leaves: Sequence[Any], grad: bool) -> tuple[tuple[Tensor, ...], tuple[Hashable, ...]]:
        """The tensors among the leaves, and what is compared of all leaves."""
        if are_plain_tensors(leaves):
            return tuple(leaves), (Tensor,) * len(leaves)
        tensors = tuple([leaf for leaf in leaves if isinstance(leaf, Tensor)])
        for tensor in [tensor for tensor in tensors if type(tensor) not in PLAIN_LEAVES]:
            if reason := communicates(tensor, "an argument"):
                raise CommunicationError(reason)
        # A tensor leaves a mark: f(x, 2) is another call than f(2, x).
        return tensors, tuple([Tensor if isinstance(leaf, Tensor) else self._token(leaf, grad) for leaf in leaves])

    def _known(self, parts: tuple[Hashable, ...]) -> HashedState:
        """The key with these parts; the very same as at the last call, where they are equal."""
        key = self._key
        if key is None or key.parts != parts:
            self._key = key = HashedState(parts)
        return key

    def _read_state(self, leaves: Iterable[Any], kind: Hashable) -> LiveState:
        """What live places of the program, and of what is watched among these arguments, hold."""
        if not self._live.count:
            return NO_STATE
        watched = (self._arguments[id(leaf)][1] for leaf in leaves if id(leaf) in self._arguments)
        looks = [self._program.live(), *(watch.live() for watch in watched)]
        places = (place for places, _ in looks for place in places)
        return read_live(self._live, places, frozenset().union(*(fixed for _, fixed in looks)), kind)

    def learn(self, stores: Stores) -> bool:
        """From now on what is in the places of these is known by its form; returns whether keys may be others then."""
        return self._live.add(stores)

    def _token(self, leaf: Any, grad: bool) -> Hashable:
        if type(leaf) in PLAIN or is_container(leaf) or isinstance(leaf, slice | Enum | torch.Generator):
            return token_of(leaf)
        if hasattr(leaf, "__next__"):
            raise CaptureError(f"an argument is a {type(leaf).__name__}, which gives other items at the next call")
        if not (isinstance(leaf, nn.Module) or callable(leaf) or hasattr(leaf, "__dict__")):
            return _value(leaf)
        _, watch = self._arguments.get(id(leaf)) or self._watch(leaf)
        return callable_token(leaf), watch.state(grad)

    def _watch(self, leaf: Any) -> tuple[Any, Watch]:
        if len(self._arguments) >= _MAX_WATCHES:
            self._arguments.clear()
        self._arguments[id(leaf)] = entry = (leaf, Watch(leaf, self._live))
        return entry

    def sees_communication(self) -> bool:
        """Whether a part of the program was seen to communicate with other processes by itself."""
        return self._program.sees_communication()

    def is_unchanged(self, call: CallKey) -> bool:
        """Whether the program is in the state in which `call` found it."""
        state = self._program.state(torch.is_grad_enabled())
        tokens = self._read_state([], HashedState(call.key.parts[:3])).tokens
        return state == call.key.parts[2] and tokens == call.state.tokens[: len(tokens)]


def family_of(call: CallKey) -> Hashable:
    """The key of a call without the sizes of its tensors, and without its integers.

    Calls of one family may be one program at several lengths.
    """
    (spec, others, described, same), *rest = call.key.parts
    others = tuple(int if type(token) is tuple and token[0] is int else token for token in others)
    sizeless = tuple((kind, len(shape), *types) for kind, shape, _, *types in described)
    return (spec, others, sizeless, same, *rest)


def describe_call(call: CallKey) -> str:
    """The shapes and dtypes of the tensors of a call."""
    return describe_tensors(call.tensors)


def changed_part(before: HashedState, after: HashedState) -> str:
    """What differs between the keys of two calls, in words."""
    (arguments, modes, (program, _), kept), now = before.parts, after.parts
    if arguments != now[0]:
        return "the form of the arguments"
    if modes != now[1]:
        return "a mode of torch"
    names = [*_changed_names(program.parts, now[2][0].parts), *_changed_names(kept, now[3])]
    return f"the attribute {names[0]}" if names else "the program"


def _changed_names(before: Any, after: Any) -> Iterator[str]:
    """The names that stand before differing values, in nested tuples of pairs (name, value)."""
    if not isinstance(before, tuple) or not isinstance(after, tuple) or len(before) != len(after):
        return
    for k, (old, new) in enumerate(zip(before, after, strict=True)):
        if old != new:
            if k == 1 and isinstance(before[0], str) and before[0] == after[0]:
                yield before[0]
            yield from _changed_names(old, new)


def is_observed() -> bool:
    """Whether a recording, a dispatch mode, a transform or a compiler follows the operations of this thread.

    So do forward-mode derivatives, the search for anomalies, and hooks on what autograd saves, as
    `torch.utils.checkpoint` sets them: it counts what is saved.
    """
    return (
        runs_as_written()
        or count_dispatch_modes() > 0
        or current_transform() is not None
        or torch.compiler.is_compiling()
        or tracing_state() is not None
        or is_forward_mode()
        or torch.is_anomaly_enabled()
        or has_hooks_on_saved_tensors()
        or (count_function_modes() > 0 and not _default_device_only())
    )


def _default_device_only() -> bool:
    return all(isinstance(mode, DeviceContext) for mode in function_modes())


def _value(leaf: Any) -> Hashable:
    try:
        hash(leaf)
    except TypeError:
        name = type(leaf).__name__
        raise CaptureError(
            f"an argument is a {name}, whose values may change unseen; pass tensors or numbers"
        ) from None
    return type(leaf), leaf


def _modes(grad: bool) -> Hashable:
    inference, dtype = torch.is_inference_mode_enabled(), torch.get_default_dtype()
    device = torch.get_default_device() if count_function_modes() else None
    hooks = tuple(tuple(hooks) for hooks in GLOBAL_HOOKS) if any(GLOBAL_HOOKS) else ()
    deterministic = torch.are_deterministic_algorithms_enabled()
    return (grad, inference, dtype, deterministic, _autocast(), device, hooks)


def _autocast() -> Hashable:
    if not is_any_autocast_enabled():
        return ()
    enabled = (device for device in AUTOCAST_DEVICES if torch.is_autocast_enabled(device))
    return tuple((device, torch.get_autocast_dtype(device)) for device in enabled)
