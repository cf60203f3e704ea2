"""The arguments of a call as a flat list, and the form of the tensors among them: at most 0.3 us for each."""

from collections import OrderedDict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn

from fxsolve.state.memory import storage_of, storages_of
from fxsolve.state.places import PLAIN
from fxsolve.torch_compat.tensors import FormCheck, form_check
from fxsolve.torch_compat.trees import pytree

PLAIN_LEAVES = frozenset({*PLAIN, Tensor, nn.Parameter})
_TENSORS = frozenset({Tensor, nn.Parameter})
_FEW = 8  # tensors that are described as fast one by one
_MOST_KEPT = 4  # numbers of tensors for which a form is kept


def flatten(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Sequence[Any], Hashable]:
    """The leaves of a call, as pytree has them, and how they are arranged.

    Without pytree where all are plain, in lists, tuples and dicts: it takes 2 us a leaf.
    """
    leaves = (*args, *kwargs.values())
    if _are_plain(leaves):
        return leaves, (len(args), *kwargs)
    found: list[Any] = []
    spec: list[Hashable] = []
    if _collect(args, found, spec) and _collect(kwargs, found, spec):
        return found, tuple(spec)
    return pytree.tree_flatten((args, kwargs))


def _collect(value: Any, leaves: list[Any], spec: list[Hashable]) -> bool:
    """Add what a container holds; whether all of it is plain."""
    kind = type(value)
    if kind in PLAIN_LEAVES:
        leaves.append(value)
        spec.append(None)
        return True
    if kind is dict:
        items, keys = value.values(), tuple(value)
    elif kind is list or kind is tuple:
        items, keys = value, len(value)
    else:
        return False
    is_flat = _are_plain(items)
    spec.append((kind, keys, is_flat))
    if is_flat:
        leaves += items
        return True
    return all(_collect(one, leaves, spec) for one in items)


def _are_plain(leaves: Any) -> bool:
    return PLAIN_LEAVES.issuperset(map(type, leaves))


def are_plain_tensors(leaves: Sequence[Any]) -> bool:
    """Whether all leaves are tensors of torch's own types."""
    return _TENSORS.issuperset(map(type, leaves))


def describe(tensor: Tensor) -> Hashable:
    """The form of a tensor."""
    flags = (tensor.is_conj(), tensor.is_neg())
    return (type(tensor), tensor.shape, tensor.stride(), tensor.dtype, tensor.device, tensor.requires_grad, *flags)


def describe_tensors(tensors: Iterable[Tensor]) -> str:
    """The dtypes and shapes of tensors, for a reader."""
    return ", ".join(f"{str(t.dtype).removeprefix('torch.')}{list(t.shape)}" for t in tensors) or "no tensors"


def sameness(tensors: tuple[Tensor, ...]) -> Hashable:
    """Which tensors are one object, and which share memory."""
    if len(tensors) < 2:
        return ()
    storages = [storage_of(t) if t.layout == torch.strided else id(t) for t in tensors]
    return _firsts(map(id, tensors)), _firsts(storages)


def _firsts(numbers: Iterable[int]) -> tuple[int, ...]:
    """For each number the place of the first one that is equal."""
    first: dict[int, int] = {}
    return tuple(map(first.setdefault, numbers, count()))


@dataclass(frozen=True)
class KnownForm:
    """What `describe` says of the tensors of a call, and the place of the first tensor that is the same, for each.

    The check in C++ says whether others are described so. It takes no tensor twice, but the `firsts` alone.
    """

    check: FormCheck
    described: tuple[Hashable, ...]
    places: tuple[int, ...]
    firsts: tuple[int, ...]

    def fits(self, tensors: tuple[Tensor, ...]) -> bool:
        """Whether as many tensors have this form."""
        if len(self.firsts) == len(tensors):
            return self.check(tensors)
        return _firsts(map(id, tensors)) == self.places and self.check([tensors[k] for k in self.firsts])


class Forms:
    """Describes the tensors of calls; those of the form of an earlier call are compared with it at once."""

    def __init__(self) -> None:
        self._known: OrderedDict[int, KnownForm] = OrderedDict()

    def of(self, tensors: tuple[Tensor, ...]) -> tuple[Hashable, Hashable]:
        """`describe` of each, and `sameness`."""
        form = self._known.get(len(tensors))
        if form is None or not form.fits(tensors):
            described = tuple(map(describe, tensors))
            if len(tensors) >= _FEW and are_plain_tensors(tensors) and all(t.layout == torch.strided for t in tensors):
                self._keep(tensors, described)
            return described, sameness(tensors)
        storages = list(storages_of(tensors))
        shared = form.places if len(set(storages)) == len(form.firsts) else _firsts(storages)
        return form.described, (form.places, shared)

    def _keep(self, tensors: tuple[Tensor, ...], described: tuple[Hashable, ...]) -> None:
        places = _firsts(map(id, tensors))
        firsts = tuple(k for k, place in enumerate(places) if place == k)
        form = KnownForm(form_check([tensors[k] for k in firsts]), described, places, firsts)
        self._known.pop(len(tensors), None)
        self._known[len(tensors)] = form
        while len(self._known) > _MOST_KEPT:
            self._known.popitem(last=False)
