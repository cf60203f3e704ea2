"""Which call on which line of the user's code makes a step read what is not written yet."""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx

from fxsolve.ir.reads import read_order
from fxsolve.ir.spec import Invariant, Prefix, Repeat, Table
from fxsolve.lower.incremental.step import step_graph
from fxsolve.ops.access import Opaque, SamePlace
from fxsolve.ops.call import Call, bind
from fxsolve.ops.domains.dependence import Dependence
from fxsolve.ops.domains.entries import NEVER, Entries, abstract_in
from fxsolve.ops.facts import Facts, name_of
from fxsolve.ops.interpret import Interpreter
from fxsolve.ops.origins import origins
from fxsolve.plan.structural import Known, label_inputs
from fxsolve.torch_compat.operators import OpOverload
from fxsolve.torch_compat.trees import pytree


def blame(
    repeat: Repeat, sweep: fx.GraphModule, structural: Known, step: int, facts: Facts, results: Sequence[int]
) -> str:
    """The call, and its line, by which `step` comes to read what it, or a later step, writes; "" where none is found.

    `sweep` is that of all steps; `results` are the outputs that are looked at. From an entry of one that depends on too
    much, the way goes back through the entries that it reads; of the calls on this way, the one is named that makes
    entries depend on later steps most.
    """
    body = step_graph(repeat)
    labels = label_inputs(repeat, sweep, structural, list(range(repeat.length)))
    known = dict(zip(read_order(repeat.reads), labels, strict=True))
    interpreter = Interpreter(body, Dependence(), facts, garbage_collect_values=False)
    with torch.no_grad():
        interpreter.run(*(_at(read, known[j], step) for j, read in enumerate(repeat.reads)))
        outputs = body.graph.output_node().args[0]
        assert isinstance(outputs, tuple)
        for output in results:
            node = outputs[output]
            assert isinstance(node, fx.Node)
            value = interpreter.env[node]
            if isinstance(value, Entries) and bool((value.latest >= step).any()):
                entry = int((value.latest >= step).flatten().nonzero()[0])
                return _Way(interpreter.env, step, facts).verdict(node, entry)
    return ""


def _at(read: Any, label: Any, step: int) -> Any:
    """What is known of a read at one step."""
    match read:
        case Invariant() | Prefix():
            return label
        case Table(values):
            return torch.tensor(values[step])
    return label.all_alike(lambda part: part[step]) if isinstance(label, Entries) else label[step]


@dataclass(frozen=True)
class _Way:
    """The way from an entry back to where it comes from; `values` is what is known of each node at `step`."""

    values: Mapping[fx.Node, Any]
    step: int
    facts: Facts

    def verdict(self, node: fx.Node, entry: int) -> str:
        """The call for entry number `entry` of the value of `node`."""
        way = self._back(node, entry)
        if not way:
            return ""
        # Where a step stands among its entries says nothing of their order.
        calls = [one for one in way if not _moves(self._call(one, self.values))] or way[:1]
        worst = max(calls, key=self._rise)
        if self._is_opaque(worst):
            return f"{_named(worst)}, an op without a rule about which entries it reads"
        return _named(worst)

    def _back(self, node: fx.Node, entry: int) -> list[fx.Node]:
        """The calls through which an entry that depends on too much does so, the last call of the step first."""
        calls: list[fx.Node] = []
        while node.op == "call_function":
            part = None
            if node.target is operator.getitem:
                tuple_, part = node.args
                assert isinstance(tuple_, fx.Node) and isinstance(part, int)
                node = tuple_
            calls.append(node)
            late = {} if self._is_opaque(node) else self._late(node, part, entry)
            if not late:
                break
            node, entry = next(iter(late.items()))
        return calls

    def _call(self, node: fx.Node, values: Mapping[fx.Node, Any]) -> Call:
        args, kwargs = fx.map_arg((node.args, dict(node.kwargs)), values.__getitem__)
        assert isinstance(node.target, OpOverload)
        return bind(node.target, args, kwargs, node.meta.get("val"), self.facts)

    def _is_opaque(self, node: fx.Node) -> bool:
        return isinstance(self._call(node, self.values).fact.access, Opaque)

    def _rise(self, node: fx.Node) -> float:
        """By how much entries depend on later steps than those of the arguments do, in the mean.

        An op that only keeps the order, as a masked convolution does, takes written and unwritten entries together
        where an op before it looked ahead; but it was that one that brought them together.
        """
        before = [_mean(self.values[one]) for one in node.all_input_nodes]
        return _mean(self.values[node]) - max(before)

    def _late(self, node: fx.Node, part: int | None, entry: int) -> dict[fx.Node, int]:
        """For each argument of which an entry reads an unwritten one, the last of these."""
        late: dict[fx.Node, int] = {}
        for source in node.all_input_nodes:
            known = self.values[source]
            if isinstance(known, Entries):
                last = self._last_read(node, part, source, entry, known.latest >= self.step)
                if last != NEVER:
                    late[source] = last
        return late

    def _last_read(self, node: fx.Node, part: int | None, source: fx.Node, entry: int, among: Tensor) -> int:
        """The last of some entries of `source` that an entry of `node` reads.

        The domain tells the highest label that an entry depends on: here, labels are the numbers of the entries.
        """
        values = {one: _unlabelled(self.values[one]) for one in node.all_input_nodes}
        numbers = torch.arange(among.numel(), device=among.device).view(among.shape)
        values[source] = replace(values[source], latest=torch.where(among, numbers, NEVER))
        result = Dependence().transfer(self._call(node, values))
        return int((result if part is None else result[part]).latest.flatten()[entry])


def _moves(call: Call) -> bool:
    """Whether entries of the result are what is at one place of each argument."""
    return isinstance(call.fact.access, SamePlace) or bool(origins(call))


def _unlabelled(value: Any) -> Any:
    def without(one: Entries) -> Entries:
        return Entries(torch.full_like(one.latest, NEVER), one.zero, one.low)

    return pytree.tree_map_only(Entries, without, value)


def _mean(value: Any) -> float:
    """The mean label of the entries that depend on steps at all; of a list, that of its latest tensor."""
    labels = [one.latest[one.latest != NEVER].double() for one in abstract_in(value)]
    return max((float(one.mean()) for one in labels if one.numel()), default=NEVER)


def _named(node: fx.Node) -> str:
    source = node.meta.get("source")
    assert isinstance(node.target, OpOverload)
    return f"{name_of(node.target)} at {source}" if source else name_of(node.target)
