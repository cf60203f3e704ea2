"""What a program can reach besides its arguments: its modules, and the places where Python keeps state."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType, FunctionType, MethodType
from typing import Any

from torch import Tensor, fx, nn

from fxsolve.tracer.program import Role


@dataclass(frozen=True)
class Reach:
    """Root modules by name ("" for the program itself), and places outside of them: (label, owner, key)."""

    modules: dict[str, nn.Module]
    places: tuple[tuple[str, Any, str], ...]


def find_reach(program: Any) -> Reach:
    """The modules and places that `program` reaches through attributes, closures, globals, partials and methods."""
    if isinstance(program, nn.Module):
        return Reach({"": program}, ())
    modules: dict[str, nn.Module] = {}
    places: list[tuple[str, Any, str]] = []
    pending: list[tuple[str, Any]] = [("", program)]
    seen: set[int] = set()
    while pending:
        name, value = pending.pop(0)
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, nn.Module):
            modules[_unused(name, modules)] = value
            continue
        for label, owner, key, held in _held(value, name, is_program=value is program):
            if owner is not None:
                places.append((label, owner, key))
            pending.append((label, held))
    return Reach(modules, tuple(places))


def _unused(name: str, taken: dict[str, nn.Module]) -> str:
    return name if name not in taken else f"{name}_{len(taken)}"


def _held(value: Any, name: str, is_program: bool) -> Iterator[tuple[str, Any, str, Any]]:
    """(label, owner, key, held value); the owner is None where Python cannot rebind the place."""
    if isinstance(value, functools.partial):
        yield name, None, "", value.func
        for i, argument in enumerate((*value.args, *value.keywords.values())):
            yield f"{name}argument_{i}", None, "", argument
    elif isinstance(value, MethodType):
        yield name, None, "", value.__func__
        yield "self", None, "", value.__self__
        yield from _attributes("self", value.__self__)
    elif isinstance(value, FunctionType):
        yield from _function_places(value)
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield f"{name}_{i}", None, "", item
    elif isinstance(value, dict):
        for key, item in value.items():
            yield f"{name}_{key}", None, "", item
    elif is_program:
        yield from _attributes("self", value)
        yield "call", None, "", type(value).__call__


def _attributes(name: str, value: Any) -> Iterator[tuple[str, Any, str, Any]]:
    if isinstance(value, nn.Module):
        return
    for key, held in getattr(value, "__dict__", {}).items():
        yield f"{name}_{key}", value.__dict__, key, held


def _function_places(function: FunctionType) -> Iterator[tuple[str, Any, str, Any]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        if _is_filled(cell):
            yield name, cell, "cell_contents", cell.cell_contents
    for name in sorted(_global_names(function.__code__)):
        held = function.__globals__.get(name)
        # Of other functions only those of the same file are followed: a library's helpers keep no state for the user.
        if name in function.__globals__ and getattr(held, "__globals__", function.__globals__) is function.__globals__:
            yield name, function.__globals__, name, held
    for i, default in enumerate(function.__defaults__ or ()):
        yield f"default_{i}", None, "", default


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False


def _global_names(code: CodeType) -> set[str]:
    nested = [_global_names(constant) for constant in code.co_consts if isinstance(constant, CodeType)]
    return set(code.co_names).union(*nested)


def name_tensors(reach: Reach) -> dict[int, tuple[Tensor, str, Role]]:
    """Parameters and buffers of the reached modules: id -> (tensor, qualified name, role)."""
    names: dict[int, tuple[Tensor, str, Role]] = {}
    for root, module in reach.modules.items():
        for name, tensor in module.named_parameters(prefix=root):
            names.setdefault(id(tensor), (tensor, _attribute_name(name), "param"))
        for name, tensor in module.named_buffers(prefix=root):
            names.setdefault(id(tensor), (tensor, _attribute_name(name), "buffer"))
    return names


def _attribute_name(name: str) -> str:
    # A GraphModule has attributes of its own (`graph`, `code`, `training`), which a tensor must not replace.
    return f"model.{name}" if hasattr(fx.GraphModule, name.split(".")[0]) or name.split(".")[0] == "training" else name
