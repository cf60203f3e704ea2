"""Loops whose results are compared with one another, as the derivative of `amax` compares x with max x.

The outputs of a sweep are F(point), and those that no step carries were computed from `point`. Until the two are equal
bit for bit, a value that was picked out of a carried one equals none of its entries, and the comparison fails.
"""

import operator
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import fx

from fxsolve.ir.nested import Nested, every_repeat, loops_inside
from fxsolve.ir.reads import has_carry
from fxsolve.ir.spec import Block, FinalBuffer, Lag, Prefix, Repeat, System, Write
from fxsolve.ir.tensor_spec import TensorSpec
from fxsolve.ops.access import SamePlace
from fxsolve.ops.facts import access_of
from fxsolve.plan.decision import Candidate, Choice, Decision
from fxsolve.plan.legalize import legalize
from fxsolve.plan.method import MethodNode, Part
from fxsolve.plan.schedule import Schedule, all_leaves, map_parts, name_of, parts_of, text_of


class Origin(NamedTuple):
    """A recurrence that a value comes from, the number of its output, and whether its steps carry that."""

    repeat: str
    output: int
    carried: bool


Origins = frozenset[Origin]
_NONE: Origins = frozenset()


def solve_ties(system: System, decision: Decision) -> Decision:
    """The decision with all recurrences solved bit for bit whose results are compared with one another."""
    loose = {name_of(leaf) for leaf in all_leaves(decision.schedule) if isinstance(leaf, MethodNode) and leaf.is_loose}
    exact = {name: source for name, source in tied_loops(system).items() if name in loose}
    if not exact:
        return decision
    repeats = [repeat for repeat in every_repeat(system) if repeat.name in exact]
    schedule = map_parts(decision.schedule, lambda part: _exactly(part) if name_of(part) in exact else part)
    schedule = legalize(schedule, [one for one in repeats if any(map(_has_no_test, parts_of(schedule, one.name)))])
    notes = (
        f"{name} is solved to the last bit: {source} compares what its steps give" for name, source in exact.items()
    )
    choices = tuple(_chosen(choice, schedule, exact) for choice in decision.choices)
    return replace(decision, schedule=schedule, choices=choices, notes=(*decision.notes, *notes))


def tied_loops(system: System) -> dict[str, str]:
    """The recurrences with two results, one of them carried, that are compared outside; and the user's line."""
    tracing = _Tracing()
    for equation in system.equations:
        if isinstance(equation, Block):
            results = tracing.trace(equation.body, [tracing.of([name]) for name in equation.inputs])
            tracing.known.update(zip(equation.outputs, results, strict=True))
            continue
        results = tracing.trace(equation.body, [tracing.of(read.names) for read in equation.reads])
        tracing.known.update(_written(equation, results))
    return tracing.ties


def _written(repeat: Repeat, results: list[Origins]) -> Iterator[tuple[str, Origins]]:
    """The origins of what a repeat writes, from those of the results of its steps."""
    inner = {one.name for one in loops_inside(repeat)}
    for write in repeat.writes:
        if not has_carry(repeat):
            yield write.name, results[write.output]  # pyright: ignore[reportAttributeAccessIssue]
            continue
        origin = _origin(repeat, write)
        yield write.name, frozenset({origin, *(one for one in results[origin.output] if one.repeat in inner)})


def _origin(repeat: Repeat, write: Write) -> Origin:
    carried = {read.output for read in repeat.reads if isinstance(read, (Lag, Prefix))}
    if isinstance(write, FinalBuffer):
        buffer = repeat.reads[write.read]
        assert isinstance(buffer, Prefix)
        return Origin(repeat.name, buffer.output, True)
    return Origin(repeat.name, write.output, write.output in carried)


@dataclass
class _Tracing:
    """The origins of named values, and the ties found so far: recurrence -> the user's line."""

    known: dict[str, Origins] = field(default_factory=dict)
    ties: dict[str, str] = field(default_factory=dict)

    def of(self, names: Iterable[str]) -> Origins:
        return _NONE.union(*(self.known.get(name, _NONE) for name in names))

    def trace(self, body: fx.GraphModule, given: list[Origins]) -> list[Origins]:
        """The origins of the results of a body, from those of what it takes."""
        found = dict(zip(body.graph.find_nodes(op="placeholder"), given, strict=True))
        for node in body.graph.nodes:
            if node.op == "call_function":
                inner = _result_of_loop(node)
                sources = (found[source] for source in node.all_input_nodes)
                found[node] = frozenset({inner}) if inner is not None else _NONE.union(*sources)
                if _compares(node):
                    self._compare(node, found)
        results: Any = body.graph.output_node().args[0]
        return [found[result] for result in results]

    def _compare(self, node: fx.Node, found: Mapping[fx.Node, Origins]) -> None:
        left, right = node.args[:2]
        if not (isinstance(left, fx.Node) and isinstance(right, fx.Node) and _is_inexact(left)):
            return
        for one, other in product(found[left], found[right]):
            # What comes from one output alone is from one sweep.
            if one.repeat == other.repeat and one.output != other.output and (one.carried or other.carried):
                self.ties.setdefault(one.repeat, node.meta.get("source", "the program"))


def _result_of_loop(node: fx.Node) -> Origin | None:
    """The origin of a result of a loop inside of a step whose own steps read one another."""
    loop: Any = node.args[0] if node.target is operator.getitem else None
    if not isinstance(loop, fx.Node) or not isinstance(loop.target, Nested) or not has_carry(loop.target.repeat):
        return None
    number: Any = node.args[1]
    return _origin(loop.target.repeat, loop.target.repeat.writes[number])


def _compares(node: fx.Node) -> bool:
    """Whether an op tells of each pair of entries at one place whether something holds of them."""
    spec = node.meta.get("spec")
    is_told = isinstance(spec, TensorSpec) and spec.dtype is torch.bool and len(node.args) > 1
    return is_told and access_of(node.target) == SamePlace()


def _is_inexact(node: fx.Node) -> bool:
    spec = node.meta.get("spec")
    return not isinstance(spec, TensorSpec) or spec.dtype.is_floating_point or spec.dtype.is_complex


def _exactly(part: Part) -> Part:
    return part.exactly() or part if isinstance(part, MethodNode) else part


def _has_no_test(part: Part) -> bool:
    """Whether a part has no form that is exact to the last bit, and must run in order instead."""
    return isinstance(part, MethodNode) and part.exactly() is None


def _chosen(choice: Choice, schedule: Schedule, names: Mapping[str, str]) -> Choice:
    """The choice with the stricter test, of which nothing was measured."""
    parts = parts_of(schedule, choice.repeat) or choice.parts
    inside = tuple(_chosen(inner, schedule, names) for inner in choice.inside)
    if choice.repeat not in names:
        return replace(choice, parts=parts, inside=inside)
    reason = "to the last bit, as its results are compared"
    chosen = Candidate(text_of(parts), choice.chosen.backend, None, "not tried", reason)
    return replace(choice, parts=parts, chosen=chosen, sweeps=None, inside=inside)
