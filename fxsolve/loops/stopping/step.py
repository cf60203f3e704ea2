"""One step of a loop that stops on a value, or along what one did, as a repeat, and what the loop starts from."""

from collections.abc import Iterable

import torch
from torch import fx

from fxsolve.ir.bodies import OpenRepeat, OpenUntil
from fxsolve.ir.spec import Along
from fxsolve.loops.rolling.signature import Calls
from fxsolve.loops.stopping.backward import Back
from fxsolve.loops.stopping.building import Building
from fxsolve.loops.stopping.find import FoundStop
from fxsolve.loops.stopping.results import Result, Stack, StoppingStep, Wanted
from fxsolve.structure.slots import Value
from fxsolve.torch_compat.graphs import Graph

aten = torch.ops.aten


def build_stop(
    calls: Calls, stop: FoundStop, results: Iterable[Wanted], fewest: int, name: str, source: str
) -> StoppingStep:
    """The loop as a repeat, of which no fewer than `fewest` steps can run.

    Raises `PartitionError` where a result has no value in steps before the first one, which are needed.
    """
    building = Building(calls, stop, OpenRepeat(name, stop.window.trips, source, Graph()))
    may_be_none = building.build(tuple(results)) and fewest == 0
    last = stop.window.stop - stop.window.period
    checks = tuple((_read(building.made_at(read.call - last, -1)), bool(read.value)) for read in stop.checks)
    before = building.name(Value(stop.before.call, -1)) if may_be_none else ""
    end = _read(building.made_at(stop.window.period - 1, -1))
    least = stop.window.trips
    building.opened.until = OpenUntil(end, stop.end.value, before, checks, least, 0 if before else max(fewest, 1))
    return building.close(may_be_none)


def build_back(
    calls: Calls, stop: FoundStop, back: Back, results: Iterable[Result], name: str, source: str
) -> StoppingStep:
    """The loop along the steps of `stop` as a repeat. Raises `PartitionError` as `build_stop`."""
    building = Building(calls, back, OpenRepeat(name, back.window.trips, source, Graph()))
    may_be_none = building.build(tuple(results))
    stacks = [given for given in building.given.values() if isinstance(given, Stack)]
    stack = building.name(stacks[0] if stacks else _ends(calls, stop))
    building.opened.until = Along(back.length, back.length - back.window.trips, stack)
    return building.close(may_be_none)


def _read(node: fx.Node) -> fx.Node:
    """What a guard copies, as it may be written over later; nothing writes between two steps."""
    source = node.args[0] if node.target is aten.clone.default else node
    assert isinstance(source, fx.Node)
    return source


def _ends(calls: Calls, stop: FoundStop) -> Stack:
    """What the steps read at their ends: a byte for each, where nothing else tells how many there were."""
    last = calls.nodes[stop.end.call]
    if last.target is aten.clone.default:
        (source,) = calls.arguments(stop.end.call)
        if stop.window.stop - stop.window.period <= source.call:
            return Stack(source.call - (stop.window.stop - stop.window.period), source.output)
    return Stack(stop.window.period - 1, -1)
