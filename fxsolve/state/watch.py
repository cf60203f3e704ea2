"""What a program brings to a call besides its arguments, noticed when it changes between two calls."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from functools import partial
from operator import getitem
from typing import Any

from torch import Tensor

from fxsolve.errors import CommunicationError
from fxsolve.state.glance import Pairs, StateKey, look_at, look_into
from fxsolve.state.live import LiveSet
from fxsolve.state.places import Place, attributes_of, is_data, tensors_in
from fxsolve.state.processes import communicating_part
from fxsolve.state.reach import Reach, ReachedObjects, find_reach, walk
from fxsolve.state.tokens import HashedState, Identities, may_change, token_of
from fxsolve.torch_compat.modules import CHILDREN, HOOKS, TENSORS

_PARTS = (*TENSORS, CHILDREN, *HOOKS)
_LIVE = "live"
_MAX_SNAPSHOTS = 4


class Watch:
    """Watches a program: its state is equal at two calls if nothing that is watched changed in between.

    Watched are, of each reached module: class, children, hooks, parameters and buffers (which object, dtype, device,
    shape, and under grad mode `requires_grad`), and all other attributes: numbers, strings, flags and None by value,
    also in containers, everything else by identity. Of other objects that modules hold, up to 64 in one container:
    their numbers, strings, tensors and containers. Of a function: closure cells and the globals that it names, in the
    same way. Values of tensors are not: they are read live. Globals that the methods of a module use are not seen
    either. Places that are `live` are not part of the state, and those that the program makes not even by their names.
    """

    def __init__(self, program: Callable[..., Any], live: LiveSet) -> None:
        self._program = program
        self._live = live
        self._seen = live.count
        self._known: tuple[StateKey, ...] = ()  # the latest one first

    def state(self, grad: bool) -> Hashable:
        """The state now; `grad` says whether `requires_grad` matters.

        Raises `CommunicationError` if a part of the program communicates with other processes by itself.
        """
        now, wanting = self._look()
        if now.communicates:
            raise CommunicationError(now.communicates)
        return now.state, wanting if grad else None

    def sees_communication(self) -> bool:
        """Whether a part of the program communicates with other processes by itself, as of the last look."""
        return bool(self._known) and bool(self._known[0].communicates)

    def live(self) -> tuple[tuple[Place, ...], frozenset[int]]:
        """The live places that are there, and the ids of the tensors that are in other ones, as of the last look."""
        return self._known[0].live, self._known[0].fixed

    def _look(self) -> tuple[StateKey, tuple[bool, ...]]:
        """The snapshot that is current, and which of its tensors want gradients.

        It is the latest one, one from before a flag was flipped, or a new one.
        """
        known = self._known if self._seen == self._live.count else ()
        for now in known:
            if (wanting := now.look()) is not None:
                break
        else:
            self._seen = self._live.count
            now = _look(self._program, self._live)
            known, wanting = tuple(one for one in known if now.differs_in_plain_values(one)), now.forms.wanted
        if not known or known[0] is not now:
            self._known = (now, *(one for one in known if one is not now))[:_MAX_SNAPSHOTS]
        return now, wanting


def _look(program: Callable[..., Any], known: LiveSet) -> StateKey:
    live, made = known.identities(), frozenset(place.identity for place in known.made())
    reach = find_reach(program)
    found = walk(reach)
    modules, objects = tuple(module for _, module in found.modules), [vars(one) for _, one in found.objects]
    parts = [Place(name, vars(one), name) for one in modules for name in _PARTS if name in vars(one)]
    filled = [place for place in parts if place.read()]
    inner = [*objects, *(place.read() for place in filled)]
    places = [*reach.places, *(Place(name, vars(one), name) for one in modules for name, _ in attributes_of(one))]
    places += [Place(name, owner, name) for owner in inner for name in owner]
    settled = [place for place in places if place.identity not in live]
    held = [place.read() for place in settled]
    rebound = {place.identity: place for place in places if place.identity in live}
    token = partial(token_of, live=frozenset(rebound))
    deep, inside = look_into(tuple(one for one in held if not isinstance(one, Tensor) and may_change(one)), token)
    tensors = tuple({id(one): one for one in (*held, *inside) if isinstance(one, Tensor)}.values())
    dicts = (*map(vars, modules), *inner)
    return StateKey(
        modules, list(map(type, modules)), dicts, list(map(len, dicts)),
        (_pairs(getitem, [*settled, *filled]), _pairs(getattr, settled)), _empty(parts),
        tensors, look_at(tensors), deep, tuple(rebound.values()),
        frozenset(id(tensor) for one in held for tensor in tensors_in(one)),
        HashedState(_describe(reach, found, live, made, token)), communicating_part(reach, found),
    )  # fmt: skip


def _pairs(read: Callable[[Any, str], Any], places: Iterable[Place]) -> Pairs:
    chosen = [place for place in places if isinstance(place.owner, dict) == (read is getitem)]
    owners, keys = tuple(place.owner for place in chosen), tuple(place.key for place in chosen)
    return Pairs(read, owners, keys, list(map(read, owners, keys)))


def _empty(parts: Iterable[Place]) -> dict[str, tuple[dict[str, Any], ...]]:
    """Whose parts of a name are empty: they are most of all parts, and are looked at together."""
    owners: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for place in parts:
        if not place.read():
            owners[place.key].append(place.owner)
    return {name: tuple(those) for name, those in owners.items()}


def _describe(
    reach: Reach, found: ReachedObjects, live: Identities, made: Identities, token: Callable[[Any], Hashable]
) -> Hashable:
    number = {id(module): k for k, (_, module) in enumerate(found.modules)}

    def tokens(owner: dict[str, Any], items: Iterable[tuple[str, Any]]) -> Hashable:
        kept = ((name, value) for name, value in items if (id(owner), name) not in made)
        return tuple((name, _LIVE if (id(owner), name) in live else token(value)) for name, value in kept)

    places = tuple((one.label, _LIVE if one.identity in live else token(one.read())) for one in reach.places)
    modules = tuple(
        (
            type(module),
            tuple((name, number.get(id(child))) for name, child in vars(module).get(CHILDREN, {}).items()),
            tuple(tokens(part, part.items()) for part in (vars(module).get(name, {}) for name in TENSORS)),
            tokens(vars(module), attributes_of(module)),
            tuple((name, tuple(vars(module)[name])) for name in HOOKS if vars(module).get(name)),
        )
        for _, module in found.modules
    )
    objects = tuple(
        (type(one), tokens(vars(one), [item for item in vars(one).items() if is_data(item[1])]))
        for _, one in found.objects
    )
    return places, modules, objects
