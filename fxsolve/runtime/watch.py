"""What a program brings to a call besides its arguments, noticed when it changes between two calls."""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter, is_
from typing import Any

from torch import Tensor, nn

from fxsolve.runtime.live import LiveSet
from fxsolve.runtime.tokens import State, form_of, is_settings, token_of
from fxsolve.tracer.places import Place, attributes_of, is_container, is_data, tensors_in
from fxsolve.tracer.reach import Found, Reach, find_reach, walk

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_LIVE = "live"
_wants_gradient = attrgetter("requires_grad")


@dataclass(frozen=True)
class _Snapshot:
    """What was seen last. While every place holds the same object, and each object its form, the state is the same.

    Places that the program rebinds, the `live` ones, are left out: `live_at` are their numbers among all that is held.
    """

    reach: Reach
    dicts: tuple[dict[str, Any], ...]
    hooks: tuple[dict[int, Any], ...]
    held: list[Any]
    hook_keys: list[int]
    tensors: tuple[Tensor, ...]
    forms: list[Any]
    wanting: list[bool]
    deep: tuple[Any, ...]
    deep_tokens: list[Hashable]
    live: tuple[Place, ...]
    live_at: tuple[tuple[int, Place], ...]
    fixed: frozenset[int]
    with_grad: State
    without_grad: State

    def is_current(self) -> bool:
        held = _held(self.reach, self.dicts)
        if len(held) != len(self.held):
            return False
        for number, place in self.live_at:
            if held[number] is not place.read():
                return False
            held[number] = None
        return (
            all(map(is_, held, self.held))
            and list(map(_wants_gradient, self.tensors)) == self.wanting
            and list(map(form_of, self.tensors)) == self.forms
            and list(map(token_of, self.deep)) == self.deep_tokens
            and list(chain.from_iterable(self.hooks)) == self.hook_keys
        )


class Watch:
    """Watches a program: its state is equal at two calls if nothing that is watched changed in between.

    Watched are, of each reached module: class, children, hooks, parameters and buffers (which object, dtype, device,
    shape, and under grad mode `requires_grad`), and all other attributes: numbers, strings, flags and None by value,
    also in containers of up to 64 items, everything else by identity. Of other objects that modules hold: their
    numbers, strings, tensors and containers. Of a function: closure cells and the globals that it names, in the same
    way. Values of tensors are not: they are read live. Globals that the methods of a module use are not seen either.
    Places that are `live` are not part of the state.
    """

    def __init__(self, program: Callable[..., Any], live: LiveSet) -> None:
        self._program = program
        self._live = live
        self._seen = live.count
        self._last: _Snapshot | None = None

    def state(self, grad: bool) -> State:
        """The state now; `grad` says whether `requires_grad` matters."""
        last = self._look()
        return last.with_grad if grad else last.without_grad

    def live(self) -> tuple[tuple[Place, ...], frozenset[int]]:
        """The live places that are there, and the ids of the tensors that are in other ones, as of the last look."""
        assert self._last is not None
        return self._last.live, self._last.fixed

    def _look(self) -> _Snapshot:
        last = self._last
        if last is None or self._seen != self._live.count or not last.is_current():
            self._seen = self._live.count
            self._last = last = _look(self._program, self._live)
        return last


def _look(program: Callable[..., Any], live: LiveSet) -> _Snapshot:
    reach = find_reach(program)
    found = walk(reach)
    modules = [module for _, module in found.modules]
    dicts = tuple(part for module in modules for part in (vars(module), *_tensor_dicts(module)))
    dicts += tuple(vars(one) for _, one in found.objects)
    hooks = tuple(vars(module)[name] for module in modules for name in _HOOKS if name in vars(module))
    places = [*reach.places, *(Place(key, owner, key) for owner in dicts for key in owner)]
    held = _held(reach, dicts)
    live_at = tuple((number, place) for number, place in enumerate(places) if live.holds(place))
    for number, _ in live_at:
        held[number] = None
    tensors = tuple({id(value): value for value in held if isinstance(value, Tensor)}.values())
    wanting = list(map(_wants_gradient, tensors))
    machinery = {id(part) for module in modules for part in vars(module).values() if isinstance(part, dict | set)}
    machinery -= {id(value) for module in modules for _, value in attributes_of(module)}
    known = [one for one in held if id(one) not in machinery]
    deep = tuple(one for one in known if is_container(one) or is_settings(one))
    fixed = frozenset(id(tensor) for one in known for tensor in tensors_in(one))
    parts = _describe(reach, found, live)
    return _Snapshot(
        reach, dicts, hooks, held, list(chain.from_iterable(hooks)), tensors, list(map(form_of, tensors)), wanting,
        deep, list(map(token_of, deep)), _unique(place for _, place in live_at), live_at, fixed,
        State((parts, tuple(wanting))), State((parts, None)),
    )  # fmt: skip


def _held(reach: Reach, dicts: tuple[dict[str, Any], ...]) -> list[Any]:
    return [*(place.read() for place in reach.places), *chain.from_iterable(map(dict.values, dicts))]


def _tensor_dicts(module: nn.Module) -> list[dict[str, Any]]:
    return [vars(module).get(name, {}) for name in ("_parameters", "_buffers", "_modules")]


def _unique(places: Iterable[Place]) -> tuple[Place, ...]:
    return tuple({place.identity: place for place in places}.values())


def _describe(reach: Reach, found: Found, live: LiveSet) -> Hashable:
    number = {id(module): k for k, (_, module) in enumerate(found.modules)}

    def tokens(owner: dict[str, Any], items: Iterable[tuple[str, Any]]) -> Hashable:
        return tuple(
            (name, _LIVE if live.holds(Place(name, owner, name)) else token_of(value)) for name, value in items
        )

    places = tuple((place.label, _LIVE if live.holds(place) else token_of(place.read())) for place in reach.places)
    modules = tuple(
        (
            type(module),
            tuple((name, number.get(id(child))) for name, child in vars(module).get("_modules", {}).items()),
            tuple(tokens(part, part.items()) for part in _tensor_dicts(module)[:2]),
            tokens(vars(module), attributes_of(module)),
            tuple((name, tuple(vars(module)[name])) for name in _HOOKS if vars(module).get(name)),
        )
        for _, module in found.modules
    )
    objects = tuple(
        (type(one), tokens(vars(one), [item for item in vars(one).items() if is_data(item[1])]))
        for _, one in found.objects
    )
    return places, modules, objects
