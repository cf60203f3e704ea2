"""A recorded graph while its loops that stop on a value are folded."""

from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass, field, replace

from torch import fx

from fxsolve.capture.program import Program
from fxsolve.ir.nested import Nested
from fxsolve.ir.spec import Repeat, Until
from fxsolve.loops.rolling.roll import Rolled
from fxsolve.loops.rolling.signature import Calls
from fxsolve.structure.slots import PeriodicWindow


@dataclass
class Folding:
    """The graph while its loops are folded, the guards that are `dropped` by that, and the loops made so far."""

    program: Program
    graph: fx.Graph
    calls: Calls
    loops: tuple[Rolled, ...]
    notes: list[str]
    dropped: set[int] = field(default_factory=set)
    made: dict[Hashable, Nested] = field(default_factory=dict)
    _nodes: dict[int, list[tuple[int, fx.Node]]] = field(default_factory=lambda: defaultdict(list), init=False)

    def __post_init__(self) -> None:
        for number, (node, value) in enumerate(self.calls.values.items()):
            self._nodes[value.call].append((number, node))

    def nodes_of(self, window: PeriodicWindow) -> list[fx.Node]:
        """The nodes of the calls in a window, and of their outputs, in order."""
        return [
            node for _, node in sorted(one for call in range(window.start, window.stop) for one in self._nodes[call])
        ]

    def share(self, repeat: Repeat) -> Nested:
        """One object for all loops with the same steps, so that a loop around them finds them equal."""
        graph = repeat.body.graph
        calls = tuple((node.op, node.target, repr(node.args), repr(node.kwargs)) for node in graph.nodes)
        specs = tuple(repr(node.meta.get("spec")) for node in graph.nodes)
        until = replace(repeat.until, least=0) if isinstance(repeat.until, Until) else repeat.until
        key = (calls, specs, repr(repeat.reads), repeat.writes, until, repeat.source)
        nested = self.made.setdefault(key, Nested(repeat))
        known = nested.repeat
        if known is not repeat and isinstance(known.until, Until) and isinstance(repeat.until, Until):
            least = min(known.until.least, repeat.until.least)
            longer = max(known.length, repeat.length)
            widened = replace(known, length=longer, until=replace(known.until, least=least))
            object.__setattr__(nested, "repeat", widened)
        return nested
