"""One program recorded at two lengths gives its system at any length.

Two systems of one form are walked side by side. A number n that differs between them is taken as affine in the length,

    n(T) = n_1 + (n_2 - n_1) (T - T_1) / (T_2 - T_1),

an index that counts up or down goes on counting, and everything else must be equal. This is a guess about unseen
lengths: whoever uses it checks the result against the program itself, once for each new length.
"""

from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass, field, fields, is_dataclass, replace
from typing import Any

from torch import fx

from fxsolve.errors import PartitionError
from fxsolve.system.spec import Block, Equation, Prefix, Read, Repeat, Slices, Stacked, System, Table
from fxsolve.tracer.program import TensorSpec


@dataclass(frozen=True)
class Lengths:
    """The two lengths at which a program was recorded, and the one that is wanted."""

    first: int
    second: int
    wanted: int

    def between(self, one: int, two: int) -> int:
        """The number at the wanted length that is `one` at the first and `two` at the second."""
        step, rest = divmod((two - one) * (self.wanted - self.first), self.second - self.first)
        if rest:
            raise PartitionError(f"a number is {one} at length {self.first} and {two} at length {self.second}")
        return one + step

    def count(self, one: tuple[int, ...], two: tuple[int, ...]) -> tuple[int, ...]:
        """The index that goes on as `one` does at the first and `two` at the second length."""
        patterns = _Counting.of(one), _Counting.of(two)
        numbers = [self.between(a, b) for a, b in zip(*(astuple(pattern) for pattern in patterns), strict=True)]
        return _Counting(*numbers).index()


@dataclass(frozen=True)
class _Counting:
    """`start`, `start + distance`, ...: `size` numbers, each `held` times, and all of this `rounds` times over."""

    start: int
    distance: int
    size: int
    held: int
    rounds: int

    @staticmethod
    def of(index: tuple[int, ...]) -> "_Counting":
        held = next((k for k, value in enumerate(index) if value != index[0]), len(index))
        steps = index[::held]
        again = next((k for k, value in enumerate(steps) if k > 0 and value == steps[0]), len(steps))
        distance = steps[1] - steps[0] if again > 1 else 1
        found = _Counting(index[0], distance, again, held, len(steps) // again)
        if found.index() != index:
            raise PartitionError("an index does not count evenly")
        return found

    def index(self) -> tuple[int, ...]:
        once = [self.start + k * self.distance for k in range(self.size) for _ in range(self.held)]
        return tuple(once * self.rounds)


@dataclass
class Blend:
    """Walks two systems side by side. `names` translates the second system's names to the first's."""

    lengths: Lengths
    noise: Callable[[int], str]
    draws: Mapping[str, int]
    names: dict[str, str] = field(default_factory=dict)

    def system(self, one: System, two: System) -> System:
        """The system at the wanted length. PartitionError where the two differ in more than numbers."""
        own = [name for name in one.inputs if name not in self.draws]
        others = [name for name in two.inputs if name not in self.draws]
        self._define(own, others)
        equations = tuple(self._equation(a, b) for a, b in _pairs(one.equations, two.equations, "equations"))
        for a, b in _pairs(one.outputs, two.outputs, "outputs"):
            self._name(a, b)
        count = self.lengths.between(len(one.inputs) - len(own), len(two.inputs) - len(others))
        return System((*own, *map(self.noise, range(count))), equations, one.outputs)

    def _equation(self, one: Equation, two: Equation) -> Equation:
        if type(one) is not type(two) or one.name != two.name:
            raise PartitionError(f"{one.name} is {two.name} at the other length")
        if isinstance(one, Block) and isinstance(two, Block):
            for a, b in _pairs(one.inputs, two.inputs, one.name):
                self._name(a, b)
            self._define(one.outputs, two.outputs)
            return replace(one, body=self._graph(one.body, two.body))
        assert isinstance(one, Repeat) and isinstance(two, Repeat)
        reads = tuple(self._read(a, b) for a, b in _pairs(one.reads, two.reads, one.name))
        self._define([write.name for write in one.writes], [write.name for write in two.writes])
        if [replace(write, name="") for write in one.writes] != [replace(write, name="") for write in two.writes]:
            raise PartitionError(f"{one.name} writes other values at the other length")
        length = self.lengths.between(one.length, two.length)
        return replace(one, body=self._graph(one.body, two.body), length=length, reads=reads)

    def _read(self, one: Read, two: Read) -> Read:
        match one, two:
            case Stacked(sources), Stacked(others) if all(name in self.draws for name in (*sources, *others)):
                drawn = self.lengths.count(*(tuple(self.draws[name] for name in names) for names in (sources, others)))
                return Stacked(tuple(map(self.noise, drawn)))
            case Slices() | Prefix(), Slices() | Prefix() if type(one) is type(two):
                index = self.lengths.count(one.index, two.index)
                same = self.value(replace(one, index=()), replace(two, index=()))
                return replace(same, index=index)
            case Table(values), Table(others) if all(isinstance(value, int) for value in (*values, *others)):
                return Table(self.lengths.count(values, others))  # pyright: ignore[reportArgumentType]
        return self.value(one, two)

    def _graph(self, one: fx.GraphModule, two: fx.GraphModule) -> fx.GraphModule:
        graph = fx.Graph()
        copied: dict[fx.Node, fx.Node] = {}
        partner: dict[fx.Node, fx.Node] = {}
        for a, b in _pairs(list(one.graph.nodes), list(two.graph.nodes), "calls"):
            if a.op != b.op or (a.op == "call_function" and a.target is not b.target):
                raise PartitionError(f"{a.target} is {b.target} at the other length")
            partner[b] = a
            args, kwargs = self.value(_nodes((a.args, a.kwargs), {}), _nodes((b.args, b.kwargs), partner))
            args, kwargs = fx.map_arg((args, kwargs), copied.__getitem__)
            copied[a] = graph.create_node(a.op, a.target, args, kwargs, a.name)
            copied[a].meta.update({**a.meta, "spec": self._spec(a.meta.get("spec"), b.meta.get("spec"))})
        return fx.GraphModule({}, graph, class_name=type(one).__name__)

    def _spec(self, one: Any, two: Any) -> Any:
        if one is None or two is None:
            return None
        if isinstance(one, TensorSpec):
            return TensorSpec(*(self.value(a, b) for a, b in zip(one, two, strict=True)))
        return tuple(self._spec(a, b) for a, b in _pairs(one, two, "results"))

    def value(self, one: Any, two: Any) -> Any:
        """Numbers by the affine rule, names by translation, containers and dataclasses piece by piece."""
        if type(one) is not type(two):
            raise PartitionError(f"{one!r} is {two!r} at the other length")
        if isinstance(one, int) and not isinstance(one, bool):
            return self.lengths.between(one, two)
        if isinstance(one, str) and one != two:
            return self._name(one, two)
        if isinstance(one, (tuple, list)):
            return type(one)([self.value(a, b) for a, b in _pairs(one, two, "arguments")])
        if isinstance(one, dict):
            return {key: self.value(a, two.get(key)) for key, a in one.items()}
        if is_dataclass(one):
            parts = {part.name: self.value(getattr(one, part.name), getattr(two, part.name)) for part in fields(one)}
            return replace(one, **parts)  # pyright: ignore[reportArgumentType]
        if one is not two and repr(one) != repr(two):
            raise PartitionError(f"{one!r} is {two!r} at the other length")
        return one

    def _define(self, one: Any, two: Any) -> None:
        self.names.update((b, a) for a, b in _pairs(one, two, "names"))

    def _name(self, one: str, two: str) -> str:
        if self.names.get(two) != one:
            raise PartitionError(f"{one} is {two} at the other length")
        return one


def _pairs(one: Any, two: Any, what: str) -> list[tuple[Any, Any]]:
    if len(one) != len(two):
        raise PartitionError(f"{what}: {len(one)} at one length, {len(two)} at the other")
    return list(zip(one, two, strict=True))


def _nodes(arguments: Any, partner: Mapping[fx.Node, fx.Node]) -> Any:
    """Arguments with the nodes of the second graph replaced by those of the first."""
    return fx.map_arg(arguments, lambda node: partner.get(node, node))
