"""The numbers that are watched while a program is recorded, and which cannot be."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from types import FunctionType, ModuleType
from typing import Any

from torch import nn

from fxsolve.capture.communication import Line
from fxsolve.capture.effects.accesses import default_of, watching
from fxsolve.capture.effects.counters import Counter, Counters
from fxsolve.capture.effects.firsts import Firsts
from fxsolve.errors import SideEffectError
from fxsolve.state.places import Place, has_attributes
from fxsolve.state.reach import Reach, is_filled, names_in, walk
from fxsolve.state.snapshot import Snapshot

_SETTERS = (object.__setattr__, nn.Module.__setattr__)
_IMMUTABLE = 1 << 8  # Py_TPFLAGS_IMMUTABLETYPE
# What reads attributes unseen.
_AROUND = {"__dict__", "vars", "__getstate__", "__reduce__", "__reduce_ex__"}
# Methods that make or copy objects: what they read decides nothing.
_HARMLESS = {"__init__", "__new__", "__copy__", "__deepcopy__", "__getstate__", "__setstate__", "__reduce__"}
_HARMLESS |= {"__reduce_ex__"}
_NOT_OWN = {"torch", "fxsolve", *sys.stdlib_module_names}


@contextmanager
def watched(reach: Reach, snapshot: Snapshot, wanted: frozenset[tuple[int, str]], line: Line) -> Iterator[Counters]:
    """Watch the numbers in these places while a program runs that has this line to other processes.

    Raises:
        SideEffectError: one is no attribute, or may be read or set in ways that are not seen.
    """
    places = [one.place for one in snapshot.slots if one.place.identity in wanted and type(one.held) in (int, float)]
    if not places:
        yield Counters()
        return
    objects = _objects(reach)
    kinds = {(kind, place.key) for place in places for kind in _kinds(place, objects)}
    _refuse_ways_around(places[0], (*_methods({*map(type, objects)}), *reach.others))
    counters = Counters(
        {place.identity: Counter(place, place.read()) for place in places}, {id(o): o for o in objects}, line
    )
    with ExitStack() as stack:
        for kind, name in kinds:
            stack.enter_context(watching(kind, name, counters))
        yield counters


@contextmanager
def watched_firsts(reach: Reach, wanted: Iterable[Place]) -> Iterator[Firsts]:
    """Watch what is done first with those of these places that can be watched, and with none if one may be missed."""
    objects = _objects(reach)
    pairs = [(place, kinds) for place in wanted if (kinds := _kinds_or_none(place, objects))]
    try:
        for place, _ in pairs[:1]:
            _refuse_ways_around(place, (*_methods({*map(type, objects)}), *reach.others))
    except SideEffectError:
        pairs = []
    firsts = Firsts({place.identity: place for place, _ in pairs}, {id(one): one for one in objects})
    with ExitStack() as stack:
        for kind, name in {(kind, place.key) for place, kinds in pairs for kind in kinds}:
            stack.enter_context(watching(kind, name, firsts))
        yield firsts


def _objects(reach: Reach) -> list[Any]:
    """All objects with attributes that a program reaches."""
    found = walk(reach)
    return [*(one for _, one in (*found.modules, *found.objects)), *filter(has_attributes, reach.others)]


def _kinds_or_none(place: Place, objects: list[Any]) -> set[type] | None:
    try:
        return _kinds(place, objects)
    except SideEffectError:
        return None


def _kinds(place: Place, objects: list[Any]) -> set[type]:
    """The classes of the objects whose attribute this is."""
    kinds = {type(one) for one in objects if vars(one) is place.owner}
    if not kinds:
        raise SideEffectError(f"the program changes {place.label}, which outlives the call; return it instead.")
    for kind in kinds:
        is_plain = kind.__getattribute__ is object.__getattribute__ and kind.__setattr__ in _SETTERS
        if not is_plain or kind.__flags__ & _IMMUTABLE or hasattr(default_of(kind, place.key), "__get__"):
            raise SideEffectError(
                f"the program changes {place.label}, which outlives the call, and {kind.__name__} has its own way to "
                "read or set attributes; return it instead."
            )
    return kinds


def _methods(kinds: set[type]) -> Iterator[Any]:
    """The functions in these classes, as far as they are the program's own and do more than make or copy objects."""
    own = {one for kind in kinds for one in kind.__mro__ if not _is_library(one.__module__)}
    for kind in own:
        for name, member in vars(kind).items():
            if isinstance(member, property):
                yield from (member.fget, member.fset)
            elif name not in _HARMLESS:
                yield getattr(member, "__func__", member)  # of a static or class method


def _called(function: FunctionType) -> Iterator[Any]:
    """What a function may call by name: what it wraps or closes over, globals, and what these modules hold."""
    yield getattr(function, "__wrapped__", None)
    yield from (cell.cell_contents for cell in function.__closure__ or () if is_filled(cell))
    names = names_in(function.__code__)
    for name in names:
        held = function.__globals__.get(name)
        yield held
        if isinstance(held, ModuleType) and not _is_library(held.__name__):
            yield from (vars(held).get(inner) for inner in names)


def _is_library(module: Any) -> bool:
    return str(module).split(".")[0] in _NOT_OWN


def _refuse_ways_around(place: Place, functions: Iterable[Any]) -> None:
    """Raise SideEffectError if the functions, or those that they call, mention what reads attributes unseen."""
    pending, seen = list(functions), set[int]()
    for one in pending:  # grows on the way
        if not isinstance(one, FunctionType) or id(one) in seen or _is_library(one.__module__):
            continue
        seen.add(id(one))
        if _AROUND & names_in(one.__code__):
            raise SideEffectError(
                f"the program changes {place.label}, which outlives the call, and {one.__qualname__} may read it by "
                "the __dict__ of its object; return it instead."
            )
        pending += _called(one)
