"""Values that depend on parameters, buffers and constants only: they show the zeros of masks."""

from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from fxsolve.partitioner.graphs.drawn import is_open
from fxsolve.system.spec import Block, System
from fxsolve.tracer.program import Program, attribute_of

_SIGNS = (1.0, -1.0, 0.0)  # of the random parameters in each trial; 0.0 for both signs


def structural_values(program: Program, system: System) -> list[dict[str, Tensor]]:
    """Values that depend on parameters, buffers and constants only, for a few random choices of the parameters.

    An entry that is zero for random parameters of either sign is zero for all: masks held in buffers show as zeros,
    weights do not. What the program writes into is random too. Values that depend on inputs or noise are absent, and so
    are conditions and indices computed from parameters, which random ones say nothing about.
    """
    return [_structural(program, system, seed, sign) for seed, sign in enumerate(_SIGNS)]


def _structural(program: Program, system: System, seed: int, sign: float) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    values: dict[str, Any] = {}
    random: set[str] = set()
    for node in program.module.graph.find_nodes(op="get_attr"):
        value = attribute_of(program, str(node.target)).detach()
        if is_open(program, node):
            if not (value.is_floating_point() or value.is_complex()):
                continue
            drawn = torch.randn(value.shape, generator=generator)
            value = (sign * drawn.abs() if sign else drawn).to(value)
            random.add(node.name)
        values[node.name] = value
    for equation in system.equations:
        if isinstance(equation, Block):
            _evaluate(equation, values, random)
    return values


def _evaluate(block: Block, values: dict[str, Any], random: set[str]) -> None:
    """Add those outputs of a block that are computed from known values, and what of them is random."""
    nodes = list(block.body.graph.nodes)
    inputs = zip((node for node in nodes if node.op == "placeholder"), block.inputs, strict=True)
    names = {node: name for node, name in inputs if name in values}
    known = {node: values[name] for node, name in names.items()}
    drawn = {node for node, name in names.items() if name in random}
    for node in nodes:
        if node.op != "call_function" or not all(one in known for one in node.all_input_nodes):
            continue
        args, kwargs = fx.map_arg((node.args, node.kwargs), known.__getitem__)  # pyright: ignore
        with torch.no_grad():
            result = node.target(*args, **kwargs)
        if not drawn.isdisjoint(node.all_input_nodes):
            drawn.add(node)
            if not all(one.is_floating_point() for one in pytree.tree_leaves(result) if isinstance(one, Tensor)):
                continue
        known[node] = result
    outputs: Any = block.body.graph.output_node().args[0]
    for name, node in zip(block.outputs, outputs, strict=True):
        if node in known:
            values[name] = known[node]
            random.update({name} if node in drawn else ())
