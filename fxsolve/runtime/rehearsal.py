"""A declared length: the program is recorded on short versions of its arguments, and not at the length of the call."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fxsolve.capture.capture import rehearse
from fxsolve.errors import InputError
from fxsolve.loops.partition import partition
from fxsolve.runtime.declaration import Shapes, Size, map_declared
from fxsolve.runtime.family import Member, member
from fxsolve.runtime.modes import plain_torch
from fxsolve.state.memory import storage_of
from fxsolve.torch_compat.trees import pytree

# The second base is for programs whose first steps differ from the others.
_BASES = (8, 64)
# Lengths with one remainder: what divides the length by 2, 4 or 8 is affine in such lengths.
_MODULUS = 8


@dataclass(frozen=True)
class DeclaredArguments:
    """The arguments of one call of a program with a declaration."""

    program: Callable[..., Any]
    shapes: Shapes
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def lengths(self) -> dict[str, int]:
        """Every declared length, by name. InputError if the declaration does not fit."""
        lengths: dict[str, int] = {}

        def measure(leaf: Any, sizes: Mapping[int | None, Size], where: str) -> Any:
            for dim, size in sizes.items():
                name, length = _measured(leaf, dim, size, where)
                if lengths.setdefault(name, length) != length:
                    raise InputError(f"dynamic_shapes: {name} is {lengths[name]}, but {length} at {where}")
            return leaf

        self._map(measure)
        return lengths

    def bounds(self, wanted: str) -> tuple[int, int | None]:
        """The smallest and the largest value that a length may have."""
        found: list[Size] = []

        def collect(leaf: Any, sizes: Mapping[int | None, Size], where: str) -> Any:
            found.extend(size for dim, size in sizes.items() if _measured(leaf, dim, size, where)[0] == wanted)
            return leaf

        self._map(collect)
        highs = [size.high for size in found if size.high is not None]
        return max(size.low for size in found), min(highs, default=None)

    def shortened(self, lengths: Mapping[str, int]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments with these lengths: their first entries."""
        made: dict[int, Tensor] = {}

        def shorten(leaf: Any, sizes: Mapping[int | None, Size], where: str) -> Any:
            wanted = {dim: size.at(lengths[_measured(leaf, dim, size, where)[0]]) for dim, size in sizes.items()}
            if not isinstance(leaf, Tensor):
                return wanted[None]
            if id(leaf) not in made:
                made[id(leaf)] = _shorten(leaf, wanted)  # pyright: ignore[reportArgumentType]
            return made[id(leaf)]

        return self._map(shorten)

    def share_memory(self) -> bool:
        """Whether two different tensors among the arguments do."""
        tensors = {id(leaf): leaf for leaf in pytree.tree_leaves((self.args, self.kwargs)) if isinstance(leaf, Tensor)}
        storages = [storage_of(tensor) for tensor in tensors.values()]
        return len(set(storages)) < len(storages)

    def _map(self, use: Callable[..., Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        named, rest = _positional(self.program, len(self.args))
        names, values = [*named], [*self.args[: len(named)]]
        if rest is not None:
            names.append(rest)
            values.append(self.args[len(named) :])
        made = map_declared(self.shapes, [*names, *self.kwargs], [*values, *self.kwargs.values()], use)
        last = made[len(named)] if rest is not None else ()
        kwargs = dict(zip(self.kwargs, made[len(names) :], strict=True))
        return (*made[: len(named)], *last), kwargs


def _positional(program: Callable[..., Any], count: int) -> tuple[list[str], str | None]:
    """The names of the first `count` positional arguments, and of what takes those behind them."""
    function = program.forward if isinstance(program, nn.Module) else program
    parameters = list(inspect.signature(function).parameters.values())
    named = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)][:count]
    rest = next((p.name for p in parameters if p.kind == p.VAR_POSITIONAL), None)
    return named, rest if count > len(named) else None


def _measured(leaf: Any, dim: int | None, size: Size, where: str) -> tuple[str, int]:
    """The name of a declared length, and its value."""
    if dim is None:
        length = size.length(leaf, where)
    else:
        length = size.length(leaf.shape[dim], f"the size of {where} in dimension {dim}")
    return size.name or f"the length {length}", length


def _shorten(tensor: Tensor, sizes: Mapping[int, int]) -> Tensor:
    """The first entries, laid out as the tensor is: dense, with its dimensions in the same order."""
    part = tensor.detach()
    for dim, size in sizes.items():
        part = part.narrow(dim, 0, size)
    stride, step = [0] * part.dim(), 1
    for dim in sorted(range(part.dim()), key=lambda k: (tensor.stride(k), -k)):
        if tensor.stride(dim) or tensor.shape[dim] == 1:
            stride[dim], step = step, step * part.shape[dim]
    made = torch.empty_strided(part.shape, stride, dtype=part.dtype, device=part.device)
    target = made
    for dim in (dim for dim in range(part.dim()) if not stride[dim]):
        target, part = target.narrow(dim, 0, 1), part.narrow(dim, 0, 1)  # entries that are one place in memory
    target.copy_(part)
    return made.requires_grad_(tensor.requires_grad)


class Rehearsal:
    """The declaration of one program; `failed` is it where it could not be followed, by grad mode."""

    def __init__(self, program: Callable[..., Any], shapes: Shapes) -> None:
        self._program = program
        self._shapes = shapes
        self.failed: set[bool] = set()

    def of(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> DeclaredArguments:
        return DeclaredArguments(self._program, self._shapes, args, kwargs)

    def pairs(self, given: DeclaredArguments, lengths: Mapping[str, int]) -> Iterator[tuple[Member, Member]]:
        """Recordings at two short lengths, if the call is longer; a second time at others, if those do not do."""
        if torch.is_grad_enabled() in self.failed or given.share_memory():
            return
        name = self._longest(given, lengths)
        for base in _BASES if name else ():
            short = _two_lengths(base, lengths[name], *given.bounds(name))
            if short is not None:
                one, two = (self._record(given, {**lengths, name: length}) for length in short)
                yield one, two

    def _longest(self, given: DeclaredArguments, lengths: Mapping[str, int]) -> str:
        """The declared length that adds most calls to the program; "" if none is long."""
        short = {name: _two_lengths(_BASES[0], length, *given.bounds(name)) for name, length in lengths.items()}
        names = [name for name, pair in short.items() if pair is not None]
        if len(names) < 2:
            return names[0] if names else ""
        least = {name: pair[0] if pair else lengths[name] for name, pair in short.items()}
        fewest = _count(self._record(given, least))
        more = {name: _count(self._record(given, {**least, name: short[name][1]})) for name in names}  # pyright: ignore
        return max(names, key=lambda name: (more[name] - fewest) * lengths[name])

    def _record(self, given: DeclaredArguments, lengths: Mapping[str, int]) -> Member:
        args, kwargs = given.shortened(lengths)
        torch.clear_autocast_cache()
        program = rehearse(self._program, args, kwargs)
        with plain_torch():
            return member(program, partition(program), pytree.tree_leaves((args, kwargs)))


def _count(member: Member) -> int:
    return len(member.program.stream.entries)


def _two_lengths(base: int, wanted: int, low: int, high: int | None) -> tuple[int, int] | None:
    """Two short lengths within the bounds, or None where the wanted one is not longer."""
    first = base + wanted % _MODULUS
    first += max(0, -(-(low - first) // _MODULUS)) * _MODULUS
    second = first + base
    return (first, second) if second < wanted and (high is None or second <= high) else None
