"""Programs of one family: recorded at two lengths, they are known at every length."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, fx

from fxsolve.capture.effects.aliasing import fresh_of
from fxsolve.capture.effects.mutations import effects_of
from fxsolve.capture.program import Draw, Example, Program, attribute_of
from fxsolve.capture.stream import Stream
from fxsolve.errors import PartitionError
from fxsolve.ir.spec import System
from fxsolve.ir.verify import verify_system
from fxsolve.loops.generalize.blend import Blend, Series, numbered_name
from fxsolve.loops.generalize.counting import Lengths
from fxsolve.loops.generalize.literals import check_literals
from fxsolve.loops.generalize.numbers import read_numbers
from fxsolve.loops.partition import Partition
from fxsolve.runtime.ready import WatchedTensor, watch
from fxsolve.runtime.visit import Seen, Visit, see
from fxsolve.state.random_state import read_random_state
from fxsolve.state.stores import Stores
from fxsolve.state.storing import are_handed
from fxsolve.torch_compat.graphs import Graph


@dataclass(frozen=True)
class Member:
    """A program at one length: its system, and of the program itself what holds no intermediate values.

    `sizes` are those of its tensor arguments, and its integer arguments. The system rests on the values of attributes,
    those that are `watched` and `literals`, which every run makes anew.
    """

    program: Program
    system: System
    sizes: tuple[int, ...]
    watched: Mapping[str, WatchedTensor] = field(default_factory=dict)
    literals: tuple[str, ...] = ()


def member(program: Program, parts: Partition, leaves: Iterable[Any]) -> Member:
    """Keep what the other lengths of `program` are derived from."""
    noise = tuple(tensor.new_empty(0) for tensor in program.example.noise)  # tells the devices, and so the generators
    light = replace(program, module=_leaves_of(program, len(program.draws)), example=Example((), noise, ()))
    literals = tuple(name for name in parts.rested if name in program.stream.literals)
    watched = {name: watch(attribute_of(program, name)) for name in parts.rested if name not in literals}
    return Member(light, parts.system, sizes_of(leaves), watched, literals)


def sizes_of(leaves: Iterable[Any]) -> tuple[int, ...]:
    """The sizes of all tensors among `leaves`, and all integers."""
    sizes: list[int] = []
    for leaf in leaves:
        if isinstance(leaf, Tensor):
            sizes += leaf.shape
        elif type(leaf) is int:
            sizes.append(leaf)
    return tuple(sizes)


def find_lengths(one: Member, two: Member, sizes: tuple[int, ...]) -> Lengths | None:
    """One size in which the two members differ, if all other sizes are affine in it."""
    triples = set(zip(one.sizes, two.sizes, sizes, strict=True))
    found = next((Lengths(*triple) for triple in sorted(triples) if triple[0] != triple[1]), None)
    if found is None:
        return None
    try:
        return found if all(found.between(a, b) == c for a, b, c in triples) else None
    except PartitionError:
        return None


def grow(
    one: Member, two: Member, lengths: Lengths, visit: Visit, rewind: Callable[[], None]
) -> tuple[Program, System]:
    """The program and system for a new call, from one plain run of the original; `rewind()` puts generators back.

    Raises `PartitionError` if the two members do not tell what this length looks like; nothing has been changed then
    except for generators. What they tell is a guess where it is not read from the run: the caller checks the emitted
    module against the outputs in `example`.
    """
    _check_members(one.program, two.program)
    if any(watched.has_changed() for watched in (*one.watched.values(), *two.watched.values())):
        raise PartitionError("constants that the equations rest on have been written to")
    seen = see(visit, one.program)
    try:
        return _grow(one, two, lengths, seen, rewind)
    except Exception:
        seen.before.put_back()
        raise


def _grow(one: Member, two: Member, lengths: Lengths, seen: Seen, rewind: Callable[[], None]) -> tuple[Program, System]:
    after = read_random_state()
    if one.literals or two.literals:
        check_literals(_literals_of(one.program), _literals_of(two.program), seen.literals)
    blend = _blend(one.program, two.program, seen, lengths)
    system = blend.system(one.system, two.system)
    verify_system(system)
    draws = _draws(blend, one.program.draws, two.program.draws)
    rewind()
    noise = tuple(draw.sample() for draw in draws)
    if not torch.equal(read_random_state().cpu, after.cpu):
        raise PartitionError("the program draws other random numbers at this length")
    constants = blend.value(one.program.output.constants, two.program.output.constants)
    if seen.output != replace(one.program.output, constants=constants):
        raise PartitionError("the result has another structure at this length")
    roles = {name: role for name, role in one.program.roles.items() if name not in blend.one.numbered}
    roles.update((numbered_name("noise", k), "noise") for k in range(len(draws)))
    literals = tuple(numbered_name("literal", k) for k in range(len(seen.literals)))
    roles.update(dict.fromkeys(literals, "constant"))
    program = replace(
        one.program,
        module=_leaves_of(one.program, len(draws), seen.literals),
        roles=roles,
        draws=draws,
        output=seen.output,
        example=Example(seen.inputs, noise, seen.outputs, cotangents=seen.cotangents, before=seen.before),
        stream=Stream((), literals),
        stores=_stores(one.program.stores, two.program.stores, blend, seen),
    )
    if not are_handed(program.stores, seen.inputs, effects_of(program).attributes, seen.outputs):
        raise PartitionError("the program returns other views at this length")
    return program, system


def _stores(one: Stores, two: Stores, blend: Blend, seen: Seen) -> Stores:
    fresh = tuple(fresh_of(known.output, seen.outputs[known.output]) for known in one.fresh)
    counters = tuple(store.place for store in seen.counted)
    return replace(one, writes=seen.counted, counters=counters, fresh=fresh, shared=blend.value(one.shared, two.shared))


def _check_members(one: Program, two: Program) -> None:
    """What is not known at other lengths."""
    if one.mutations or two.mutations:
        raise PartitionError("the program writes into tensors that outlive the call")
    if not (one.stores.only_count and two.stores.only_count):
        raise PartitionError("the program changes attributes that outlive the call")
    if one.backward != two.backward:
        raise PartitionError("the gradients have another structure at the other length")
    if one.output.spec != two.output.spec or one.output.leaves != two.output.leaves or one.guards != two.guards:
        raise PartitionError("the results have another structure at the other length")
    if len(_owned(one)) != len(_owned(two)) or any(a is not b for a, b in zip(_owned(one), _owned(two), strict=True)):
        raise PartitionError("the program uses other tensors at the other length")


def _literals_of(program: Program) -> tuple[Tensor, ...]:
    """The constants that a program made of numbers."""
    return tuple(attribute_of(program, name) for name in program.stream.literals)


def _owned(program: Program) -> list[Tensor]:
    """The tensors that a program found, without the constants that it made of numbers."""
    nodes = program.module.graph.find_nodes(op="get_attr")
    return [attribute_of(program, str(node.target)) for node in nodes if node.name not in program.stream.literals]


def _blend(one: Program, two: Program, seen: Seen, lengths: Lengths) -> Blend:
    numbers = read_numbers(one.stream.entries, two.stream.entries, seen.entries, lengths)
    return Blend(lengths, _series(one), _series(two), numbers)


def _series(program: Program) -> Series:
    noise = [name for name, role in program.roles.items() if role == "noise"]
    numbered = {name: ("noise", k) for k, name in enumerate(noise)}
    return Series({**numbered, **{name: ("literal", k) for k, name in enumerate(program.stream.literals)}})


def _draws(blend: Blend, one: tuple[Draw, ...], two: tuple[Draw, ...]) -> tuple[Draw, ...]:
    """The same draws with other sizes, or one kind of draw more or fewer times."""
    if len(one) == len(two):
        return blend.value(one, two)
    if any(repr(draw) != repr(one[0]) for draw in (*one, *two)):
        raise PartitionError("different kinds of random draws, more of them at the other length")
    return one[:1] * blend.lengths.between(len(one), len(two))


def _leaves_of(program: Program, draws: int, literals: tuple[Tensor, ...] | None = None) -> fx.GraphModule:
    """Only the leaves of the graph, with noise for `draws` draws; `literals` replace the constants made of numbers."""
    graph = Graph()
    attributes: dict[str, Any] = {}
    replaced = frozenset(program.stream.literals if literals is not None else ())
    for node in program.module.graph.find_nodes(op="placeholder"):
        if program.roles.get(node.name) != "noise":
            graph.node_copy(node)
    for k in range(draws):
        graph.placeholder(numbered_name("noise", k))
    for node in program.module.graph.find_nodes(op="get_attr"):
        if node.name not in replaced:
            attributes[str(node.target)] = attribute_of(program, str(node.target))
            graph.node_copy(node)
    for k, literal in enumerate(literals or ()):
        attributes[numbered_name("literal", k)] = literal
        graph.get_attr(numbered_name("literal", k))
    graph.output(())
    return fx.GraphModule(attributes, graph, class_name="Leaves")
