"""What keeps blocks from being swept, or from ending before their values are exact."""

import operator
from collections.abc import Iterable, Iterator
from dataclasses import replace

import torch
from torch import fx

from fxsolve.ir.nested import every_repeat
from fxsolve.ir.spec import Block, Equation, System
from fxsolve.ir.tensor_spec import TensorSpec
from fxsolve.ops.access import SamePlace
from fxsolve.ops.facts import access_of
from fxsolve.plan.schedule import BlockMethod, GaussSeidel, JacobiBlocks, Schedule, leaves, map_block_methods, name_of
from fxsolve.solvers.stop import Stop


def legal_blocks(schedule: Schedule, system: System, stop: Stop | None) -> tuple[Schedule, tuple[str, ...]]:
    """The schedule with blocks in order that cannot be swept, and with a note for each change.

    Before its last sweep a block may be fed anything, so integers that are made of it could be no index any more.
    Blocks whose values are compared must be exact: half-solved, a value equals none that was picked out of it.
    """
    blocks = {one.name: one for one in system.equations if isinstance(one, Block)}
    compared = next(filter(_compares, _calls([*blocks.values(), *every_repeat(system)])), None)
    notes: list[str] = []

    def legal(method: BlockMethod) -> Schedule:
        if not isinstance(method, JacobiBlocks):
            return method
        swept = [blocks[name_of(leaf)] for leaf in leaves(method)]
        integer = next(_uncertain_integers(swept), None)
        if integer is not None:
            notes.append(f"{_title(swept)} run in order: {_where(integer)} makes integers of what is not solved yet")
            return GaussSeidel(tuple(method.children))
        test = method.stop or stop
        if compared is not None and test is not None and (test.atol or test.rtol):
            notes.append(f"{_title(swept)} are solved to the last bit: {_where(compared)} compares numbers")
            return replace(method, stop=Stop(max_sweeps=test.max_sweeps))
        return method

    return map_block_methods(schedule, legal), tuple(notes)


def _title(blocks: list[Block]) -> str:
    return f"{blocks[0].name} to {blocks[-1].name}"


def _calls(equations: Iterable[Equation]) -> Iterator[fx.Node]:
    return (node for one in equations for node in one.body.graph.nodes if node.op == "call_function")


def _uncertain_integers(blocks: list[Block]) -> Iterator[fx.Node]:
    """The calls that make integers of what the blocks give one another."""
    made = {name for block in blocks for name in block.outputs}
    for block in blocks:
        placeholders = block.body.graph.find_nodes(op="placeholder")
        uncertain = {node for node, name in zip(placeholders, block.inputs, strict=True) if name in made}
        # Integers among these are made of what is known, or were met before.
        uncertain = {node for node in uncertain if not _is_integer(node)}
        for node in block.body.graph.nodes:
            if not uncertain.isdisjoint(node.all_input_nodes):
                uncertain.add(node)
                # One result of several, as the places that come with the largest values, is right for any values.
                if node.op == "call_function" and node.target is not operator.getitem and _is_integer(node):
                    yield node


def _is_integer(node: fx.Node) -> bool:
    spec = node.meta.get("spec")
    return isinstance(spec, TensorSpec) and not _is_inexact(node) and spec.dtype is not torch.bool


def _compares(node: fx.Node) -> bool:
    """Whether a call compares two tensors of numbers entry by entry."""
    spec = node.meta.get("spec")
    is_told = isinstance(spec, TensorSpec) and spec.dtype is torch.bool and access_of(node.target) == SamePlace()
    return is_told and len(node.all_input_nodes) > 1 and any(_is_inexact(source) for source in node.all_input_nodes)


def _is_inexact(node: fx.Node) -> bool:
    spec = node.meta.get("spec")
    return isinstance(spec, TensorSpec) and (spec.dtype.is_floating_point or spec.dtype.is_complex)


def _where(node: fx.Node) -> str:
    return node.meta.get("source", node.name)
