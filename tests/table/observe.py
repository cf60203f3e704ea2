"""What a call leaves behind, as values that can be compared."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fxsolve.capture.bits import same_bits

Leaf = tuple[str, Any]


def leaves(value: Any, path: str = "") -> Iterator[Leaf]:
    """Every leaf of nested containers, objects and modules, with its path."""
    if isinstance(value, Tensor):
        yield path, value.to_dense() if value.layout != torch.strided else value
        if value.is_leaf and value.grad is not None:
            yield f"{path}.grad", value.grad
    elif isinstance(value, torch.Generator):
        yield path, value.get_state()
    elif isinstance(value, Mapping):
        yield path, type(value)
        for key, item in value.items():
            yield from leaves(item, f"{path}[{key!r}]")
    elif isinstance(value, (tuple, list)):
        yield path, type(value)
        for place, item in enumerate(value):
            yield from leaves(item, f"{path}[{place}]")
    elif isinstance(value, nn.Module) or (dataclasses.is_dataclass(value) and not isinstance(value, type)):
        yield path, type(value).__name__  # parametrized modules have classes of their own
        for name, item in vars(value).items():
            yield from leaves(item, f"{path}.{name}")
    elif not callable(value):
        yield path, value


def assert_same(found: Any, expected: Any, tolerance: float) -> None:
    """Equal leaves at equal paths; tensors in their layout too, within `tolerance` of the largest entry or bitwise."""
    ours, theirs = list(leaves(found)), list(leaves(expected))
    assert [path for path, _ in ours] == [path for path, _ in theirs]
    for (path, one), (_, other) in zip(ours, theirs, strict=True):
        if not isinstance(other, Tensor):
            assert type(one) is type(other), path
            assert one == other, path
            continue
        assert isinstance(one, Tensor), path
        for fact in ("shape", "dtype", "device", "requires_grad", "is_leaf"):
            assert getattr(one, fact) == getattr(other, fact), f"{path}.{fact}"
        assert one.stride() == other.stride(), path
        assert is_close(one, other, tolerance), f"{path}: {one} is not {other}"


def is_close(one: Tensor, other: Tensor, tolerance: float) -> bool:
    """Whether two tensors are bitwise equal, or within `tolerance` of the largest entry."""
    if other.is_meta or same_bits(one, other):
        return True
    if not tolerance or not (other.is_floating_point() or other.is_complex()):
        return False
    return bool((one - other).abs().max() <= tolerance * max(1.0, float(other.abs().max())))


def sharing(result: Any, kept: Any) -> list[tuple[int, int]]:
    """For each tensor of `result` the first one that is the same object, and the first of `kept` on the same memory."""
    returned = [leaf for _, leaf in leaves(result) if isinstance(leaf, Tensor)]
    held = [leaf for _, leaf in leaves(kept) if isinstance(leaf, Tensor)]
    everything = [*held, *returned]
    return [(_first(everything, lambda x, y=y: x is y), _first(held, lambda x, y=y: _on_one(x, y))) for y in returned]


def _first(tensors: list[Tensor], matches: Any) -> int:
    return next((place for place, tensor in enumerate(tensors) if matches(tensor)), -1)


def _on_one(one: Tensor, other: Tensor) -> bool:
    return one.numel() > 0 and one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()
