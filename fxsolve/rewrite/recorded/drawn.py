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
from fxsolve.ops.access import ConstantFill
from fxsolve.ops.call import Call, bind
from fxsolve.ops.origins import origins
from fxsolve.torch_compat.operators import OpOverload
from fxsolve.torch_compat.trees import pytree


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
    if not drawn or node.target is operator.getitem:
        return True
    if not isinstance(node.target, OpOverload):
        return False
    call = bind(node.target, node.args, node.kwargs, node.meta["spec"])
    if call.name == "mul":
        factors = [values.get(one, one) for one in node.args if one not in drawn]  # pyright: ignore
        return len(factors) == 1 and bool(torch.as_tensor((factors[0] == 0) | (factors[0] == 1)).all())
    given = pytree.tree_leaves([call[name] for name in moved_arguments(call)])
    others = pytree.tree_leaves([call[name] for name in call.arguments if name not in moved_arguments(call)])
    return all(one in given and one not in others for one in drawn)


def moved_arguments(call: Call) -> tuple[str, ...]:
    """The arguments of which results hold entries, or that they do not depend on; none where they are computed."""
    if isinstance(call.fact.access, ConstantFill):
        return (next(iter(call.arguments)), "value")
    return ("self", "src") if call.name == "copy" else origins(call)


def _draw(like: Tensor, seed: int) -> Tensor:
    """Another number for each entry, as far as the type has that many, none of them zero."""
    generator, count = torch.Generator().manual_seed(seed), like.numel()
    order = torch.randperm(count, generator=generator) + 1
    signs = torch.randint(0, 2, (count,), generator=generator) * 2 - 1
    return torch.empty_like(like).copy_((order * signs / max(count, 1)).view(like.shape))
