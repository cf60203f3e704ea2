"""One program recorded at two lengths gives its system at any length.

Two systems of one form are walked side by side. A number n that differs between them is taken as affine in the length,

    n(T) = n_1 + (n_2 - n_1) (T - T_1) / (T_2 - T_1),

an index that counts up or down goes on counting, and everything else must be equal. Where the numbers of a run at the
new length are known they are used instead, so that any number may depend on the length. What is left is a guess about
unseen lengths: whoever uses it checks the result against the program itself, once for each new length.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

from torch import fx

from fxsolve.errors import PartitionError
from fxsolve.ir.nested import Nested
from fxsolve.ir.spec import Block, Equation, Prefix, Read, Repeat, Slices, Stacked, System, Table
from fxsolve.ir.tensor_spec import TensorSpec
from fxsolve.loops.generalize.counting import Lengths
from fxsolve.loops.generalize.numbers import Column, Numbers
from fxsolve.torch_compat.graphs import Graph, lazy_module


@dataclass(frozen=True)
class Series:
    """Names of leaves of which there are more at other lengths: draws, and constants made of numbers.

    Each maps to its kind and its number among those; both together are its name at every length.
    """

    numbered: Mapping[str, tuple[str, int]] = field(default_factory=dict)

    def count(self, kind: str) -> int:
        return sum(one == kind for one, _ in self.numbered.values())


@dataclass
class Blend:
    """Walks two systems side by side. `names` translates the second system's names to the first's."""

    lengths: Lengths
    one: Series
    two: Series
    numbers: Numbers = field(default_factory=Numbers)
    names: dict[str, str] = field(default_factory=dict)

    def system(self, one: System, two: System) -> System:
        """The system at the wanted length. PartitionError where the two differ in more than numbers."""
        own = [name for name in one.inputs if name not in self.one.numbered]
        others = [name for name in two.inputs if name not in self.two.numbered]
        self._define(own, others)
        equations = tuple(self._equation(a, b) for a, b in _pairs(one.equations, two.equations, "equations"))
        outputs = tuple(self._name(a, b) for a, b in _pairs(one.outputs, two.outputs, "outputs"))
        return System((*own, *self._leaves()), equations, outputs)

    def _leaves(self) -> list[str]:
        kinds = dict.fromkeys(kind for kind, _ in (*self.one.numbered.values(), *self.two.numbered.values()))
        counts = {kind: self.lengths.between(self.one.count(kind), self.two.count(kind)) for kind in kinds}
        return [numbered_name(kind, k) for kind in kinds for k in range(counts[kind])]

    def _equation(self, one: Equation, two: Equation) -> Equation:
        if type(one) is not type(two) or one.name != two.name:
            raise PartitionError(f"{one.name} is {two.name} at the other length")
        if isinstance(one, Block) and isinstance(two, Block):
            inputs = tuple(self._name(a, b) for a, b in _pairs(one.inputs, two.inputs, one.name))
            self._define(one.outputs, two.outputs)
            return replace(one, body=self._graph(one.body, two.body), inputs=inputs)
        assert isinstance(one, Repeat) and isinstance(two, Repeat)
        reads = tuple(self._read(a, b) for a, b in _pairs(one.reads, two.reads, one.name))
        self._define([write.name for write in one.writes], [write.name for write in two.writes])
        if [replace(write, name="") for write in one.writes] != [replace(write, name="") for write in two.writes]:
            raise PartitionError(f"{one.name} writes other values at the other length")
        length = self.lengths.between(one.length, two.length)
        return replace(one, body=self._graph(one.body, two.body), length=length, reads=reads)

    def _read(self, one: Read, two: Read) -> Read:
        match one, two:
            case Stacked(sources), Stacked(others) if sources[0] in self.one.numbered:
                return Stacked(self._series(sources, others))
            case Slices() | Prefix(), Slices() | Prefix() if type(one) is type(two):
                index: Any = self._table(one.index, two.index)
                same = self.value(replace(one, index=()), replace(two, index=()))
                return replace(same, index=index)
            case Table(values), Table(others):
                return Table(self._table(values, others))  # pyright: ignore[reportArgumentType]
        return self.value(one, two)

    def _series(self, one: tuple[str, ...], two: tuple[str, ...]) -> tuple[str, ...]:
        """The numbered leaves that the steps of a loop read, one after the other."""
        found = [self.one.numbered.get(name, ("", 0)) for name in one]
        others = [self.two.numbered.get(name, ("", 0)) for name in two]
        kinds = {kind for kind, _ in (*found, *others)}
        if len(kinds) != 1 or "" in kinds:
            raise PartitionError("the steps of a loop read leaves of several kinds")
        counted = self.lengths.count(*(tuple(k for _, k in entries) for entries in (found, others)))
        return tuple(numbered_name(kind, k) for kind in kinds for k in counted)

    def _table(self, one: Column, two: Column) -> Column:
        """The numbers of all steps."""
        known = self.numbers.table(one, two, self.lengths.between(len(one), len(two)))
        if known is not None:
            return known
        if not self.numbers.is_regular or not all(isinstance(number, int) for number in (*one, *two)):
            raise PartitionError("the numbers of a loop follow no rule that holds at all lengths")
        return self.lengths.count(one, two)  # pyright: ignore[reportArgumentType]

    def _graph(self, one: fx.GraphModule, two: fx.GraphModule) -> fx.GraphModule:
        graph = Graph()
        copied: dict[fx.Node, fx.Node] = {}
        partner: dict[fx.Node, fx.Node] = {}
        for a, b in _pairs(list(one.graph.nodes), list(two.graph.nodes), "calls"):
            target = self._target(a, b)
            partner[b] = a
            args, kwargs = self.value(_nodes((a.args, a.kwargs), {}), _nodes((b.args, b.kwargs), partner))
            args, kwargs = fx.map_arg((args, kwargs), copied.__getitem__)
            copied[a] = graph.create_node(a.op, target, args, kwargs, a.name)
            copied[a].meta.update({**a.meta, "spec": self._spec(a.meta.get("spec"), b.meta.get("spec"))})
        return lazy_module(graph, type(one).__name__)

    def _target(self, one: fx.Node, two: fx.Node) -> Any:
        """What a node calls, a loop at the wanted length among these."""
        if isinstance(one.target, Nested) and isinstance(two.target, Nested):
            names = _pairs(two.target.inputs, one.target.inputs, one.target.repeat.name)
            inner = Blend(self.lengths, Series(), Series(), self.numbers, dict(names))
            equation = inner._equation(one.target.repeat, two.target.repeat)
            assert isinstance(equation, Repeat)
            return Nested(equation)
        if one.op != two.op or (one.op == "call_function" and one.target is not two.target):
            raise PartitionError(f"{one.target} is {two.target} at the other length")
        return one.target

    def _spec(self, one: Any, two: Any) -> Any:
        if one is None or two is None:
            return None
        if isinstance(one, TensorSpec):
            return one._replace(shape=self._sizes(one.shape, two.shape), stride=self._sizes(one.stride, two.stride))
        return tuple(self._spec(a, b) for a, b in _pairs(one, two, "results"))

    def _sizes(self, one: tuple[int, ...], two: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(self.lengths.between(a, b) for a, b in _pairs(one, two, "sizes"))

    def value(self, one: Any, two: Any) -> Any:
        """Numbers as they are at the wanted length, names by translation, containers and dataclasses piece by piece."""
        if type(one) is not type(two):
            raise PartitionError(f"{one!r} is {two!r} at the other length")
        if isinstance(one, (int, float, complex)) and not isinstance(one, bool):
            return self._number(one, two)
        if isinstance(one, str) and (one != two or one in self.one.numbered):
            return self._name(one, two)
        if isinstance(one, (tuple, list)):
            made = [self.value(a, b) for a, b in _pairs(one, two, "arguments")]
            return type(one)(*made) if hasattr(one, "_fields") else type(one)(made)
        if isinstance(one, dict):
            return {key: self.value(a, two.get(key)) for key, a in one.items()}
        if is_dataclass(one):
            parts = {part.name: self.value(getattr(one, part.name), getattr(two, part.name)) for part in fields(one)}
            return replace(one, **parts)  # pyright: ignore[reportArgumentType]
        if one is not two and repr(one) != repr(two):
            raise PartitionError(f"{one!r} is {two!r} at the other length")
        return one

    def _number(self, one: Any, two: Any) -> Any:
        known = self.numbers.number(one, two)
        if known is not None:
            return known
        if isinstance(one, int):
            return self.lengths.between(one, two)
        if repr(one) != repr(two):
            raise PartitionError(f"a number is {one} at length {self.lengths.first} and {two} at the other")
        return one

    def _define(self, one: Any, two: Any) -> None:
        self.names.update((b, a) for a, b in _pairs(one, two, "names"))

    def _name(self, one: str, two: str) -> str:
        if one in self.one.numbered and two in self.two.numbered:
            (kind, first), (other, second) = self.one.numbered[one], self.two.numbered[two]
            if kind == other:
                return numbered_name(kind, self.lengths.between(first, second))
        if self.names.get(two) != one or one in self.one.numbered:
            raise PartitionError(f"{one} is {two} at the other length")
        return one


def numbered_name(kind: str, number: int) -> str:
    """The name of a leaf of a series."""
    return f"{kind}_{number}"


def _pairs(one: Any, two: Any, what: str) -> list[tuple[Any, Any]]:
    if len(one) != len(two):
        raise PartitionError(f"{what}: {len(one)} at one length, {len(two)} at the other")
    return list(zip(one, two, strict=True))


def _nodes(arguments: Any, partner: Mapping[fx.Node, fx.Node]) -> Any:
    """Arguments with the nodes of the second graph replaced by those of the first."""
    return fx.map_arg(arguments, lambda node: partner.get(node, node))
