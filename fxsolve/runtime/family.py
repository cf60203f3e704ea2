"""Programs of one family: recorded at two lengths, they are known at every length."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx

from fxsolve.errors import PartitionError
from fxsolve.partitioner.lengths import Blend, Lengths
from fxsolve.system.spec import System
from fxsolve.tracer.output import flatten_result
from fxsolve.tracer.program import Draw, Example, Program, attribute_of
from fxsolve.tracer.state import read_random_state


@dataclass(frozen=True)
class Member:
    """A program at one length: its system, and of the program itself what holds no intermediate values."""

    program: Program
    system: System
    shapes: tuple[torch.Size, ...]


def member(program: Program, system: System) -> Member:
    """Keep what the other lengths of `program` are derived from."""
    shapes = tuple(tensor.shape for tensor in program.example.inputs)
    noise = tuple(tensor.new_empty(0) for tensor in program.example.noise)  # tells the devices, and so the generators
    light = replace(program, module=_leaves_of(program, len(program.draws)), example=Example((), noise, ()))
    return Member(light, system, shapes)


def grow(one: Member, two: Member, run: Callable[[], Any], tensors: tuple[Tensor, ...]) -> tuple[Program, System]:
    """The program and system for new inputs; `run()` is one run of the original on them.

    Raises `PartitionError` if the two members do not tell what this length looks like. What they tell is a guess:
    the caller checks the emitted module against the outputs in `example`.
    """
    if one.program.mutations or two.program.mutations:
        raise PartitionError("the program writes into tensors that outlive the call")
    lengths = _lengths(one, two, tensors)
    names = {name: k for member in (one, two) for k, name in enumerate(_noise_names(member.program))}
    blend = Blend(lengths, _noise_name, names)
    system = blend.system(one.system, two.system)
    draws = _draws(blend, one.program.draws, two.program.draws)
    output = replace(
        one.program.output, constants=blend.value(one.program.output.constants, two.program.output.constants)
    )
    if one.program.output.spec != two.program.output.spec or one.program.guards != two.program.guards:
        raise PartitionError("the results have another structure at the other length")
    noise, result = _run_with_noise(draws, run)
    found, outputs = flatten_result(result)
    if found != output:
        raise PartitionError("the result has another structure at this length")
    roles = {name: role for name, role in one.program.roles.items() if role != "noise"}
    roles.update((_noise_name(k), "noise") for k in range(len(draws)))
    program = replace(
        one.program,
        module=_leaves_of(one.program, len(draws)),
        roles=roles,
        draws=draws,
        output=output,
        example=Example(tensors, noise, outputs),
    )
    return program, system


def _lengths(one: Member, two: Member, tensors: tuple[Tensor, ...]) -> Lengths:
    """The one size in which the inputs differ."""
    sizes = {
        (a, b, c)
        for shapes in zip(one.shapes, two.shapes, (tensor.shape for tensor in tensors), strict=True)
        for a, b, c in zip(*shapes, strict=True)
        if not a == b == c
    }
    if len(sizes) != 1:
        raise PartitionError("more than one size differs between the lengths")
    first, second, wanted = sizes.pop()
    if first == second:
        raise PartitionError("the lengths recorded do not differ where this one does")
    return Lengths(first, second, wanted)


def _draws(blend: Blend, one: tuple[Draw, ...], two: tuple[Draw, ...]) -> tuple[Draw, ...]:
    """The same draws with other sizes, or one kind of draw more or fewer times."""
    if len(one) == len(two):
        return blend.value(one, two)
    if any(repr(draw) != repr(one[0]) for draw in (*one, *two)):
        raise PartitionError("different kinds of random draws, more of them at the other length")
    return one[:1] * blend.lengths.between(len(one), len(two))


def _run_with_noise(draws: tuple[Draw, ...], run: Callable[[], Any]) -> tuple[tuple[Tensor, ...], Any]:
    """The draws that `run()` is going to make, and its result; it must leave the generators as the draws alone do."""
    before = read_random_state()
    noise = tuple(draw.sample() for draw in draws)
    after = read_random_state()
    before.restore()
    result = run()
    if not torch.equal(read_random_state().cpu, after.cpu):
        raise PartitionError("the program draws other random numbers at this length")
    return noise, result


def _leaves_of(program: Program, draws: int) -> fx.GraphModule:
    """Only the inputs of the graph, with noise for `draws` draws."""
    graph = fx.Graph()
    attributes: dict[str, Any] = {}
    for node in program.module.graph.nodes:
        role = program.roles.get(node.name)
        if node.op == "placeholder" and role != "noise":
            graph.node_copy(node)
    for k in range(draws):
        graph.placeholder(_noise_name(k))
    for node in program.module.graph.find_nodes(op="get_attr"):
        attributes[str(node.target)] = attribute_of(program, str(node.target))
        graph.node_copy(node)
    graph.output(())
    return fx.GraphModule(attributes, graph, class_name="Leaves")


def _noise_names(program: Program) -> list[str]:
    return [name for name, role in program.roles.items() if role == "noise"]


def _noise_name(number: int) -> str:
    return f"noise_{number}"
