"""Values that depend on attributes alone, with other numbers in each entry of those that may change.

A value that is made by moving entries, by filling some in, and by factors of 0 and 1 tells where each of its entries
came from: two such values with equal entries are equal whatever the parameters are.
"""

import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from fxsolve.capture.program import Program, attribute_of
from fxsolve.torch_compat.operators import OpOverload
from fxsolve.torch_compat.trees import pytree

aten = torch.ops.aten

# Each entry of the result is an entry of the arguments at these places, or does not depend on them.
MOVES: dict[Any, tuple[int, ...]] = {
    operator.getitem: (0,),
    aten.clone.default: (0,),
    aten._to_copy.default: (0,),
    aten.reshape.default: (0,),
    aten.copy.default: (0, 1),
    aten.fill.Scalar: (0,),
    aten.fill.Tensor: (0, 1),
    aten.tril.default: (0,),
    aten.triu.default: (0,),
    aten.masked_fill.Scalar: (0,),
    aten.masked_fill.Tensor: (0, 2),
    aten.where.self: (1, 2),
    aten.where.ScalarOther: (1,),
    aten.where.ScalarSelf: (2,),
    aten.index_put.default: (0, 2),
    aten.index_fill.int_Scalar: (0,),
    aten.index_fill.int_Tensor: (0, 3),
    aten.index_copy.default: (0, 3),
    aten.scatter.src: (0, 3),
    aten.scatter.value: (0,),
    aten.select_scatter.default: (0, 1),
    aten.slice_scatter.default: (0, 1),
    aten.diagonal_scatter.default: (0, 1),
    aten.zeros_like.default: (0,),
    aten.ones_like.default: (0,),
    aten.full_like.default: (0,),
}


@dataclass(frozen=True)
class Fixed:
    """A value that depends on attributes alone.

    `is_drawn` tells whether it depends on parameters, or on what the program writes into, and `sources` are the other
    attributes. `above` are the numbers of the values that it was computed from, as bits.
    """

    number: int
    node: fx.Node
    is_drawn: bool
    sources: frozenset[str]
    above: int


def is_open(program: Program, node: fx.Node) -> bool:
    """Whether the next run may find any values in an attribute."""
    return program.roles[node.name] == "param" or node.target in program.example.attributes


class DrawnValues:
    """Values of what depends on attributes alone, with other numbers in each entry of those that are open."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._values: dict[int, Any] = {}

    def of(self, fixed: Fixed) -> Any:
        """A value that was found, or None where it is not known."""
        return self._values[fixed.number]

    def find(self, wanted: list[Fixed], fixed: dict[fx.Node, Fixed]) -> None:
        """Find the values of these; each comes after those that it is computed from."""
        for one in wanted:
            if one.number not in self._values:
                is_leaf = one.node.op == "get_attr"
                value = self._attribute(one) if is_leaf else self.result(one.node, fixed)
                self._values[one.number] = value

    def _attribute(self, one: Fixed) -> Tensor | None:
        value = attribute_of(self._program, str(one.node.target)).detach()
        if one.is_drawn:
            return _draw(value, one.number) if value.is_floating_point() else None
        return None if value.is_inference() else value  # what cannot be watched may change

    def result(self, node: fx.Node, fixed: dict[fx.Node, Fixed]) -> Any:
        """What a call gives, or None where entries would become other numbers than the drawn ones."""
        inputs = {one: fixed[one] for one in node.all_input_nodes}
        values = {one: self._values[found.number] for one, found in inputs.items()}
        drawn = {one for one, found in inputs.items() if found.is_drawn}
        if any(value is None for value in values.values()) or not _keeps_entries(node, values, drawn):
            return None
        args, kwargs = fx.map_arg((node.args, node.kwargs), values.__getitem__)  # pyright: ignore
        with torch.no_grad():
            return node.target(*args, **kwargs)  # pyright: ignore


def _keeps_entries(node: fx.Node, values: dict[fx.Node, Any], drawn: set[fx.Node]) -> bool:
    """Whether each entry of a result is a drawn number, or the same whatever is drawn."""
    if not drawn:
        return True
    if node.target is aten.mul.Tensor:
        factors = [values.get(one, one) for one in node.args if one not in drawn]  # pyright: ignore
        return len(factors) == 1 and bool(torch.as_tensor((factors[0] == 0) | (factors[0] == 1)).all())
    if node.target is aten.index_put.default and any(node.args[3:]):
        return False
    is_view = isinstance(node.target, OpOverload) and node.target.is_view and node.target is not aten.as_strided.default
    slots = (0,) if is_view else MOVES.get(node.target, ())
    given = [argument for k, argument in enumerate(node.args) if k in slots]
    others = pytree.tree_leaves([argument for k, argument in enumerate(node.args) if k not in slots])
    return all(one in given and one not in others for one in drawn)


def _draw(like: Tensor, seed: int) -> Tensor:
    """Another number for each entry, as far as the type has that many, none of them zero."""
    generator, count = torch.Generator().manual_seed(seed), like.numel()
    order = torch.randperm(count, generator=generator) + 1
    signs = torch.randint(0, 2, (count,), generator=generator) * 2 - 1
    return torch.empty_like(like).copy_((order * signs / max(count, 1)).view(like.shape))
