"""The values of a step at places: taken from what earlier steps left, moved, computed there, or as a last resort whole.

What stands at P places along some dimensions has these dimensions of size 1, and P in front: (P, d0, 1, d2, ...).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from fxsolve.lower.incremental.boxes import box_of
from fxsolve.lower.incremental.layout import along, form_at, places_first, unfolded, unnarrowed, unwidened, with_ones
from fxsolve.lower.incremental.moves import MovedFrom, call_of, moves, source_of
from fxsolve.lower.incremental.places import NOWHERE, Numbers, Places, comes_first, narrow, nowhere_else, project, widen
from fxsolve.lower.incremental.regions import Region
from fxsolve.ops.access import Reshaped
from fxsolve.ops.call import Call
from fxsolve.ops.facts import access_of


class Supply(ABC):
    """What a stage takes beside the values of the step: rows of places, and what earlier stages and steps left."""

    @abstractmethod
    def row(self, places: Places) -> Tensor:
        """The places of this step, (P,)."""

    @abstractmethod
    def constant(self, numbers: Numbers) -> Tensor:
        """Numbers that are the same in all steps."""

    @abstractmethod
    def seen(self, table: Numbers) -> Tensor:
        """Which keys the query of this step sees, (S,), of those of all steps (A, S)."""

    @abstractmethod
    def kept(self, node: fx.Node) -> Tensor:
        """All entries of a node with a region, places first, (M + 1, ...); the last are zeros. Or (1, ...)."""


Rule = Callable[["StepValues", Call, Places, int | None], Tensor | None]


@dataclass(frozen=True)
class StepFacts:
    """What all stages of a step know: how to compute at places, where moves have their entries from, and what is kept.

    Everything is on one `device`. `whole_ops` collects the names of ops that no rule told how to compute at places.
    """

    rules: Mapping[type, Rule]
    origins: MovedFrom
    regions: Mapping[fx.Node, Region]
    device: torch.device
    whole_ops: set[str] = field(default_factory=set)


class StepValues:
    """The values of one step in one stage, each made when it is asked for; `steps` are those in which the stage runs.

    `given` are the values of placeholders. A node with a region is taken from the store, which `taken` notes with the
    places, or None for all of them, unless the stage has computed it at just the places in question.
    """

    def __init__(self, facts: StepFacts, steps: Sequence[int], store: Supply, given: Mapping[fx.Node, Tensor]) -> None:
        self.store, self.device = store, facts.device
        self.taken: list[tuple[fx.Node, Places | None]] = []
        self._facts, self._steps, self._given = facts, list(steps), given
        self._whole: dict[fx.Node, Any] = {}
        self._at: dict[tuple[fx.Node, Hashable], Tensor] = {}
        self._made_once: dict[Hashable, Tensor] = {}

    def whole(self, node: fx.Node) -> Any:
        """All entries of a value; those that are not final yet may be anything."""
        if node.op == "placeholder":
            return self._given[node]
        if node not in self._whole:
            self._whole[node] = self._kept_whole(node) if node in self._facts.regions else self._made_whole(node)
        return self._whole[node]

    def known(self, node: fx.Node) -> Tensor | None:
        """The value, where it is the same in every step of every run."""
        found = self._facts.origins.labels[node]
        return found if isinstance(found, Tensor) else None

    def compute(self, node: fx.Node, places: Places) -> Tensor:
        """Entries of a region that this step is to compute."""
        found = self._at[node, places.key] = self._made(node, places, None)
        return found

    def at(self, node: fx.Node, places: Places, fill: float | None = None) -> Tensor:
        """The entries of a value at places, (P, ...); what stands at `NOWHERE` is `fill`, or anything."""
        if not places.dims:
            return self.whole(node)[None]
        key = (node, places.key)
        if key in self._at:
            return self._at[key]
        found = (self._kept if node in self._facts.regions else self._made)(node, places, fill)
        if not places.has_gaps:
            self._at[key] = found
        return found

    def once(self, key: Hashable, make: Callable[[], Tensor]) -> Tensor:
        """Something that several calls of a step take, made for the first of them."""
        if key not in self._made_once:
            self._made_once[key] = make()
        return self._made_once[key]

    # From the store.

    def _kept_whole(self, node: fx.Node) -> Tensor:
        region, kept = self._facts.regions[node], self.store.kept(node)
        self.taken.append((node, None))
        return unfolded(kept[:-1] if region.dims else kept, region.dims, node.meta["val"].shape)

    def _kept(self, node: fx.Node, places: Places, fill: float | None) -> Tensor:
        own = self._facts.regions[node].dims
        if set(own) - set(places.dims):
            return self._filled(self._at_more(node, places, [d for d in own if d not in places.dims]), places, fill)
        if set(places.dims) - set(own):
            return self._filled(self._at_fewer(node, places, own), places, fill)
        self.taken.append((node, places))
        kept = self.store.kept(node)
        # The entries behind the last place are zeros.
        outside = len(kept) - 1 if fill == 0 else 0
        row = self.store.row(Places(own, np.where(places.table == NOWHERE, outside, places.table)))
        found = kept.index_select(0, row)
        return found if fill == 0 else self._filled(found, places, fill)

    # At other places.

    def _at_more(self, node: fx.Node, places: Places, more: Sequence[int]) -> Tensor:
        """By way of these places and all along more dimensions."""
        shape, first = node.meta["val"].shape, comes_first(places, more)
        return unwidened(self.at(node, widen(places, shape, more, first)), places.count, shape, more, first)

    def _at_fewer(self, node: fx.Node, places: Places, kept: Sequence[int]) -> Tensor:
        """By way of places along `kept` alone, of which the entries along the other dimensions are taken."""
        shape, more = node.meta["val"].shape, [dim for dim in places.dims if dim not in kept]
        fewer = narrow(places, shape, kept)
        if fewer is not None:
            return unnarrowed(self.at(node, fewer[0]), more, fewer[1])
        found = along(self.at(node, project(places, shape, {dim: dim for dim in kept}, shape)), more)
        entries = self.store.row(project(places.inside(), shape, {dim: dim for dim in more}, shape))
        each = torch.arange(places.count, device=self.device) if kept else torch.zeros_like(entries)
        return with_ones(found[each, entries], more)

    # Made in this stage.

    def _made_whole(self, node: fx.Node) -> Any:
        """All entries; where each step takes others of what is moved, only these are made."""
        if moves(node) and self._facts.origins.change_with_step(node):
            found = self._moved(node, node, None, nowhere_else(len(self._steps)), None)
            if found is not None:
                return found[0]
        return self._run(node)

    def _run(self, node: fx.Node) -> Any:
        """The result of an op on all entries of its arguments, which may lie in memory in another order."""
        if access_of(node.target) == Reshaped():
            return self.whole(node.all_input_nodes[0]).reshape(node.meta["val"].shape)
        args, kwargs = fx.map_arg(node.args, self.whole), fx.map_arg(node.kwargs, self.whole)
        target: Any = node.target
        return target(*args, **kwargs)

    def _made(self, node: fx.Node, places: Places, fill: float | None) -> Tensor:
        """Moved or computed there; or whole, and taken from there."""
        if not places.dims:
            return self._run(node)[None]
        if node.op == "placeholder":
            return self._picked(self.whole(node), places, fill)
        source, part = source_of(node)
        if moves(source):
            found = self._moved(node, source, part, places, fill)
            if found is not None:
                return found
        elif (found := self._by_rule(source, part, places, fill)) is not None:
            return found
        self._facts.whole_ops.add(call_of(source).name)
        return self._picked(self._run(node) if node in self._facts.regions else self.whole(node), places, fill)

    def _by_rule(self, source: fx.Node, part: int | None, places: Places, fill: float | None) -> Tensor | None:
        call = call_of(source)
        rule = self._facts.rules.get(type(call.fact.access))
        found = rule(self, call, places.inside(), part) if rule is not None else None
        return None if found is None else self._filled(found, places, fill)

    def _moved(
        self, node: fx.Node, source: fx.Node, part: int | None, places: Places, fill: float | None
    ) -> Tensor | None:
        """What a move brings to places, or to more of them; None where that is not known."""
        found, shape = self._facts.origins.of(source, places.dims, part), node.meta["val"].shape
        if found is None:
            more = self._facts.origins.more_dims(source, places.dims, part, shape)
            return self._filled(self._at_more(node, places, more), places, fill) if more else None
        rows = found.places if len(found.places) == 1 else found.places[self._steps]
        rows = np.broadcast_to(rows, (len(places.table), rows.shape[1]))
        table = np.take_along_axis(rows, places.table.clip(min=0), 1)
        own = Places(found.dims, np.where(places.table == NOWHERE, NOWHERE, table))
        value = self.at(source.all_input_nodes[0], own if found.dims else nowhere_else(len(table)), found.fill)
        form = form_at(shape, places.dims)
        result = self._rest(value, found.rest, form)
        result = result if len(result) == places.count else result.expand(places.count, *form)
        return result if fill in (None, found.fill) else self._filled(result, places, fill)

    def _rest(self, value: Tensor, rest: Numbers, form: Sequence[int]) -> Tensor:
        """What is not decided by places, where it belongs."""
        box = box_of(rest, value.shape[1:])
        if box is not None:
            for dim, (start, count) in enumerate(box.ranges):
                value = value if count == value.shape[dim + 1] else value.narrow(dim + 1, start, count)
            return value.permute(0, *(dim + 1 for dim in box.order)).reshape(-1, *form)
        flat = value.reshape(len(value), -1)
        return flat.index_select(1, self.store.constant(rest)).reshape(-1, *form)

    def _picked(self, value: Tensor, places: Places, fill: float | None) -> Tensor:
        """What stands at places of a whole value."""
        row = self.store.row(places.inside())
        found = with_ones(places_first(value, places.dims).index_select(0, row), places.dims)
        return self._filled(found, places, fill)

    def _filled(self, value: Tensor, places: Places, fill: float | None) -> Tensor:
        if fill is None or not places.has_gaps:
            return value
        is_outside = self.store.row(places) == NOWHERE
        return value.masked_fill(is_outside.view(-1, *(1 for _ in value.shape[1:])), fill)
