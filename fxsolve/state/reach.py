"""What a program can reach besides its arguments: its modules, and the places where Python keeps state."""

import functools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType, FunctionType, MethodType
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fxsolve.errors import CaptureError
from fxsolve.state.names import Names
from fxsolve.state.places import (
    MAX_DEPTH,
    MAX_OBJECTS,
    Place,
    attributes_of,
    everything_in,
    has_attributes,
    is_container,
)
from fxsolve.torch_compat.modules import CHILDREN, HOOKS

KeptRole = Literal["param", "buffer"]


@dataclass(frozen=True)
class Reach:
    """Root modules by name ("" for the program itself), places outside of them, and what else was on the way."""

    modules: dict[str, nn.Module]
    places: tuple[Place, ...]
    others: tuple[Any, ...] = ()


def find_reach(program: Any, arguments: tuple[Any, ...] = ()) -> Reach:
    """The modules and places that `program` reaches through attributes, closures, globals, partials and methods.

    `arguments` are its arguments that are no tensors; hooks on modules are followed as the program itself is. Raises
    `CaptureError` for modules whose attributes are not kept in Python.
    """
    modules: dict[str, nn.Module] = {}
    places: list[Place] = []
    others: list[Any] = []
    pending = deque[tuple[str, Any]]([("", program), *((f"argument_{k}", item) for k, item in enumerate(arguments))])
    called = {id(value) for _, value in pending}
    seen: set[int] = set()
    while pending:
        name, value = pending.popleft()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, nn.Module):
            _refuse_scripted(value)
            modules[_unused(name, modules)] = value
            places += [place for part in value.modules() for place in _defaults_of_forward(part)]
            hooks = [("hook", hook) for part in value.modules() for hook in _hooks(part)]
            called.update(id(hook) for _, hook in hooks)
            pending += hooks
            continue
        others.append(value)
        for label, owner, key, held in _held(value, name, is_program=id(value) in called):
            if owner is not None:
                places.append(Place(label, owner, key))
            pending.append((label, held))
    return Reach(modules, tuple(places), tuple(others))


def _refuse_scripted(module: nn.Module) -> None:
    for name, part in module.named_modules():
        if isinstance(part, torch.jit.ScriptModule):
            label = f"its part {name}" if name else "the program"
            raise CaptureError(f"{label} is a ScriptModule, whose attributes are not seen; use the module behind it")


def _hooks(module: nn.Module) -> Iterator[Any]:
    for name in HOOKS:
        yield from vars(module).get(name, {}).values()


def _unused(name: str, taken: dict[str, nn.Module]) -> str:
    return name if name not in taken else f"{name}_{len(taken)}"


def _held(value: Any, name: str, is_program: bool) -> Iterator[tuple[str, Any, str, Any]]:
    """(label, owner, key, held value); the owner is None where Python cannot rebind the place."""
    if isinstance(value, functools.partial):
        yield name, None, "", value.func
        yield f"{name}argument", None, "", value.args
        for key, held in value.keywords.items():
            yield f"{name}argument_{key}", value.keywords, key, held
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
        yield from _attributes(name or "self", value)
        yield "call", None, "", getattr(type(value), "__call__", None)  # noqa: B004


def _attributes(name: str, value: Any) -> Iterator[tuple[str, Any, str, Any]]:
    held_by = getattr(value, "__dict__", None)
    if isinstance(value, nn.Module) or not isinstance(held_by, dict):  # a class has a view of a dict
        return
    for key, held in held_by.items():
        yield f"{name}_{key}", value.__dict__, key, held


def _function_places(function: FunctionType) -> Iterator[tuple[str, Any, str, Any]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        if is_filled(cell):
            yield name, cell, "cell_contents", cell.cell_contents
    for name in sorted(names_in(function.__code__)):
        held = function.__globals__.get(name)
        # Of other functions only those of the same file are followed: a library's helpers keep no state for the user.
        if name in function.__globals__ and getattr(held, "__globals__", function.__globals__) is function.__globals__:
            yield name, function.__globals__, name, held
    yield from _defaults(function)
    for name, held in vars(function).items():
        yield name, vars(function), name, held


def _defaults(function: FunctionType) -> Iterator[tuple[str, Any, str, Any]]:
    for name in ("__defaults__", "__kwdefaults__"):
        if held := getattr(function, name):
            yield "default", function, name, held


def _defaults_of_forward(module: nn.Module) -> Iterator[Place]:
    """Where the defaults of a method lie that may keep something from call to call."""
    forward = type(module).forward
    for label, owner, key, held in _defaults(forward) if isinstance(forward, FunctionType) else ():
        if any(is_container(item) for item in (held.values() if isinstance(held, dict) else held)):
            yield Place(label, owner, key)


def globals_of(function: Any) -> Iterator[Any]:
    """The globals that a function names; none of what is no Python function."""
    if isinstance(function, FunctionType):
        yield from (function.__globals__.get(name) for name in names_in(function.__code__))


def is_filled(cell: Any) -> bool:
    """Whether a cell of a closure holds anything yet."""
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False


def names_in(code: CodeType) -> set[str]:
    """The globals and attributes that code names, nested functions included."""
    nested = [names_in(constant) for constant in code.co_consts if isinstance(constant, CodeType)]
    return set(code.co_names).union(*nested)


@dataclass(frozen=True)
class ReachedObjects:
    """The modules that a program reaches, and the other objects with attributes that these hold, by label."""

    modules: tuple[tuple[str, nn.Module], ...]
    objects: tuple[tuple[str, Any], ...]


def walk(reach: Reach) -> ReachedObjects:
    """Everything with attributes below the roots and places of `reach`, also in containers and in other objects."""
    pending: list[tuple[str, Any, int]] = [(name, module, 0) for name, module in reach.modules.items()]
    pending += [(place.label, place.read(), 0) for place in reach.places]
    modules: dict[int, tuple[str, nn.Module]] = {}
    objects: dict[int, tuple[str, Any]] = {}
    for name, value, depth in pending:  # grows on the way
        if isinstance(value, nn.Module):
            if id(value) not in modules:
                modules[id(value)] = name, value
                pending += _held_by_module(name, value)
        elif is_container(value):
            pending += ((name, item, depth) for item in _to_follow(value))
        elif has_attributes(value) and id(value) not in objects:
            objects[id(value)] = name, value
            if depth < MAX_DEPTH:
                pending += [(f"{name}.{key}", held, depth + 1) for key, held in vars(value).items()]
    return ReachedObjects(tuple(modules.values()), tuple(objects.values()))


def _held_by_module(name: str, module: nn.Module) -> Iterator[tuple[str, Any, int]]:
    prefix = f"{name}." if name else ""
    for key, child in vars(module).get(CHILDREN, {}).items():
        yield f"{prefix}{key}", child, 0
    for key, held in attributes_of(module):
        yield f"{prefix}{key}", held, 0


def _to_follow(container: Any) -> list[Any]:
    """The modules in a container and in the containers in it, and the other objects unless these are many."""
    items = [one for one in everything_in(container) if not is_container(one)]
    inside = [one for one in items if isinstance(one, nn.Module) or has_attributes(one)]
    return inside if len(inside) <= MAX_OBJECTS else [one for one in inside if isinstance(one, nn.Module)]


def name_tensors(reach: Reach) -> dict[int, tuple[Tensor, str, KeptRole]]:
    """Parameters and buffers of the reached modules: id -> (tensor, qualified name, role)."""
    found: dict[int, tuple[Tensor, str, KeptRole]] = {}
    names = Names()
    for root, module in reach.modules.items():
        for name, tensor in module.named_parameters(prefix=root):
            if id(tensor) not in found:
                found[id(tensor)] = (tensor, names.add(name), "param")
        for name, tensor in module.named_buffers(prefix=root):
            if id(tensor) not in found:
                found[id(tensor)] = (tensor, names.add(name), "buffer")
    return found
