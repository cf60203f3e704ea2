"""What a program brings to a call besides its arguments, noticed when it changes between two calls."""

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter, is_
from typing import Any

from torch import Tensor, nn

from fxsolve.runtime.tokens import State, form_of, is_container, is_settings, token_of
from fxsolve.tracer.reach import find_reach

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
# What nn.Module keeps about itself, apart from the train flag.
_MACHINERY = frozenset(vars(nn.Module())) - {"training"}
_wants_gradient = attrgetter("requires_grad")


@dataclass(frozen=True)
class _Snapshot:
    """What was seen last. While every place holds the same object, and each object its form, the state is the same."""

    places: tuple[tuple[Any, str], ...]
    dicts: tuple[dict[str, Any], ...]
    hooks: tuple[dict[int, Any], ...]
    held: list[Any]
    hook_keys: list[int]
    tensors: tuple[Tensor, ...]
    forms: list[Any]
    wanting: list[bool]
    deep: tuple[Any, ...]
    deep_tokens: list[Hashable]
    with_grad: State
    without_grad: State

    def is_current(self) -> bool:
        held = _held(self.places, self.dicts)
        return (
            len(held) == len(self.held)
            and all(map(is_, held, self.held))
            and list(map(_wants_gradient, self.tensors)) == self.wanting
            and list(map(form_of, self.tensors)) == self.forms
            and list(map(token_of, self.deep)) == self.deep_tokens
            and list(chain.from_iterable(self.hooks)) == self.hook_keys
        )


class Watch:
    """Watches a program: its state is equal at two calls if nothing that is watched changed in between.

    Watched are, of each reached module: class, children, hooks, parameters and buffers (which object, dtype, device,
    shape, and under grad mode `requires_grad`), and all other attributes: numbers, strings, flags and None by value,
    also in containers of up to 64 items and as attributes of a settings object, everything else by identity. Of a
    function: closure cells and the globals that it names, in the same way. Values of tensors are not: they are read
    live. Globals that the methods of a module use are not seen either.
    """

    def __init__(self, program: Callable[..., Any]) -> None:
        self._program = program
        self._last: _Snapshot | None = None

    def state(self, grad: bool) -> State:
        """The state now; `grad` says whether `requires_grad` matters."""
        last = self._last
        if last is None or not last.is_current():
            self._last = last = _look(self._program)
        return last.with_grad if grad else last.without_grad


def _look(program: Callable[..., Any]) -> _Snapshot:
    reach = find_reach(program)
    labelled = reach.places
    places = tuple((owner, key) for _, owner, key in labelled)
    modules = _walk([*reach.modules.values(), *_modules_in(_held(places, ()))])
    dicts = tuple(part for module in modules for part in (vars(module), *_tensor_dicts(module)))
    hooks = tuple(vars(module)[name] for module in modules for name in _HOOKS if name in vars(module))
    held = _held(places, dicts)
    tensors = tuple({id(value): value for value in held if isinstance(value, Tensor)}.values())
    wanting = list(map(_wants_gradient, tensors))
    attributes = chain(_held(places, ()), *(dict(_attributes(module)).values() for module in modules))
    deep = tuple(value for value in attributes if is_container(value) or is_settings(value))
    parts = (
        tuple((label, token_of(_read(owner, key))) for label, owner, key in labelled),
        _describe(modules),
    )
    return _Snapshot(
        places, dicts, hooks, held, list(chain.from_iterable(hooks)), tensors, list(map(form_of, tensors)), wanting,
        deep, list(map(token_of, deep)), State((parts, tuple(wanting))), State((parts, None)),
    )  # fmt: skip


def _held(places: tuple[tuple[Any, str], ...], dicts: tuple[dict[str, Any], ...]) -> list[Any]:
    return [*(_read(*place) for place in places), *chain.from_iterable(map(dict.values, dicts))]


def _read(owner: Any, key: str) -> Any:
    return owner.get(key) if isinstance(owner, dict) else getattr(owner, key, None)


def _walk(roots: Iterable[nn.Module]) -> list[nn.Module]:
    """The modules below `roots`, also those in lists and dicts that nn.Module does not look into."""
    modules = list({id(root): root for root in roots}.values())
    seen = set(map(id, modules))
    for module in modules:
        held = [value for _, value in _attributes(module)]
        for child in _modules_in([*_children(module).values(), *held]):
            if id(child) not in seen:
                seen.add(id(child))
                modules.append(child)
    return modules


def _modules_in(values: Iterable[Any]) -> Iterator[nn.Module]:
    for value in values:
        if isinstance(value, nn.Module):
            yield value
        elif is_container(value):
            yield from _modules_in(item for item in (value.values() if isinstance(value, dict) else value)
                                   if isinstance(item, nn.Module))  # fmt: skip


def _children(module: nn.Module) -> dict[str, Any]:
    return vars(module).get("_modules", {})


def _tensor_dicts(module: nn.Module) -> list[dict[str, Any]]:
    return [vars(module).get(name, {}) for name in ("_parameters", "_buffers", "_modules")]


def _attributes(module: nn.Module) -> list[tuple[str, Any]]:
    return [item for item in vars(module).items() if item[0] not in _MACHINERY]


def _describe(modules: list[nn.Module]) -> Hashable:
    number = {id(module): k for k, module in enumerate(modules)}
    return tuple(
        (
            type(module),
            tuple((name, number.get(id(child))) for name, child in _children(module).items()),
            tuple((name, token_of(value)) for part in _tensor_dicts(module)[:2] for name, value in part.items()),
            tuple((name, token_of(value)) for name, value in _attributes(module)),
            tuple((name, tuple(vars(module)[name])) for name in _HOOKS if vars(module).get(name)),
        )
        for module in modules
    )
