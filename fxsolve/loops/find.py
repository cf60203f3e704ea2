"""The loops of a graph, those whose tensors grow at every step among them."""

from dataclasses import dataclass, replace

from torch import fx

from fxsolve.ir.calls import dead_views
from fxsolve.loops.growing.lists import chain_lists
from fxsolve.loops.growing.sizes import Growing, describe_growth, find_growing, may_grow, rank_and_dtype
from fxsolve.loops.padding.known import Attributes
from fxsolve.loops.padding.window import pad_window
from fxsolve.loops.rolling.roll import MIN_CALLS, MIN_TRIPS, Rolling, roll
from fxsolve.loops.rolling.signature import Calls, is_renamed, read_calls
from fxsolve.torch_compat.graphs import Graph


@dataclass(frozen=True)
class FoundLoops:
    """The loops of `calls`, which are those of `graph`, and the notes of what could not be rolled."""

    graph: fx.Graph
    calls: Calls
    rolling: Rolling

    @property
    def left(self) -> int:
        """How many calls belong to no loop."""
        return len(self.calls.nodes) - sum(loop.window.stop - loop.window.start for loop in self.rolling.loops)


@dataclass(frozen=True)
class _Growth:
    """A growing loop, for a note: how many steps, where, and which shape grows by how much."""

    steps: int
    source: str
    shape: str

    def note(self, verdict: str, consequence: str) -> str:
        return (
            f"{self.steps} steps at {self.source} {verdict}: shapes change at every step ({self.shape}); {consequence}"
        )


@dataclass(frozen=True)
class _Padded:
    """A graph, the growing loops in it that were written for buffers, and the notes of those that were not."""

    graph: fx.Graph
    done: tuple[_Growth, ...]
    notes: tuple[str, ...]


def find_loops(graph: fx.Graph, attributes: Attributes | None = None) -> FoundLoops:
    """The loops of `graph`; loops whose tensors grow are found in a copy of it, where they work on buffers.

    Each of these has a note: that its sums may round differently, or why it was not rolled. Of
    `attributes`, it is noted which their rules rest on.
    """
    found = _found(graph)
    if found.left < MIN_TRIPS * MIN_CALLS or not may_grow(graph):
        return found
    padded = _pad(graph, attributes or Attributes())
    grown = _found(padded.graph) if padded.done else found
    if grown.left < found.left:
        rolled = [
            one.note("were rolled", "they work on buffers, and sums may round differently") for one in padded.done
        ]
        return _with_notes(grown, (*padded.notes, *rolled))
    useless = [one.note("were not rolled", "on buffers they are no loop either") for one in padded.done]
    return _with_notes(found, (*padded.notes, *useless))


def _found(graph: fx.Graph) -> FoundLoops:
    calls = read_calls(graph, dead_views(graph))
    return FoundLoops(graph, calls, roll(calls))


def _with_notes(found: FoundLoops, notes: tuple[str, ...]) -> FoundLoops:
    return replace(found, rolling=replace(found.rolling, notes=(*found.rolling.notes, *notes)))


def _pad(graph: fx.Graph, attributes: Attributes) -> _Padded:
    """A copy of `graph` with every growing loop that has a rule for each of its calls on buffers."""
    copied = _copy(graph)
    done: list[_Growth] = []
    failed: dict[fx.Node, str] = {}
    while True:
        calls = read_calls(copied, describe=rank_and_dtype)
        loops, notes = find_growing(calls)
        rewritten: list[_Growth] = []
        refused: list[tuple[fx.Node, str]] = []
        # The last one first: rewriting a loop changes what later calls read, and nothing of earlier ones.
        for loop in reversed([loop for loop in loops if calls.nodes[loop.window.start] not in failed]):
            growth = _growth(calls, loop)
            reason = pad_window(copied, calls, loop, attributes)
            if reason is None:
                rewritten.append(growth)
            else:
                refused.append((calls.nodes[loop.window.start], growth.note("were not rolled", reason)))
        done += reversed(rewritten)
        failed.update(reversed(refused))
        if rewritten and not may_grow(copied):
            return _Padded(copied, tuple(done), tuple(failed.values()))
        if not rewritten:
            return _Padded(copied, tuple(done), (*failed.values(), *notes))


def _copy(graph: fx.Graph) -> fx.Graph:
    """A copy without views that nothing reads and second names of values, in which lists that grow are chains."""
    copied = Graph.copy_of(graph)
    for node in [node for node in copied.nodes if is_renamed(node)]:
        node.replace_all_uses_with(node.args[0])  # pyright: ignore[reportArgumentType]
        copied.erase_node(node)
    dead = dead_views(copied)
    for node in reversed([node for node in copied.nodes if node in dead]):
        copied.erase_node(node)
    chain_lists(copied)
    return copied


def _growth(calls: Calls, loop: Growing) -> _Growth:
    source = calls.nodes[loop.window.start].meta.get("source", "an unknown line")
    return _Growth(loop.window.trips, source, describe_growth(calls, loop))
